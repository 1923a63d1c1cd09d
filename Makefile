# All of it works in a fresh clone: what is missing is installed first. Needs Python 3.11 with venv, make and git.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install demo demo-reset test test-postgresql test-sqlite test-thorough bytecode coverage check audit bench lock

# Some images set it. Without bytecode each of the hundreds of processes of a test run compiles the project again.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALLED := .venv/.installed
# Tests wait more than they compute, hence three more than there are cores. Beyond five a machine gains little: each
# worker has an object store of its own.
WORKERS ?= -n $(shell n=$$(( $$(nproc) + 3 )); echo $$(( n > 5 ? 5 : n )))
PYTEST = $(BIN)/python -m $(MEASURED) pytest --dist worksteal --durations 30 $(ARGS)

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED)  ## make .venv with exactly the locked packages
	@echo "Installed in .venv."

$(INSTALLED): requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	  || { echo "Python 3.11 is needed; name it like this: make install PYTHON=/usr/bin/python3.11" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv \
	  || { rm -rf .venv; echo "On Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing the locked packages into .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

demo: $(INSTALLED)  ## run the whole system on this machine until Ctrl-C
	@exec $(BIN)/python manage.py demo $(ARGS)

demo-reset: $(INSTALLED)  ## the same, from the beginning
	@exec $(BIN)/python manage.py demo --reset $(ARGS)

# PostgreSQL is what production has: everything is tested there. SQLite, which the demo and a first try use, runs what is
# marked `both_databases`. Side by side, because tests wait more than they compute.
test: $(INSTALLED) bytecode  ## run all tests, on PostgreSQL and, where it may differ, on SQLite
	@$(MAKE) --no-print-directory -j2 test-postgresql test-sqlite

test-thorough: $(INSTALLED) bytecode  ## the same with many more examples, and with tests that take minutes
	@TEST_PROFILE=thorough $(MAKE) --no-print-directory -j2 test-postgresql test-sqlite

# Loaders of other users write their data too, hence the folder.
coverage: $(INSTALLED)  ## the same as test, and say which lines and branches no test runs
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; chmod 1777 "$$folder"; export COVERAGE_FILE="$$folder/.coverage"; \
	$(MAKE) --no-print-directory -j2 test-postgresql test-sqlite MEASURED="coverage run -m"; \
	$(BIN)/python -m coverage combine --quiet; $(BIN)/python -m coverage report

# In a fresh clone each of the workers would compile all tests. Two processes compile a half each. What cannot be
# collected is reported by the run itself.
bytecode: $(INSTALLED)
	@test -d tests/__pycache__ || { echo "Compiling the tests ..."; \
	$(BIN)/python -m pytest --collect-only -qq tests/loader >/dev/null 2>&1 & \
	$(BIN)/python -m pytest --collect-only -qq --ignore tests/loader >/dev/null 2>&1 || true; wait; }

test-postgresql: $(INSTALLED)
	@$(BIN)/python -m tests.support.postgresql -- $(PYTEST) $(WORKERS)

# Its output follows when it has ended, so that the two do not mix. Exit code 5: ARGS chose no test for it.
test-sqlite: $(INSTALLED)
	@report=$$(mktemp); trap 'rm -f "$$report"' EXIT; code=0; \
	env -u DATABASE_URL $(PYTEST) -m both_databases -n 1 >"$$report" 2>&1 || code=$$?; \
	echo "Tests on SQLite:"; cat "$$report"; exit $$((code == 5 ? 0 : code))

# The deployment check sees what production would have; nothing is connected to.
check: $(INSTALLED)  ## lint, types, layers, migrations, deployment settings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/lint-imports
	DATABASE_URL=sqlite:///:memory: $(BIN)/python manage.py makemigrations --check --dry-run
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	export SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(50))') DEBUG=0 \
	  ALLOWED_HOSTS=ife.example.org DATABASE_URL=postgres://ife:ife@127.0.0.1/ife STATIC_ROOT="$$folder" \
	  BEHIND_PROXY=1 SECOND_FACTOR_FOR=staff EMAIL_URL=smtp://127.0.0.1 PORTAL_URL=https://ife.example.org; \
	echo "manage.py check --deploy"; \
	$(BIN)/python manage.py collectstatic --noinput --verbosity 0; \
	$(BIN)/python manage.py check --deploy --fail-level WARNING

AUDIT := .venv/audit/.installed

$(AUDIT): requirements/audit.txt | $(INSTALLED)
	@$(PYTHON) -m venv --clear .venv/audit
	@.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/audit.txt
	@touch $@

audit: $(INSTALLED)  ## look for known vulnerabilities in the locked packages; needs access to osv.dev
	@.ci/audit

PEERS := .venv/peers/.installed

$(PEERS): requirements/bench.txt | $(INSTALLED)
	@$(PYTHON) -m venv --clear .venv/peers
	@echo "Installing what the loader is measured against into .venv/peers ..."
	@.venv/peers/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	@touch $@

# All of it takes more than an hour, and root for the bad link. Every one is run, whatever the others say.
bench: $(INSTALLED) $(PEERS)  ## run all benchmarks
	@failed=0; \
	for one in "loader" "polling" "latency" "latency --database postgresql" "latency --objects 20000 --writes 40" \
	  "latency --database postgresql --objects 20000 --writes 40" \
	  "latency --database postgresql --objects 2000 --changes 50 --writes 60" "portal" "uploads" "lossy"; do \
	  echo "== python -m benchmarks.$$one"; $(BIN)/python -m benchmarks.$$one || failed=1; \
	done; exit $$failed

LOCK = $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --custom-compile-command "make lock"

lock: $(INSTALLED)  ## regenerate requirements/*.txt from pyproject.toml
	$(LOCK) pyproject.toml -o requirements/aircraft.txt
	$(LOCK) pyproject.toml --extra portal -o requirements/portal.txt
	$(LOCK) pyproject.toml --all-extras --group dev -o requirements/dev.txt
	$(LOCK) --group pyproject.toml:bench -o requirements/bench.txt
	$(LOCK) --group pyproject.toml:audit -o requirements/audit.txt
