"""No secret of the portal leaves it: every secret, in every form, through every path of a failure."""

from __future__ import annotations

import base64
import json
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from django.utils import timezone

from fleet.reconcile.objects import ChangedObject, parse_body
from fleet.state.observations import ErrorObserved, HeartbeatObserved
from ifeportal.conf.logging import _uncaught, _uncaught_in_thread, hide_links
from ifeportal.jobs.runner import JobFailed, run
from ifeportal.models import Job
from loader.contract.keys import parse_status_key
from loader.s3.auth.redaction import HIDDEN, redact
from loader.s3.interface import GetResult
from tests.ifeportal.conf.test_logging import Log
from tests.loader.s3.test_redaction import assert_hidden, forms
from tests.support.production_environment import KEY, manage

SECRET = "pass'word\"of\\the+portal/1"

# Paths of a failure, in one process.


def in_a_log_line(form: str) -> str:
    log = Log(as_json=True, secret="unrelated")
    try:
        raise ValueError(form, {"inner": form}, form.encode())
    except ValueError:
        log.logger.exception("failed: %s", form, extra={"detail": [form, {form: form}]})
    return log.text


def in_an_uncaught_exception(form: str) -> str:
    log = Log(as_json=False, secret="unrelated")
    try:
        raise ValueError(form) from KeyError(form)
    except ValueError as error:
        with log.as_root():
            _uncaught(type(error), error, error.__traceback__)
    return log.text


def in_a_dying_thread(form: str) -> str:
    log = Log(as_json=False, secret="unrelated")
    error = ValueError(form)
    with log.as_root():
        _uncaught_in_thread(threading.ExceptHookArgs((type(error), error, None, threading.current_thread())))
    return log.text


def in_the_row_of_a_job(form: str) -> str:
    kind = JobFailed if len(form) % 2 else ValueError

    def work(claimed: object) -> None:
        raise kind(form)

    Job.objects.update_or_create(name="discover", defaults={"due_at": timezone.now()})
    with pytest.raises(kind):
        run("discover", 1.0, work, when_due=False)
    return Job.objects.get(name="discover").error


def in_reports_of_an_aircraft(form: str) -> str:
    outputs = []
    for name, body in (("2026-12/a.tgz.error", form), ("loader.json", json.dumps({"reason": form, "more": [form]}))):
        key = parse_status_key(f"ACME/N1/{name}")
        assert key
        at = datetime(2026, 11, 30, tzinfo=UTC)
        fetched = GetResult(body.encode(errors="replace"), "etag", at, len(body), truncated=False)
        observed = parse_body(ChangedObject(key, name, len(body), "etag", at), fetched).observation
        assert isinstance(observed, ErrorObserved | HeartbeatObserved)
        outputs.append(repr(observed))
    return "\n".join(outputs)


PATHS: list[Callable[[str], str]] = [
    in_a_log_line,
    in_an_uncaught_exception,
    in_a_dying_thread,
    in_the_row_of_a_job,
    in_reports_of_an_aircraft,
]


@pytest.fixture
def learned() -> None:
    redact.learn(SECRET)


@pytest.mark.django_db
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
@pytest.mark.parametrize("end", ["", "\r", "\n"])
@pytest.mark.usefixtures("learned")
def test_no_form_of_a_secret_passes(path: Callable[[str], str], end: str) -> None:
    for form in forms(f"{SECRET}{end}"):
        assert_hidden(SECRET, path(f"GET https://store/: {form} is refused"))


# The settings of a process.

