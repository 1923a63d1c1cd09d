"""Entry point of the loader without Django: parse options, build the parts, run, return the exit code.

`manage.py run_loader` calls this before Django is set up, which would take as long as the rest of the start.
"""

from __future__ import annotations

import _thread
import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Final

from loader import VERSION
from loader.agent.announcements import Announcements
from loader.agent.exit_rules import RepublishCheck
from loader.agent.heartbeat import HeartbeatSource
from loader.agent.item_results import ItemResults
from loader.agent.local_content import LocalContent
from loader.agent.loop import Agent
from loader.agent.stale_reports import StaleReports
from loader.config import OPTIONS, Settings, SettingsError, read_settings
from loader.contract.keys import heartbeat_key
from loader.errors import ExitCode, WorldError
from loader.failpoints import enable_failpoints
from loader.hooks.runner import HookRunner
from loader.local_api.server import LocalApiServer
from loader.logs import configure_logging
from loader.media.manifest_reader import ManifestReader
from loader.media.manifest_verifier import ManifestVerifier, uses_tls
from loader.media.poller import MediaPoller
from loader.media.queue_reader import TransferQueueReader
from loader.monitor.events import Broadcast, EventListener
from loader.monitor.status_board import StatusBoard
from loader.monitor.systemd import SystemdNotifier
from loader.monitor.terminal import PlainDisplay, make_display
from loader.network.link_monitor import LinkMonitor, connect_target
from loader.planning.failure_history import FailureHistory
from loader.reporting.context import ReportingContext
from loader.reporting.lease import TailLease
from loader.reporting.reporter import StatusReporter
from loader.reporting.sender import MAX_HELPERS
from loader.s3.auth.environment import clean_variables
from loader.s3.auth.redaction import redact, secrets_in
from loader.s3.check.plan import Budget
from loader.s3.client import S3Bucket
from loader.s3.interface import Bucket
from loader.s3.retry import Backoff
from loader.storage.content_store import ContentStore
from loader.store_check import READ_TIMEOUT, check_as_loader
from loader.transfer.concurrency import MAX_CONNECTIONS
from loader.transfer.context import DownloadContext, never_waits
from loader.transfer.manager import TransferManager
from loader.transfer.rate_limit import RateLimiter
from loader.transfer.task import TaskContext

log = logging.getLogger("loader")
# Buckets live as long as the process: a connection pool that a thread frees while the interpreter exits changes the
# registry over which the exit function of `weakref` iterates, which then logs an error.
_BUCKETS: Final[list[S3Bucket]] = []
FLUSH: Final = 2.0  # seconds that a received byte may wait in memory at most, however long the progress interval is

ABOUT: Final = (
    "Load the campaigns of an airline onto this aircraft: DIR/CAMPAIGN/CONTENT.tgz. Every option can come from the "
    "environment as LOADER_… (separate list entries with colons). Write sizes and times like 20MB and 2 days. "
    "Set the store with AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, "
    "MEDIA_BUCKET and STATUS_BUCKET. "
    "Exit: 0 all done, 1 some items failed, 2 invalid settings, 3 a signature was rejected, 4 another loader has "
    "this tail or directory, 75 stopped or unreachable: try again later."
)


def main(arguments: Sequence[str]) -> int:
    """Run the loader with command line arguments; return the exit code."""
    parser = argparse.ArgumentParser(prog="manage.py run_loader", description=ABOUT)
    add_options(parser)
    try:
        return run(vars(parser.parse_args(arguments)))
    except SettingsError as error:
        sys.stderr.write(f"{redact(str(error))}\n")
        return ExitCode.USAGE


def add_options(parser: argparse.ArgumentParser) -> None:
    for option in OPTIONS:
        if option.is_flag:
            parser.add_argument(option.flag, dest=option.name, action="store_true", default=None, help=option.help)
            continue
        default = f" (default {option.default})" if option.default else ""
        parser.add_argument(
            option.flag,
            dest=option.name,
            action="append" if option.repeatable else "store",
            metavar=option.metavar,
            help=(option.help + default).replace("%", "%%"),
        )


