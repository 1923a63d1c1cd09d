"""The access log has a line for each request and no secret of its address."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from daphne import cli
from django.conf import LazySettings
from django.core import mail
from django.test import Client
from django.urls import reverse

from ifeportal import asgi
from ifeportal.models import User
from ifeportal.web.server.access_log import RedactedAccessLog
from tests.conftest import Cast
from tests.ifeportal.web.test_security_headers import effective
from tests.support.portal_system import wait_for
from tests.support.production_environment import PRODUCTION
from tests.support.web_server import WebServer

KEY = "a-diuh5s-4d40b1c2d3e4f5"


def logged(action: str, path: str) -> str:
    """Return the line of an action."""
    stream = io.StringIO()
    details = {"client": "127.0.0.1:1", "method": "GET", "path": path, "status": 200, "size": 0}
    RedactedAccessLog(stream)("http" if action == "complete" else "websocket", action, details)
    return stream.getvalue()


@pytest.mark.parametrize("action", ["complete", "connecting", "rejected", "connected", "disconnected"])
def test_every_line_hides_what_is_secret(action: str) -> None:
    line = logged(action, f"/login/forgotten/{KEY}/?code={KEY}")
    assert "/login/forgotten/[hidden]/?[hidden]" in line
    assert KEY not in line


def test_a_line_cannot_be_forged() -> None:
    assert len(logged("complete", "/a\r\n127.0.0.1:1 - - \x1b[2J\u2028").splitlines()) == 1


def test_daphne_uses_this_log() -> None:
    assert asgi.application
    assert cli.AccessLogGenerator is RedactedAccessLog


@pytest.mark.processes
@pytest.mark.django_db(transaction=True)
def test_a_running_server_writes_no_reset_link_and_no_code(transactional_db: None, tmp_path: Path) -> None:
    with WebServer(tmp_path) as server:
        server.ask("GET", f"/login/forgotten/{KEY}/")
        server.ask("GET", f"/login/with/sso/back/?code={KEY}&state={KEY}")
        wait_for("the lines", lambda: server.log.count("/login/") >= 2)
        log = server.log
    assert '"GET /login/forgotten/[hidden]/" ' in log
    assert '"GET /login/with/sso/back/?[hidden]" ' in log
    assert KEY not in log


# Without a mail server.

RESET_PAGES = ("account_reset_password", "account_reset_password_done", "account_reset_password_from_key_done")


@pytest.mark.django_db
def test_without_a_mail_server_no_password_can_be_reset(client: Client, cast: Cast, settings: LazySettings) -> None:
    User.objects.filter(pk=cast.alice.pk).update(email="alice@example.org")
    assert reverse("account_reset_password") in client.get(reverse("account_login")).content.decode()
    settings.PASSWORD_RESET_BY_EMAIL = False
    assert reverse("account_reset_password") not in client.get(reverse("account_login")).content.decode()
    for name in RESET_PAGES:
        assert client.get(reverse(name)).status_code == 404
    assert client.post(reverse("account_reset_password"), {"email": "alice@example.org"}).status_code == 404
    assert client.get(reverse("account_reset_password_from_key", args=["1", KEY])).status_code == 404
    assert mail.outbox == []


def test_production_sends_no_mail_to_the_log() -> None:
    shown = ("EMAIL_BACKEND", "PASSWORD_RESET_BY_EMAIL")
    without = effective(shown=shown, **PRODUCTION)
    assert without == {
        "EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend",
        "PASSWORD_RESET_BY_EMAIL": False,
    }
    mail_server = {
        "EMAIL_URL": "smtp+tls://user:password@mail.example.org:587",
        "PORTAL_URL": "https://ife.example.org",
    }
    assert effective(shown=shown, **PRODUCTION, **mail_server)["PASSWORD_RESET_BY_EMAIL"] is True