SETTINGS = {
    "DEBUG": "0",
    "SECRET_KEY": KEY,
    "SECRET_KEY_FALLBACKS": KEY[::-1],
    "ALLOWED_HOSTS": "ife.example.org",
    "DATABASE_URL": "postgres://ife:database%2Fp%40ss@127.0.0.1:1/ife",
    "REDIS_URL": "redis://:redis%2Fp%40ss@127.0.0.1:1/0",
    "EMAIL_URL": "smtp+tls://ife:mail%2Fp%40ss@127.0.0.1:1",
    "PORTAL_URL": "https://ife.example.org",
    "OIDC_ISSUER": "https://login.example.org",
    "OIDC_CLIENT_ID": "portal",
    "OIDC_CLIENT_SECRET": "secret of the client",
    "METRICS_TOKEN": "token of the scraper",
    "SIGNING_PASSPHRASE": "passphrase of the keys",
    "AWS_ACCESS_KEY_ID": "AKEY",
    "AWS_SESSION_TOKEN": "token of the session",
    "HTTPS_PROXY": "http://crew:proxy%2Fp%40ss@127.0.0.1:1",
}
SECRETS = (
    *(SETTINGS[name] for name in ("SECRET_KEY", "SECRET_KEY_FALLBACKS", "OIDC_CLIENT_SECRET", "METRICS_TOKEN")),
    *(SETTINGS[name] for name in ("SIGNING_PASSPHRASE", "AWS_SESSION_TOKEN")),
    *(f"{name}/p@ss" for name in ("database", "redis", "mail", "proxy")),
    "secret of the store in a file",
)
FAILURE = """
import base64, json
from urllib.parse import quote
secrets = {!r}
raise ValueError("all", [
    form
    for secret in secrets
    for form in (secret, repr(secret), json.dumps(secret), quote(secret, safe=""), quote(secret, safe="").lower(),
                 base64.b64encode(b"user:" + secret.encode()).decode(), secret.encode() + b"\\r")
])
"""


@pytest.mark.parametrize("as_json", ["1", "0"])
def test_a_traceback_of_a_command_contains_no_secret_of_the_settings(as_json: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRETS[-1]}\r\n")
    files = {"AWS_SECRET_ACCESS_KEY_FILE": str(tmp_path / "secret")}
    script = tmp_path / "fails.py"  # in a file: a traceback shows the lines of a command
    script.write_text(FAILURE.format(SECRETS))
    run_it = f"exec(compile(open({str(script)!r}).read(), 'fails', 'exec'))"
    done = manage("shell", "-v", "0", "-c", run_it, **SETTINGS, **files, LOG_JSON=as_json)
    assert done.returncode == 1
    assert "ValueError" in done.stderr
    assert done.stderr.count(HIDDEN) >= len(SECRETS) * 6
    for secret in SECRETS:
        for form in (secret, quote(secret, safe=""), base64.b64encode(b"user:" + secret.encode()).decode()[8:-4]):
            assert form not in done.stdout + done.stderr


# Links.

LINK = "/login/forgotten/a-diuh5s-4d40b1c2d3e4f5/"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (LINK, f"/login/forgotten/{HIDDEN}/"),
        (f"GET https://ife.example.org{LINK} 302", f"GET https://ife.example.org/login/forgotten/{HIDDEN}/ 302"),
        (LINK.removesuffix("/"), f"/login/forgotten/{HIDDEN}"),
        (f"{LINK}?a=b", f"/login/forgotten/{HIDDEN}/?{HIDDEN}"),
        (f"/login/?next={quote(LINK, safe='')}", f"/login/?{HIDDEN}"),
        (f"next={quote(LINK, safe='')}", f"next=%2Flogin%2Fforgotten%2F{HIDDEN}%2F"),
        ("/login/with/sso/back/?code=abc&state=def HTTP/1.1", f"/login/with/sso/back/?{HIDDEN} HTTP/1.1"),
        ("/login/forgotten/sent/", "/login/forgotten/sent/"),
        ("/login/forgotten/done/", "/login/forgotten/done/"),
        ("/login/forgotten/", "/login/forgotten/"),
        ("/airlines/ACME/?q=login/x", "/airlines/ACME/?q=login/x"),
        (f"token ife_{'0a' * 32}!", f"token {HIDDEN}!"),
    ],
)
def test_no_link_with_a_secret_is_shown(text: str, shown: str) -> None:
    assert hide_links(text) == shown


def test_the_process_has_the_hooks_of_the_settings() -> None:
    assert sys.excepthook is _uncaught