def run(options: Mapping[str, object]) -> ExitCode:
    """Load with options (by their names in `loader.config`) and the environment. Raises SettingsError."""
    redact.keep(*secrets_in(os.environ))
    configure_logging(sys.stderr, redact, as_json=False)  # until the settings are known
    settings = _settings({option.name: options.get(option.name) for option in OPTIONS})
    redact.keep(*secrets_in(os.environ))
    configure_logging(sys.stderr, redact, as_json=settings.json)
    if settings.check:
        return _check(settings)
    with _signals() as stop, contextlib.ExitStack() as stack:
        stores = _stores(settings, stack)
        if stores is None:
            return ExitCode.HELD
        display = make_display(sys.stdout, as_json=settings.json, interval=settings.progress_interval)
        stack.callback(display.close)
        return _load(settings, stores, display, stop)


def _check(settings: Settings) -> ExitCode:
    with _signals() as stop:
        patient = replace(settings, read_timeout=min(settings.read_timeout, READ_TIMEOUT))
        media, status = (_bucket(name, patient, stop, 1) for name in (settings.media_bucket, settings.status_bucket))
        return check_as_loader(
            settings.airline,
            settings.tail,
            (media, status),
            Budget(stop),
            as_json=settings.json,
            write=sys.stdout.write,
        )


def _settings(given: Mapping[str, object]) -> Settings:
    """Clean the environment and read the settings. Raises SettingsError with every error found."""
    errors: list[str] = []
    for prepare in (clean_variables, enable_failpoints):
        try:
            prepare(os.environ)
        except ValueError as error:
            errors.append(str(error))
    try:
        settings = read_settings(given, os.environ)
    except SettingsError as error:
        errors.append(str(error))
    if errors:
        raise SettingsError("\n".join(errors))
    return settings


def _stores(settings: Settings, stack: contextlib.ExitStack) -> list[ContentStore] | None:
    """Open and lock the content directories; None if another loader uses one of them."""
    stores = []
    for path in settings.content_dirs:
        try:
            store = ContentStore(path)
            stack.callback(store.close)
            if not store.lock():
                log.error("Another loader is using %s.", path)
                return None
        except WorldError as error:
            raise SettingsError(f"--content-dir: {error}") from error
        stores.append(store)
    return stores


def _load(settings: Settings, stores: Sequence[ContentStore], display: PlainDisplay, stop: threading.Event) -> ExitCode:
    media = _bucket(settings.media_bucket, settings, stop, settings.max_transfers + MAX_CONNECTIONS + 4)
    status = _bucket(settings.status_bucket, settings, stop, MAX_HELPERS + 2)
    where = f"{settings.airline}/{settings.tail}"
    display.notice("start", f"Loading for {where} into {', '.join(map(str, settings.content_dirs))}", loader=where)
    board = StatusBoard(settings.airline, settings.tail, VERSION, space=lambda: [store.space() for store in stores])
    target = connect_target(media.name, media.endpoint, media.region, media.addressing_style)
    link = LinkMonitor(*target, settings.link_check)
    watchdog = SystemdNotifier(os.environ)
    agent = AgentBuilder(
        settings,
        media,
        status,
        stores,
        Broadcast(display, board, watchdog),
        link,
        stop,
        rate=lambda: board.rate,
        on_turn=watchdog.ping,
    ).build()
    server = LocalApiServer(stores[0].path, board, agent.prioritise, settings.socket_mode)
    link.start()
    server.start()
    watchdog.ready()
    try:
        code = agent.run()
    finally:
        watchdog.stopping()
        server.close()
        link.close()
    display.notice("end", f"End: {code.name.lower().replace('_', ' ')}", exit=int(code))
    return code


