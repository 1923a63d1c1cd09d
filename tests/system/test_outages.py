"""The complete portal in processes while its database or object store is down: what pages show, and its recovery.

A proxy between the processes and the database can be interrupted, and another one between the workers and the store.
The web server has its own proxy to the store, which must receive no requests.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psycopg
import pytest
from django.http import HttpResponse
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from fleet.simulation.proxy import FaultProxy
from ifeportal.embedded.processes import LOOPBACK
from ifeportal.embedded.seaweedfs import SeaweedFS
from ifeportal.web import database_timeout
from loader.s3.client import S3Bucket
from tests.support.browser_portal import copy_tables
from tests.support.bucket_pool import FreshBuckets
from tests.support.html import page_text
from tests.support.portal_system import PATIENCE, PortalSystem, wait_for
from tests.support.postgresql import postgresql
from tests.support.postgresql_proxy import DatabaseProxy
from tests.support.production_environment import KEY

pytestmark = [pytest.mark.processes]

PAGES = ("/", "/airlines/ACME/", "/airlines/ACME/tails/N1/", "/airlines/ACME/campaigns/2026-12/")
LISTS = tuple(f"/api/v1/{name}/" for name in ("airlines", "anomalies", "campaigns", "loads", "tails", "transfers"))
SOMEBODY = """
from importlib import import_module
from django.conf import settings
from django.test import Client
from ifeportal.models import User
from ifeportal.accounts.tokens import create_token
olga = User.objects.create_superuser("olga")
client = Client()
client.force_login(olga)
key = create_token(olga, "test", days=1, airline=None, may_write=False)[1]
print(client.cookies[settings.SESSION_COOKIE_NAME].value, key)
"""
GENEROUS = 20 * (database_timeout.RESPONSE_TIMEOUT + database_timeout.PROBE_TIMEOUT)  # seconds; 2 on an idle machine


@dataclass
class Answer:
    """A response of the portal, and the seconds it took."""

    status: int
    headers: dict[str, str]
    text: str
    seconds: float


@dataclass
class Portal:
    """All processes, with the proxies between them."""

    system: PortalSystem
    database_proxy: DatabaseProxy
    link: FaultProxy
    webs_link: FaultProxy
    status: S3Bucket
    database: str
    cookie: str = ""
    token: str = ""

    def ask(self, path: str) -> Answer:
        """Request a page as staff, or the API as a program."""
        who = {"Authorization": f"Token {self.token}"} if path.startswith("/api/") else {"Cookie": self.session}
        began = time.monotonic()
        try:
            with urlopen(Request(self.system.address + path, headers=who), timeout=PATIENCE) as answer:
                status, headers, body = answer.status, dict(answer.headers), answer.read()
        except HTTPError as refusal:
            status, headers, body = refusal.code, dict(refusal.headers), refusal.read()
        return Answer(status, headers, body.decode(), time.monotonic() - began)

    def shown(self, path: str) -> str:
        """Return what staff see on the page."""
        answer = self.ask(path)
        return page_text(HttpResponse(answer.text, status=answer.status))

    @property
    def session(self) -> str:
        return f"sessionid={self.cookie}"

    def progress(self, value: int) -> None:
        """Report more progress of the aircraft."""
        self.status.put("ACME/N1/2026-12/a.tgz.progress", b"%d" % value)

    def reaches(self, value: int) -> None:
        """Wait until a poll has read this value; then check every page and the API."""
        with psycopg.connect(self.database, autocommit=True) as connection:
            row = "SELECT 1 FROM fleet_transfer WHERE bytes_done = %s"
            wait_for("polling goes on", lambda: connection.execute(row, [value]).fetchone())
        for path in PAGES:
            assert self.ask(path).status == 200, path
        assert [each["bytes_done"] for each in json.loads(self.ask("/api/v1/transfers/").text)["results"]] == [value]

    def pids(self) -> list[int | None]:
        return [process.pid for process in self.system.processes]

    @contextmanager
    def socket(self, rev: int) -> Iterator[ClientConnection]:
        """Return an open page's socket that has received everything up to `rev`."""
        address = self.system.address.replace("http", "ws") + "/ws/live/"
        origin: Any = self.system.address
        cookie = {"Cookie": self.session}
        with connect(address, origin=origin, additional_headers=cookie, open_timeout=PATIENCE) as socket:
            with suppress(ConnectionClosed):
                socket.send(json.dumps({"watch": {"airline": "ACME"}, "rev": rev}))
            yield socket


@pytest.fixture(scope="module")
def portal(
    django_db_setup: None,
    tmp_path_factory: pytest.TempPathFactory,
    seaweed: SeaweedFS,
    fresh_buckets: FreshBuckets,
) -> Iterator[Portal]:
    media, status = fresh_buckets.take(), fresh_buckets.take()
    folder = tmp_path_factory.mktemp("portal")
    with ExitStack() as stack:
        database = stack.enter_context(postgresql())
        database_proxy = stack.enter_context(DatabaseProxy(database))
        link, webs_link = (stack.enter_context(FaultProxy(seaweed.endpoint)) for _ in range(2))
        settings = {
            **seaweed.environment(),
            "DATABASE_URL": database_proxy.url,
            "MEDIA_BUCKET": media.name,
            "STATUS_BUCKET": status.name,
            "SECRET_KEY": KEY,
            "POLL_INTERVAL": "0.5s",
            "POLL_CEILING": "1s",
            "AWS_ENDPOINT_URL_S3": link.endpoint,
        }
        system = PortalSystem(folder, settings)
        production = {"DEBUG": "0", "HTTPS": "0", "ALLOWED_HOSTS": LOOPBACK, "STATIC_ROOT": str(folder / "static")}
        production["CSRF_TRUSTED_ORIGINS"] = system.address
        system.portal.environment = system.environment | production | {"AWS_ENDPOINT_URL_S3": webs_link.endpoint}
        system.manage("collectstatic", "--noinput", "-v0", **production)
        if not copy_tables(database):
            system.manage("migrate", "-v0")
        cookie, token = system.manage("shell", "-v0", "-c", SOMEBODY).split()
        portal = Portal(system, database_proxy, link, webs_link, status, database, cookie, token)
        media.put("ACME/2026-12/campaign.json", b'{"content": [{"name": "a", "size": 1000}]}')
        portal.progress(1)
        stack.enter_context(system)
        system.start()
        portal.reaches(1)
        yield portal
        assert webs_link.log == [], "no web request asks the store for anything"
    for name, log in system.logs().items():
        print(f"--- {name}\n{log[-4_000:]}")  # noqa: T201  shown where the test failed


