"""Portal processes that start fast: forked by a server that has imported third-party packages once per test run.

The server has not read the settings, because each process has an environment of its own; it has no connections, threads
or event loops. Tests of the process itself (memory, start-up) use `subprocess` instead.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.support.aircraft import ROOT
from tests.support.fork_server import ForkedPopen, ForkServer, needs_interpreter

# These import 1,550 modules. None needs Django's settings, and none installs a reactor of Twisted.
MODULES: Final = (
    "ifeportal.api.schema",
    "daphne.ws_protocol",
    "ifeportal.conf.logging",
    "django.test.signals",
    "ifeportal.management.base",
    "django.contrib.admindocs.views",
    "qrcode.image.svg",
    "fleet.apps",
    "django.db.backends.sqlite3.base",
    "django.db.backends.postgresql.base",
    "django.core.management.commands.makemigrations",
    "fleet.reconcile.diff",
    "ifeportal.web.server.daphne_request",
    "django_filters.exceptions",
    "ifeportal.live.sockets.origin",
    "fido2.server",
    "ifeportal.conf.authentication",
    "ifeportal.conf.environment",
    "allauth.core.ratelimit",
    "whitenoise.middleware",
    "ifeportal.accounts.sessions.store",
    "django.contrib.auth.apps",
    "csp.apps",
    "django_q.queues",
    "psutil._common",
    "ifeportal.tables.export",
    "twisted.internet.posixbase",
)
COMMANDS: Final = ("-m", "-c", "manage.py", str(ROOT / "manage.py"))
# Variables that the imported packages read when they are imported.
READ_AT_IMPORT: Final = ("FORCE_COLOR", "NO_COLOR", "PROMETHEUS_MULTIPROC_DIR", "PSYCOPG_IMPL")
# `ifeportal.embedded.processes` has this run its programs; the children of the server have it too.
PARENT_DEATH: Final = ["--pdeathsig", "TERM", "--"]


@cache
def portal_server() -> ForkServer:
    """Start the server of this test run on first use."""
    server = ForkServer(*MODULES)
    atexit.register(server.close)
    return server


def popen(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    **options: Any,
) -> subprocess.Popen[Any]:
    """Start a command like `subprocess.Popen`; with an interpreter of its own if a fork cannot replace that."""
    words = [str(word) for word in command]
    environment = os.environ if env is None else env
    wrapper, arguments = split_at_python(words)
    if (
        (wrapper and wrapper[1:] != PARENT_DEATH)
        or not arguments
        or arguments[0] not in COMMANDS
        or Path(cwd or ".").resolve() != ROOT
        or needs_interpreter(environment)
        or "COVERAGE_FILE" in environment  # measured from the start of an interpreter
        or any(environment.get(name) != os.environ.get(name) for name in READ_AT_IMPORT if name in environment)
    ):
        return subprocess.Popen(words, env=environment, cwd=cwd, **options)
    return ForkedPopen(portal_server(), arguments, environment, **options)


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    input: str = "",
    timeout: float = 120.0,
) -> subprocess.CompletedProcess[str]:
    """Run a command in the project's folder, and capture its output. Raises TimeoutExpired after `timeout` seconds."""
    pipe = subprocess.PIPE
    with popen(command, env=env, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            output, errors = process.communicate(input, timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(list(command), process.returncode, output, errors)


def split_at_python(words: list[str]) -> tuple[list[str], list[str]]:
    """Return what stands before the interpreter in a command line, and its arguments."""
    if sys.executable not in words:
        return words, []
    at = words.index(sys.executable)
    return words[:at], words[at + 1 :]