@dataclass(frozen=True)
class AgentBuilder:
    """Builds the control loop and its parts. `stores` are open and locked; the other fields are those of `Agent`."""

    settings: Settings
    media: Bucket
    status: Bucket
    stores: Sequence[ContentStore]
    listener: EventListener
    link: LinkMonitor
    stop: threading.Event
    rate: Callable[[], int | None]
    on_turn: Callable[[], None]
    wake: threading.Event = field(default_factory=threading.Event, init=False)
    lease_lost: threading.Event = field(default_factory=threading.Event, init=False)

    def build(self) -> Agent:
        settings, stores, listener, wake = self.settings, self.stores, self.listener, self.wake
        failures, limiter = FailureHistory(), RateLimiter(settings.bandwidth_limit)
        content = LocalContent(stores, settings.campaigns, settings.reserve, listener)
        verifier = self._verifier()
        queue_reader = TransferQueueReader(settings.airline, settings.tail, self.media, stores[0], verifier)
        heartbeat = HeartbeatSource(content, queue_reader, settings.signatures, self.rate)
        reporter = self._reporter(heartbeat)
        manifests = ManifestReader(
            settings.airline,
            settings.campaigns,
            self.media,
            verifier,
            was_loaded=lambda campaign: content.has_record(campaign) or campaign in reporter.reported_items(),
        )
        hooks = HookRunner(settings.on_loaded, settings.on_loaded_timeout, stores, reporter, listener, wake.set)
        context = self._task_context(limiter, manifests, reporter, hooks)
        return Agent(
            settings=settings,
            stores=stores,
            listener=listener,
            link=self.link,
            stop=self.stop,
            wake=wake,
            lease_lost=self.lease_lost,
            store_clock=self.media.store_clock,
            limiter=limiter,
            queue_reader=queue_reader,
            poller=MediaPoller(queue_reader, manifests, failures, content.differs_from_installed, self.stop, wake.set),
            republish_check=RepublishCheck(manifests),
            local_content=content,
            results=ItemResults(failures, once=settings.once),
            heartbeat=heartbeat,
            reporter=reporter,
            stale_reports=StaleReports(content, reporter),
            announcements=Announcements(listener, reporter),
            hooks=hooks,
            transfers=TransferManager(context, settings.max_transfers, wake.set),
            rate=self.rate,
            on_turn=self.on_turn,
        )

    def _verifier(self) -> ManifestVerifier:
        settings = self.settings
        return ManifestVerifier(
            settings.signatures,
            settings.airline,
            settings.tail,
            keys=settings.trusted_keys,
            stores=self.stores,
            tls=uses_tls(self.media),
            notify=lambda text: self.listener.notice("trust", text),
        )

    def _reporter(self, heartbeat: HeartbeatSource) -> StatusReporter:
        settings, listener = self.settings, self.listener
        lease = TailLease(
            self.status,
            heartbeat_key(settings.airline, settings.tail),
            self.stores,
            takeover_after=settings.takeover_after,
            say=lambda text: listener.notice("lease", text),
        )
        context = ReportingContext(
            self.status,
            settings.airline,
            settings.tail,
            lease=lease,
            interval=settings.progress_interval,
            heartbeat=heartbeat.build,
            heartbeat_interval=settings.heartbeat_interval,
            on_unreachable=lambda text: listener.notice("status_away", text),
            on_lease_lost=self._on_lease_lost,
            link_up=lambda: self.link.state()[0],
        )
        return StatusReporter(context)

    def _on_lease_lost(self, text: str) -> None:
        self.listener.notice("held", text)
        self.lease_lost.set()
        self.stop.set()

    def _task_context(
        self, limiter: RateLimiter, manifests: ManifestReader, reporter: StatusReporter, hooks: HookRunner
    ) -> TaskContext:
        settings = self.settings
        download = DownloadContext(
            self.media,
            limiter,
            self.stop,
            lambda: Backoff(settings.tries, settings.retry_delay, settings.retry_delay_max),
            settings.min_rate,
            settings.min_rate_time,
            flush_after=min(settings.progress_interval, FLUSH),
            # With --once, report a dead link instead of waiting for it.
            await_link=never_waits if settings.once else self.link.wait_until_up,
        )
        return TaskContext(
            settings.airline,
            self.stores,
            download,
            manifests,
            reporter,
            self.listener,
            settings.reserve,
            hooks.item_installed,
            hooks.has_failed,
        )


def _bucket(name: str, settings: Settings, stop: threading.Event, connections: int) -> S3Bucket:
    try:
        bucket = S3Bucket(
            name,
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.read_timeout,
            connections=connections,
            sleep=stop.wait,
        )
    except ValueError as error:
        raise SettingsError(f"{error}.") from error
    _BUCKETS.append(bucket)
    return bucket


@contextlib.contextmanager
def _signals() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set. A second signal ends the process as if it had no handler."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def ask(number: int, frame: FrameType | None) -> None:
        # The interrupted thread may have the lock of the event: set it here, and this would wait for ever.
        _thread.start_new_thread(stop.set, ())
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
