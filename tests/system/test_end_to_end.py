"""The complete system with real processes: store, publisher, loader, portal, jobs, pacemaker, browser, API client.

Each is a separate process. They share only the two buckets and this test run's database.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from django.conf import settings
from playwright.sync_api import Browser, Locator, Page, expect

from fleet.models import Load, Transfer
from fleet.serialization import serialize_load, serialize_transfer
from fleet.simulation.faults import FlipByte, Rule
from fleet.simulation.proxy import FaultProxy
from ifeportal.accounts.tokens import create_token
from ifeportal.embedded.processes import Process
from ifeportal.embedded.seaweedfs import SeaweedFS
from ifeportal.formatting import size
from ifeportal.models import Job, User
from loader.s3.client import S3Bucket
from tests.conftest import Cast
from tests.support.aircraft import AIRLINE, TAIL, Aircraft, wait_for_exit
from tests.support.browser_portal import PATIENCE, BrowserSession, chromium, database_url
from tests.support.fork_server import ForkServer
from tests.support.portal_system import PortalSystem, session_processes, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.processes]

MIB = 1_048_576
CAMPAIGN = "2026-12"
INTERVAL = 0.5  # seconds between two polls
NARROW = 2_500_000  # bytes per second: twelve seconds for all of it, until the rate is raised
# The broken item is smaller than a MiB: it is reported as 0 until complete, so percentages never decrease.
CONTENTS = {"Ærø, the film": 16 * MIB + 7, "film-2": 14 * MIB, "broken": MIB - 1, "album 3": MIB // 2, "note": 11}
REMEMBER = """() => {
    window.neverReloaded = true;
    window.remembered = [];
    const look = () => {
        const shown = document.querySelector("tbody[data-tail] .c-bar [data-as=percent]")?.textContent;
        if (shown !== undefined && shown !== window.remembered.at(-1)) window.remembered.push(shown);
    };
    new MutationObserver(look).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


@dataclass
class Client:
    """A program that reads the API with a token."""

    address: str
    user: User

    def __post_init__(self) -> None:
        self._token = create_token(self.user, "test", days=1, airline=None, may_write=False)[1]

    def rows(self, name: str, **filters: str) -> list[dict[str, Any]]:
        address = f"{self.address}/api/v1/{name}/?{urlencode(filters)}"
        with urlopen(Request(address, headers={"Authorization": f"Token {self._token}"}), timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
        assert found["next"] is None
        return list(found["results"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    with chromium() as browser:
        yield browser


@pytest.fixture
def system(
    browser: Browser, transactional_db: None, tmp_path: Path, seaweed: SeaweedFS, media: S3Bucket, status: S3Bucket
) -> Iterator[PortalSystem]:
    portal_environment = {
        "DATABASE_URL": database_url(),
        "SECRET_KEY": settings.SECRET_KEY,  # the same as ours: sessions are signed with it
        "MEDIA_BUCKET": media.name,
        "STATUS_BUCKET": status.name,
        "POLL_INTERVAL": f"{INTERVAL}s",
        **seaweed.environment(),
    }
    with PortalSystem(tmp_path / "system", portal_environment) as system:
        system.start()
        yield system
    for name, log in system.logs().items():
        print(f"--- {name}\n{log}")  # noqa: T201  shown where the test failed


@pytest.fixture
def open_page(browser: Browser, system: PortalSystem) -> Iterator[Callable[[User, str], Page]]:
    """Open an address in a new window of a user, and wait until it is live."""
    with ExitStack() as windows:

        def begin(user: User, path: str) -> Page:
            visit = BrowserSession(browser, system, user)
            windows.callback(visit.context.close)
            return visit.go(path)

        yield begin


@pytest.fixture
def aircraft(
    tmp_path: Path, seaweed: SeaweedFS, media: S3Bucket, status: S3Bucket, fork_server: ForkServer
) -> Aircraft:
    return Aircraft(tmp_path / "aircraft", "", seaweed.environment(), media, status, starter=fork_server.popen)


@pytest.fixture
def link(seaweed: SeaweedFS, aircraft: Aircraft) -> Iterator[FaultProxy]:
    with FaultProxy(seaweed.endpoint, bandwidth=NARROW, latency=0.02) as link:
        aircraft.endpoint = link.endpoint
        yield link


def make_archives(folder: Path) -> dict[str, str]:
    """Create a folder to publish; return the SHA-256 of each file by its content name."""
    folder.mkdir()
    noise, hashes = random.Random(2026), {}
    for name, length in CONTENTS.items():
        body = noise.randbytes(length)
        (folder / f"{name}.tgz").write_bytes(body)
        hashes[name] = hashlib.sha256(body).hexdigest()
    return hashes


@contextmanager
def loading(aircraft: Aircraft) -> Iterator[subprocess.Popen[str]]:
    """Run `run_loader --once` as a process, and stop it even if the test fails."""
    with aircraft.start("--once") as loader:
        try:
            yield loader
        finally:
            loader.kill()


def transfers_in_database() -> list[dict[str, Any]]:
    rows = Transfer.objects.select_related("load__tail__airline", "load__campaign").order_by("content")
    return [serialize_transfer(row) for row in rows]


def loads_in_database() -> list[dict[str, Any]]:
    return [serialize_load(row) for row in Load.objects.select_related("tail__airline", "campaign")]


def item(page: Page, name: str) -> Locator:
    """Return the row of one item on a tail's page."""
    return page.locator("table.items tbody").filter(has=page.get_by_role("rowheader", name=name, exact=True))


def shown_percentages(page: Page) -> list[int]:
    """Return the percentages shown beside the first tail's bar since REMEMBER, in order."""
    return [int(text.removesuffix("%")) for text in page.evaluate("window.remembered")]


def shows_state(row: Locator, state: str) -> None:
    expect(row.locator(".c-state [data-as=state]")).to_have_text(state)


def shows_percent(row: Locator, percent: int) -> None:
    expect(row.locator(".c-bar [data-as=percent]")).to_have_text(f"{percent}%")


def shows_item(row: Locator, percent: int) -> None:
    """Check the figure and the bar of an item on a tail's page."""
    shows_percent(row, percent)
    expect(row.locator(".c-bar progress")).to_have_js_property("value", percent)


def shows_complete(row: Locator) -> None:
    """Check that every byte is there and no error is shown."""
    shows_state(row, "complete")
    shows_percent(row, 100)
    expect(row.locator(".fault")).to_be_hidden()


def ends_cleanly(process: Process) -> None:
    """Check that it exits on SIGTERM with all its children, without a SIGKILL."""
    leader = process.pid
    assert leader is not None, f"{process.name} has ended already: {process.log_tail()}"
    process.signal()
    wait_for(f"{process.name} ends", lambda: process.pid is None)
    wait_for(f"{process.name} leaves nothing behind", lambda: not session_processes(leader))
    assert process.wait() == 0, process.log_tail()


@pytest.mark.slow("the complete system: store, portal, jobs, a loader and a browser")
def test_content_reaches_an_aircraft_and_the_pages_show_its_progress(
    system: PortalSystem,
    cast: Cast,
    aircraft: Aircraft,
    link: FaultProxy,
    open_page: Callable[[User, str], Page],
    tmp_path: Path,
) -> None:
    sources = make_archives(tmp_path / "december")
    system.manage("publish_campaign", tmp_path / "december", "--airline", AIRLINE, "--campaign", CAMPAIGN)
    client = Client(system.address, cast.alice)
    airline = open_page(cast.alice, f"/airlines/{AIRLINE}/")
    expect(airline.get_by_role("heading", name="No tails yet")).to_be_visible()
    airline.evaluate(REMEMBER)

    # The aircraft loads; one byte of one item is wrong in each response.
    flaw = link.add(Rule(FlipByte(at=MIB // 2), key="*/broken.tgz", times=None))
    row = airline.locator(f"tbody[data-tail={TAIL}]")
    with loading(aircraft) as loader:
        expect(row).to_be_visible()
        tail = open_page(cast.alice, f"/airlines/{AIRLINE}/tails/{TAIL}/")
        tail.evaluate("window.neverReloaded = true")
        expect(
            tail.locator("table.moving tbody").first
        ).to_be_visible()  # the page is fetched again for it, at most every 5 s
        assert client.rows("transfers", status="loading")
        wait_for("percents on the way", lambda: sum(0 < percent < 100 for percent in shown_percentages(airline)) >= 3)
        link.bandwidth = None
        ended = wait_for_exit(loader)
    assert ended.code == 1, ended
    assert flaw.hits > 0
    sentence = re.sub("^HASH_MISMATCH: ", "", aircraft.errors()["broken"])
    for place in (row, item(tail, "broken")):
        shows_state(place, "failed")
        expect(place.locator(".fault .code")).to_have_text("HASH_MISMATCH")
        expect(place.locator(".fault .text")).to_have_text(sentence)
    for name in CONTENTS.keys() - {"broken"}:
        shows_state(item(tail, name), "complete")
    failed = client.rows("transfers", status="failed")
    assert [(each["content"], each["error_code"], each["error"]) for each in failed] == [
        ("broken", "HASH_MISMATCH", sentence)
    ]
    assert not aircraft.path(CAMPAIGN, "broken").exists()

    # The link is repaired and the loader runs again.
    link.rules.remove(flaw)
    ended = aircraft.load()
    assert ended.code == 0, ended
    for place in (row, tail.locator("table.loads tbody")):
        shows_complete(place)
        expect(place.locator(".c-items")).to_contain_text(f"{len(CONTENTS)} of {len(CONTENTS)}")
    for name, length in CONTENTS.items():
        shows_complete(item(tail, name))
        shows_item(item(tail, name), 100)
        expect(item(tail, name).locator(".c-held")).to_contain_text(f"{size(length)} of {size(length)}")
    expect(tail.get_by_text("Nothing is loading")).to_be_visible()
    assert all(page.evaluate("window.neverReloaded") for page in (airline, tail))
    percents = shown_percentages(airline)
    assert percents == sorted(percents), "only forwards"
    assert percents[-1] == 100

    # Page, API, database and disk agree.
    assert client.rows("loads") == loads_in_database()
    transfers = client.rows("transfers", ordering="content")
    assert transfers == transfers_in_database()
    assert {each["content"]: (each["status"], each["bytes_done"]) for each in transfers} == {
        name: ("complete", length) for name, length in CONTENTS.items()
    }
    assert {name: _sha256(aircraft.path(CAMPAIGN, name)) for name in CONTENTS} == sources
    assert aircraft.left_over() == []

    for process in system.processes:
        ends_cleanly(process)
    assert [name for name, log in system.logs().items() if "Traceback" in log] == []


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow("the complete system: store, portal, jobs, a loader and a browser")
def test_objects_of_a_foreign_loader_are_shown_with_correct_percentages(
    system: PortalSystem, cast: Cast, media: S3Bucket, status: S3Bucket, open_page: Callable[[User, str], Page]
) -> None:
    fleet = open_page(cast.olga, "/")
    media.put("SEED/2026-12/campaign.json", b'[{"name": "a.tgz", "size": 1000}, {"name": "b", "size": 3000}]')
    status.put("SEED/N1/2026-12/a.tgz.progress", b"1000\n")
    status.put("SEED/N1/2026-12/b.tgz.progress", b"500")
    status.put("SEED/N2/2026-12/b.tgz.error", b"disk said no")

    card = fleet.locator("li.card", has=fleet.get_by_role("link", name="SEED", exact=True))
    expect(card.locator(".big")).to_have_text("18%")  # 1,500 of 8,000 bytes
    airline = open_page(cast.olga, "/airlines/SEED/")
    expect(airline.locator(".headline .big")).to_have_text("18%")
    shows_percent(airline.locator("tbody[data-tail=N1]"), 37)
    shows_percent(airline.locator("tbody[data-tail=N2]"), 0)
    expect(airline.locator("tbody[data-tail=N2] .fault .text")).to_have_text("disk said no")
    shows_percent(airline.locator("table.campaigns tr", has_text="2026-12"), 18)
    tail = open_page(cast.olga, "/airlines/SEED/tails/N1/")
    for name, percent in (("a", 100), ("b", 16)):
        shows_item(item(tail, name), percent)
    client = Client(system.address, cast.olga)
    for name, percents in {"airlines": [18], "campaigns": [18], "tails": [37, 0], "loads": [37, 0]}.items():
        assert [each["percent"] for each in client.rows(name, airline="SEED")] == percents, name
    assert [each["percent"] for each in client.rows("transfers", tail="N1")] == [100, 16]

    # The poll that begins after a prefix is new has it in the database; the open pages follow.
    status.put("SEED/N1/2027-01/a.tgz.progress", b"0")
    next_poll = Job.objects.get(name="poll:SEED").fence + 1
    wait_for("the next poll", lambda: _has_done(next_poll, "poll:SEED"))
    assert Load.objects.get(campaign__name="2027-01").tail.name == "N1"
    expect(airline.locator("table.campaigns tr", has_text="2027-01")).to_be_visible()
    expect(tail.locator("table.loads tbody", has_text="2027-01")).to_be_visible()

    for process in system.processes:
        ends_cleanly(process)


def _has_done(fence: int, name: str) -> bool:
    """Return whether the job has finished the run with this number."""
    job = Job.objects.get(name=name)
    return job.fence > fence or (job.fence == fence and job.lease_until is None)
