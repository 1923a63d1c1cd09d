"""Whatever escapes in any thread becomes an error with a code: a run with `--once` ends, and the ground hears of it.

The real parts of a loader, with buckets in memory. Each fault is injected where a thread begins its work.
"""

from __future__ import annotations

import hashlib
import shlex
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from loader.agent.heartbeat import HeartbeatSource
from loader.agent.local_content import LocalContent
from loader.agent.loop import Agent
from loader.config import read_settings
from loader.contract.heartbeat import Heartbeat, parse_heartbeat
from loader.contract.keys import content_key, manifest_key
from loader.contract.manifest import Item, Manifest, build_manifest
from loader.hooks.ledger import HookLedger
from loader.hooks.runner import HookRunner
from loader.main import AgentBuilder
from loader.media.manifest_reader import ManifestReader
from loader.media.poller import MediaPoller
from loader.media.queue_reader import TransferQueueReader
from loader.monitor.events import Broadcast, Event, EventListener
from loader.network.link_monitor import LinkMonitor
from loader.reporting.outbox import Outbox
from loader.reporting.report_cache import ReportCache
from loader.s3.memory import MemoryBucket
from loader.storage.buffered_writer import BufferedWriter
from loader.storage.content_store import ContentStore
from loader.transfer.completion import CampaignCompletion
from loader.transfer.manager import TransferManager
from loader.transfer.task import TransferTask
from tests.support.portal_system import PATIENCE, wait_until

BODY = b"film" * 500_000
ENDS = {0, 1, 75}


class Surprise(Exception):
    """An error that no part of the loader expects."""


class Harder(BaseException):
    """An error that `except Exception` does not catch."""