def test_what_a_request_may_wait_for_the_database_is_below_two_seconds() -> None:
    assert database_timeout.RESPONSE_TIMEOUT + database_timeout.PROBE_TIMEOUT < 2


@dataclass(frozen=True)
class Outage:
    """How the database is away. `is_swallowed`: connections are accepted, but bytes on them get no answer."""

    name: str
    begin: Callable[[DatabaseProxy], None]
    is_swallowed: bool


OUTAGES = (
    Outage("refused", DatabaseProxy.refuse, False),
    Outage("swallowed", lambda proxy: proxy.block(greeted=False), True),
    Outage("swallowed in the middle of a session", lambda proxy: proxy.block(greeted=True), True),
)


# One test for all outages: a portal of its own on each worker would take longer than they do.
@pytest.mark.slow("a complete portal loses its database or store, and recovers by itself")
def test_while_the_database_is_away_everything_answers_503_and_recovers_by_itself(portal: Portal) -> None:
    alive = portal.pids()
    for number, outage in enumerate(OUTAGES):
        portal.progress(100 + number)
        portal.reaches(100 + number)
        before = portal.database_proxy.blocked
        answers_503_meanwhile(portal, outage, progress=200 + number)
        assert (portal.database_proxy.blocked > before) == outage.is_swallowed, "it was this that went wrong"
        portal.reaches(200 + number)
        assert portal.pids() == alive, f"{outage.name}: nothing had to be started again"


def answers_503_meanwhile(portal: Portal, outage: Outage, progress: int) -> None:
    """Check every page and list while the database is away. Report `progress` of the aircraft meanwhile."""
    paths = (*PAGES, *LISTS, "/readyz", "/admin/")
    try:
        outage.begin(portal.database_proxy)
        with ThreadPoolExecutor(6) as pool:
            answers = dict(zip(paths, pool.map(portal.ask, paths), strict=True))
        for path, answer in answers.items():
            place = f"{path} ({outage.name})"
            assert answer.status == 503, place
            assert answer.headers.get("Retry-After") == "5" or path == "/readyz", place
            assert answer.headers["Cache-Control"].count("no-store") == 1, place
            is_page = "Temporarily unavailable" in answer.text
            assert is_page or "detail" in json.loads(answer.text) or path == "/readyz", place
        assert portal.ask("/healthz").status == 200
        portal.progress(progress)
    finally:
        portal.database_proxy.restore()
    slowest = max(answer.seconds for answer in answers.values())
    print(f"{outage.name}: {slowest:.2f} s at most")  # noqa: T201
    assert slowest < GENEROUS


@pytest.mark.slow("a complete portal loses its database or store, and recovers by itself")
def test_an_open_page_hears_what_happened_while_the_database_was_away(portal: Portal) -> None:
    portal.progress(300)
    portal.reaches(300)
    heard: list[int] = []
    rev = 0

    def listen(socket: ClientConnection) -> None:
        """Read until the change arrives or the server closes."""
        nonlocal rev
        while 400 not in heard:
            message = json.loads(socket.recv(timeout=PATIENCE))
            rev = message.get("rev", rev)
            heard.extend(change["state"].get("bytes_done", -1) for change in message.get("changes", ()))

    with portal.socket(rev) as socket:
        try:
            portal.database_proxy.refuse()
            portal.progress(400)
            assert portal.ask("/").status == 503
        finally:
            portal.database_proxy.restore()
        with suppress(ConnectionClosed):
            listen(socket)
    while 400 not in heard:  # reconnect with the last revision, like a browser
        with portal.socket(rev) as socket, suppress(ConnectionClosed):
            listen(socket)


@pytest.mark.slow("a complete portal loses its database or store, and recovers by itself")
def test_while_the_store_is_away_every_page_serves_with_its_age_and_a_banner(portal: Portal) -> None:
    portal.progress(500)
    portal.reaches(500)
    assert "has not been read" not in portal.shown("/")
    portal.link.offline()
    try:
        an_hour_goes_by = """
            UPDATE ifeportal_job SET succeeded_at = succeeded_at - interval '1 hour'
            WHERE name = 'poll:ACME' AND failures > 0 AND error LIKE '%NETWORK%'"""
        with psycopg.connect(portal.database, autocommit=True) as connection:
            wait_for("a poll fails", lambda: connection.execute(an_hour_goes_by).rowcount == 1)
        for path in PAGES:
            assert "The object store was last read 1 h" in portal.shown(path), path
            assert "stale" in portal.shown(path), path
        for path in LISTS:
            assert portal.ask(path).status == 200, path
        fresh = json.loads(portal.ask("/freshness/").text)
        assert fresh["airlines"]["ACME"]["stale"] is True
    finally:
        portal.link.online()
        portal.progress(600)
    portal.reaches(600)
    wait_for("the note goes", lambda: "has not been read" not in portal.shown("/"))
