"""No request header changes the target of links in e-mails, pages and redirects. Uses a real daphne."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.test import override_settings
from django.utils import timezone
from websockets.asyncio.client import connect

from ifeportal.accounts.jobs import send_reset_links
from ifeportal.accounts.models import PasswordResetRequest
from ifeportal.accounts.password_reset import RESET_JOB
from ifeportal.live.connections import in_thread
from ifeportal.models import AuditEntry, Job, User
from ifeportal.web.asgi_middleware import IgnoreRootPath
from tests.conftest import PASSWORD, Cast
from tests.support.live_sockets import sign_in as session_of
from tests.support.web_server import WebAnswer, WebServer

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

PORTAL_URL = "https://ife.example.org"
FORGOTTEN = "/login/forgotten/"
ROOT_PATHS = ["https://evil.example", "//evil.example", "/evil.example", "https%3A//evil.example", "evil.\xe9xample"]
HOSTILE = [*({"Daphne-Root-Path": value} for value in ROOT_PATHS), {"X-Forwarded-Host": "evil.example"}]


@pytest.fixture(scope="module")
def web(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    with WebServer(tmp_path_factory.mktemp("web"), EMAIL_URL="consolemail://", PORTAL_URL=PORTAL_URL) as server:
        yield server


def post(web: WebServer, path: str, fields: dict[str, str], headers: dict[str, str], *, below: str = "") -> WebAnswer:
    """Submit a form, with a CSRF token from its page, to the same path below the root path `below`."""
    page = web.ask("GET", path)
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.body)
    assert token
    cookies = "; ".join(f"{name}={value}" for name, value in page.cookies.items())
    form = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookies}
    return web.ask("POST", below + path, urlencode(fields | {"csrfmiddlewaretoken": token[1]}), form | headers)


def mail_of_job() -> EmailMessage:
    """Have the job answer the requests of the web process, and return the latest e-mail."""
    Job.objects.filter(name=RESET_JOB).update(due_at=timezone.now())
    with override_settings(PORTAL_URL=PORTAL_URL):
        send_reset_links()
    return mail.outbox[-1]


def test_a_password_mail_leads_to_the_portal_whatever_the_headers(web: WebServer, cast: Cast) -> None:
    for number, headers in enumerate([*HOSTILE, {"Host": "localhost:1"}]):
        user = User.objects.create_user(f"user{number}", email=f"user{number}@example.org", password=PASSWORD)
        answer = post(web, FORGOTTEN, {"email": user.email}, headers)
        assert (answer.status, answer.headers["Location"]) == (302, f"{FORGOTTEN}sent/"), headers
        sent = mail_of_job()
        assert sent.to == [user.email]
        text = f"{sent.subject}\n{sent.body}"
        assert f"\n{PORTAL_URL}{FORGOTTEN}" in text
        assert set(re.findall(r"https?://([^/\s]+)", text)) == {"ife.example.org"}
        assert not re.search(r"evil|localhost:|127\.0\.0\.1", text)


def test_a_foreign_host_gets_no_mail_and_no_page(web: WebServer, cast: Cast) -> None:
    User.objects.filter(pk=cast.alice.pk).update(email="alice@example.org")
    answer = post(web, FORGOTTEN, {"email": "alice@example.org"}, {"Host": "evil.example"})
    assert answer.status == 400
    assert "Subject:" not in web.log
    assert not PasswordResetRequest.objects.exists()


@pytest.mark.parametrize("headers", HOSTILE)
def test_no_link_and_no_redirect_names_a_host_of_the_request(headers: dict[str, str], web: WebServer) -> None:
    for path, status in (("/", 302), ("/login/", 200), ("/login", 301), ("/admin/", 302), ("/healthz", 200)):
        answer = web.ask("GET", path, headers=headers)
        assert answer.status == status, path
        assert "evil" not in answer.headers.get("Location", "")
        assert "evil" not in answer.body
    assert "Traceback" not in web.log


@pytest.mark.parametrize("root", ["/admin", "/api"])
def test_users_cannot_forge_the_channel_in_the_audit_log(root: str, web: WebServer, cast: Cast) -> None:
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.Argon2PasswordHasher"]):
        cast.alice.set_password(PASSWORD)
        cast.alice.save()
    fields = {"login": "alice", "password": PASSWORD}
    headers = {"Daphne-Root-Path": root}
    post(web, "/login/", fields, headers, below=root)
    assert not AuditEntry.objects.exists()
    assert post(web, "/login/", fields, headers).status == 302
    assert [(entry.action, entry.via) for entry in AuditEntry.objects.all()] == [("user.signed-in", "page")]


async def test_a_socket_opens_whatever_the_root_path(web: WebServer, cast: Cast) -> None:
    cookie = await in_thread(session_of, cast.alice)
    for root in ("https://evil.example", "/ws", "%ff"):
        headers = {"Cookie": f"sessionid={cookie}", "Daphne-Root-Path": root}
        address = web.address.replace("http", "ws", 1)
        async with connect(
            f"{address}/ws/live/",
            origin=web.address,  # type: ignore[arg-type]  # a NewType of str
            additional_headers=headers,
        ) as socket:
            await socket.ping()


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_other_servers_choose_no_root_path_either(kind: str) -> None:
    scopes: list[dict[str, Any]] = []

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        scopes.append(scope)

    given = {"type": kind, "path": "/login/", "root_path": "https://evil.example"}
    await IgnoreRootPath(application)(given, None, None)  # type: ignore[arg-type]  # neither is used
    assert scopes == [given | {"root_path": ""}]
    assert given["root_path"] == "https://evil.example"