@dataclass
class Fault:
    """Raises in place of a method. `hits`: how often. `times`: how often at most; then the method works."""

    error: BaseException
    times: float = float("inf")
    hits: int = 0

    def install(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        working: Callable[..., object] = getattr(owner, name)

        def raises(*given: object, **named: object) -> object:
            if self.hits >= self.times:
                return working(*given, **named)
            self.hits += 1
            raise self.error

        monkeypatch.setattr(owner, name, raises)


@dataclass
class Collector(EventListener):
    """Collects what is shown on the aircraft."""

    events: list[Event] = field(default_factory=list)

    def handle(self, event: Event) -> None:
        self.events.append(event)


@dataclass
class Loader:
    """A loader of one campaign with one item, in this process."""

    folder: Path
    media: MemoryBucket = field(default_factory=lambda: MemoryBucket("ife-media"))
    status: MemoryBucket = field(default_factory=lambda: MemoryBucket("ife-status"))
    shown: Collector = field(default_factory=Collector)
    stop: threading.Event = field(default_factory=threading.Event)
    code: int | None = None
    _threads: list[threading.Thread] = field(default_factory=list)

    def publish(self) -> None:
        item = Item("film", len(BODY), hashlib.sha256(BODY).hexdigest())
        self.media.put(content_key("ACME", "c", "film"), BODY)
        self.media.put(manifest_key("ACME", "c"), build_manifest(Manifest((item,), airline="ACME")))

    def build(self, *, once: bool = True) -> Agent:
        given = {
            "airline": "ACME",
            "tail": "N1",
            "content_dir": [str(self.folder)],
            "once": once,
            "on_loaded": shlex.join([sys.executable, "-c", ""]),
            "poll_interval": "100ms",
            "heartbeat_interval": "200ms",
            "report_timeout": "10s",
            "retry_delay": "1ms",
            "retry_delay_max": "5ms",
            "reserve": "0",
        }
        settings = read_settings(given, {"MEDIA_BUCKET": "ife-media", "STATUS_BUCKET": "ife-status"})
        store = ContentStore(self.folder)
        assert store.lock()
        return AgentBuilder(
            settings,
            self.media,
            self.status,
            [store],
            Broadcast(self.shown),
            LinkMonitor("127.0.0.1", 9),
            self.stop,
            rate=lambda: None,
            on_turn=lambda: None,
        ).build()

    def start(self, *, once: bool = True) -> threading.Thread:
        agent = self.build(once=once)

        def run() -> None:
            try:
                self.code = int(agent.run())
            finally:
                agent.stores[0].close()

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def run_once(self) -> int | None:
        """Return the exit code; None if the run did not end or raised."""
        thread = self.start()
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the run does not end"
        return self.code

    def close(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    @property
    def errors(self) -> dict[str, str]:
        """Return the contents of the `.error` objects."""
        found = {}
        for entry in list(self.status.list()):
            if entry.key.endswith(".error") and (fetched := self.status.get(entry.key, 4096)):
                found[entry.key.removeprefix("ACME/N1/")] = fetched.body.decode()
        return found

    @property
    def heartbeat(self) -> Heartbeat:
        fetched = self.status.get("ACME/N1/loader.json", 100_000)
        assert fetched is not None
        return parse_heartbeat(fetched.body)


@pytest.fixture
def loader(tmp_path: Path) -> Iterator[Loader]:
    loader = Loader(tmp_path / "content")
    loader.publish()
    yield loader
    loader.close()


ITEM, CAMPAIGN = "c/film.tgz.error", "c/campaign.json.error"


@pytest.mark.parametrize("error", [Surprise("secret"), Harder("secret")], ids=["Exception", "BaseException"])
@pytest.mark.parametrize(
    ("owner", "method", "code", "report"),
    [
        (ManifestReader, "read_all", 1, ""),  # the thread that polls
        (TransferQueueReader, "read", 1, ""),
        (ContentStore, "open_partial", 1, ITEM),  # a thread that transfers
        (TransferTask, "run", 1, ITEM),
        (TransferManager, "_run_task", 1, ITEM),
        (BufferedWriter, "_write_block", 1, ITEM),  # the thread that writes to disk
        (HookLedger, "refresh", 1, ITEM),  # the thread of the command after loading
        (HookRunner, "_run_hook", 1, ""),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_run_ends_with_an_error_whatever_escapes_in_a_thread(
    loader: Loader,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    owner: type,
    method: str,
    code: int,
    report: str,
) -> None:
    fault = Fault(error)
    fault.install(monkeypatch, owner, method)
    assert loader.run_once() == code
    assert fault.hits > 0
    if report:
        assert loader.errors[report].startswith(("INTERNAL: ", "IO_ERROR: "))
    assert loader.heartbeat.extra["ended"] is True
    assert "secret" not in str(loader.errors) + str(loader.heartbeat)


@pytest.mark.parametrize(
    ("owner", "method"),
    [
        (LocalContent, "plan"),
        (Agent, "_plan_if_changed"),
        (Agent, "_update_state"),
        (Agent, "_exit_code"),
        (MediaPoller, "take_snapshot"),
        (TransferManager, "apply_plan"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_run_reports_any_uncaught_error_of_its_main_loop_and_ends(
    loader: Loader, monkeypatch: pytest.MonkeyPatch, owner: type, method: str
) -> None:
    fault = Fault(Surprise("secret"))
    fault.install(monkeypatch, owner, method)
    assert loader.run_once() == 1
    assert fault.hits > 0
    assert loader.heartbeat.reason == "done; INTERNAL: unexpected error (Surprise)"
    assert loader.heartbeat.extra["ended"] is True


@pytest.mark.parametrize("method", ["remove_stale_partials", "activate_staged", "mark_complete"])
@pytest.mark.parametrize("loaded", [False, True])
def test_a_campaign_that_cannot_be_completed_is_an_error_of_that_campaign(
    loader: Loader, monkeypatch: pytest.MonkeyPatch, method: str, loaded: bool
) -> None:
    """Without a transfer (`loaded`) the main loop completes it, inside `apply_plan`."""
    if loaded:
        assert loader.run_once() == 0
        (loader.folder / ".loader" / "campaigns" / "c.json").unlink()
    fault = Fault(Surprise("secret"))
    fault.install(monkeypatch, ContentStore, method)
    assert loader.run_once() == 1
    assert fault.hits > 0
    assert loader.errors == {CAMPAIGN: "INTERNAL: unexpected error (Surprise)\n"}
    assert loader.heartbeat.extra["ended"] is True
    fault.times = 0
    assert loader.run_once() == 0
    assert loader.errors == {}


@pytest.mark.parametrize("error", [Surprise(), Harder()], ids=["Exception", "BaseException"])
@pytest.mark.parametrize(
    ("owner", "method"),
    [
        (HeartbeatSource, "build"),
        (Outbox, "take"),
        (Outbox, "sent"),
        (ReportCache, "confirm"),
        (ReportCache, "list_bucket"),
        (MemoryBucket, "put"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_an_error_of_the_reports_happens_once_and_everything_is_sent(
    loader: Loader, monkeypatch: pytest.MonkeyPatch, error: BaseException, owner: type, method: str
) -> None:
    fault = Fault(error, times=1)
    fault.install(monkeypatch, owner, method)
    assert loader.run_once() == 0
    assert fault.hits == 1
    assert loader.heartbeat.extra["ended"] is True
    progress = loader.status.get("ACME/N1/c/film.tgz.progress", 100)
    assert progress is not None
    assert int(progress.body) == len(BODY)


@pytest.mark.parametrize(
    ("owner", "method"),
    [(HeartbeatSource, "build"), (Outbox, "take"), (MemoryBucket, "put")],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_run_without_working_reports_loads_and_ends_with_75(
    loader: Loader, monkeypatch: pytest.MonkeyPatch, owner: type, method: str
) -> None:
    fault = Fault(Surprise())
    fault.install(monkeypatch, owner, method)
    assert loader.run_once() == 75
    assert fault.hits > 0
    assert (loader.folder / "c" / "film.tgz").read_bytes() == BODY


@pytest.mark.parametrize("name", ["poll", "hooks"])
def test_a_run_ends_though_a_thread_cannot_be_started(
    loader: Loader, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    start, refused = threading.Thread.start, []

    def refuse(thread: threading.Thread) -> None:
        if thread.name == name:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert loader.run_once() == 1
    assert refused
    assert loader.heartbeat.extra["ended"] is True


def test_a_display_that_fails_stops_nothing(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = Fault(Surprise())
    fault.install(monkeypatch, Collector, "handle")
    assert loader.run_once() == 0
    assert fault.hits > 1
    assert loader.errors == {}


@pytest.mark.parametrize(
    ("owner", "method"),
    [
        (ManifestReader, "read_all"),
        (LocalContent, "plan"),
        (Agent, "_update_state"),
        (TransferTask, "run"),
        (CampaignCompletion, "_complete"),
        (HeartbeatSource, "build"),
        (Outbox, "take"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_loader_that_keeps_running_recovers_by_itself(
    loader: Loader, monkeypatch: pytest.MonkeyPatch, owner: type, method: str
) -> None:
    monkeypatch.setattr("loader.planning.failure_history.BLOCK_TIME", 0.0)
    fault = Fault(Surprise(), times=1)
    fault.install(monkeypatch, owner, method)
    thread = loader.start(once=False)
    wait_until(lambda: fault.hits == 1 and "c" in _held_campaigns(loader))
    wait_until(lambda: loader.errors == {} and loader.heartbeat.reason == "")
    assert thread.is_alive()


def _held_campaigns(loader: Loader) -> set[str]:
    fetched = loader.status.get("ACME/N1/loader.json", 100_000)
    return {held_campaign.campaign for held_campaign in parse_heartbeat(fetched.body).held} if fetched else set()
