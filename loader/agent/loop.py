"""Main loop: poll the media bucket, plan, run transfers, repeat until stopped.

The loop runs once a second and never waits for the network. Polls, transfers, reports, the link check and commands
have threads of their own, so any change (queue, clock, link, local request) takes effect at the next turn, in the
middle of an item too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from loader import VERSION
from loader.agent.announcements import Announcements
from loader.agent.exit_rules import RepublishCheck, RunState, exit_code, is_finished, should_give_up
from loader.agent.item_results import ItemResults
from loader.agent.local_content import LocalContent
from loader.agent.stale_reports import StaleReports
from loader.config import Settings
from loader.contract.heartbeat import Heartbeat
from loader.contract.keys import heartbeat_key
from loader.errors import Code, ExitCode, WorldError
from loader.hooks.runner import HookRunner
from loader.media.manifest_reader import ManifestReader
from loader.media.manifest_verifier import ManifestVerifier, uses_tls
from loader.media.poller import MediaPoller
from loader.media.queue_reader import TransferQueueReader
from loader.media.snapshot import MediaSnapshot
from loader.monitor.events import EventListener
from loader.network.link_monitor import LinkMonitor
from loader.planning.failure_history import FailureHistory
from loader.planning.limits import EffectiveLimits
from loader.planning.model import Plan, PlanningContext
from loader.reporting.lease import TailLease
from loader.reporting.reporter import StatusReporter
from loader.s3.auth.redaction import redact
from loader.s3.interface import Bucket
from loader.s3.retry import Backoff
from loader.storage.content_store import ContentStore
from loader.transfer.context import DownloadContext, never_waits
from loader.transfer.manager import TransferManager
from loader.transfer.rate_limit import RateLimiter
from loader.transfer.task import TaskContext

LOOP_INTERVAL: Final = 1.0  # seconds
LEASE_WAIT: Final = 30.0  # seconds for the status bucket to say whose the tail is; then content is loaded anyhow
FLUSH: Final = 2.0  # seconds that a byte may wait in memory at most, however seldom progress is told
FLUSH_STOPPED: Final = 1.5  # seconds for the last reports after a signal
TRANSFER_STOP: Final = 2.0  # seconds for transfers to come to an end
HOOK_STOP: Final = 1.0  # seconds for the operator's command to
MAX_REQUESTS: Final = 20  # that are kept of what somebody aboard wants first


class Agent:
    """Loads one tail. `stores` are open and locked. `stop`, once set, ends it within five seconds.

    `rate`: bytes a second received lately, all transfers together. `on_turn` is called once a turn, so that a watchdog
    hears of a loop that hangs.
    """

    def __init__(
        self,
        settings: Settings,
        media: Bucket,
        status: Bucket,
        stores: Sequence[ContentStore],
        listener: EventListener,
        link: LinkMonitor,
        stop: threading.Event,
        *,
        rate: Callable[[], int | None] = lambda: None,
        on_turn: Callable[[], None] = lambda: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings, self._stores, self._listener = settings, stores, listener
        self._link, self._stop, self._rate, self._on_turn, self._now = link, stop, rate, on_turn, now
        self._started = now()
        self._state = ("idle", "", "")
        self._requested: tuple[tuple[str, str | None], ...] = ()
        self._snapshot, self._plan = MediaSnapshot({}), Plan()
        self._disk_problem = ""  # with the disks, when there was last planned
        self._doubt = ""  # about the time, likewise
        self._awaiting_snapshot = True  # a look, before it can be said how it ends
        self._wake, self._replan_requested, self._lease_lost = threading.Event(), threading.Event(), threading.Event()
        failures, self._limiter = FailureHistory(), RateLimiter(settings.bandwidth_limit)
        self._results = ItemResults(failures, once=settings.once)
        self._local_content = LocalContent(stores, settings.campaigns, settings.reserve, listener)
        self._queue_reader = TransferQueueReader(settings.airline, settings.tail, media, stores[0])
        self._store_clock = media.store_clock
        self._manifest_reader = ManifestReader(settings.airline, settings.campaigns, media, self._make_verifier(media))
        self._poller = MediaPoller(
            self._queue_reader,
            self._manifest_reader,
            failures,
            self._local_content.differs_from_installed,
            stop,
            self._wake.set,
        )
        self.reporter = self._make_reporter(status)
        self._hooks = HookRunner(
            settings.on_loaded, settings.on_loaded_timeout, stores, self.reporter, listener, self._wake.set
        )
        self._republish_check = RepublishCheck(self._manifest_reader)
        self._announcements = Announcements(listener, self.reporter)
        self._stale_reports = StaleReports(self._local_content, self.reporter)
        self._transfers = TransferManager(self._make_task_context(media), settings.max_transfers, self._wake.set)

    def _make_verifier(self, media: Bucket) -> ManifestVerifier:
        settings = self._settings
        return ManifestVerifier(
            settings.signatures,
            settings.airline,
            settings.tail,
            keys=settings.trusted_keys,
            stores=self._stores,
            tls=uses_tls(media),
            now=self._now,
            say=lambda text: self._listener.notice("trust", text),
        )

    def _make_reporter(self, status: Bucket) -> StatusReporter:
        settings, listener = self._settings, self._listener
        lease = TailLease(
            status,
            heartbeat_key(settings.airline, settings.tail),
            self._stores,
            takeover_after=settings.takeover_after,
            say=lambda text: listener.notice("lease", text),
        )
        return StatusReporter(
            status,
            settings.airline,
            settings.tail,
            lease=lease,
            interval=settings.progress_interval,
            heartbeat=self.heartbeat,
            heartbeat_interval=settings.heartbeat_interval,
            on_unreachable=lambda text: listener.notice("status_away", text),
            on_lease_lost=self._on_lease_lost,
            link_up=lambda: self._link.state()[0],
        )

    def _make_task_context(self, media: Bucket) -> TaskContext:
        settings = self._settings
        means = DownloadContext(
            media,
            self._limiter,
            self._stop,
            lambda: Backoff(settings.tries, settings.retry_delay, settings.retry_delay_max),
            settings.min_rate,
            settings.min_rate_time,
            flush_after=min(settings.progress_interval, FLUSH),
            # Whoever lets us run once waits for us, not for the link.
            await_link=never_waits if settings.once else self._link.wait_until_up,
        )
        return TaskContext(
            settings.airline,
            self._stores,
            means,
            self._manifest_reader,
            self.reporter,
            self._listener,
            settings.reserve,
            self._hooks.item_installed,
            self._hooks.has_failed,
        )

    def run(self) -> ExitCode:
        """Until nothing is left to do (`once`) or `stop` is set."""
        self.reporter.import_state(self._stores[0].load_report_cache(), self._now())
        self.reporter.start()
        self._await_lease()
        code = ExitCode.UNREACHABLE
        try:
            self._transfers.start()
            code = self._loop()
        finally:
            told = self._shut_down()
        if self._lease_lost.is_set():
            return ExitCode.HELD
        return ExitCode.UNREACHABLE if code is ExitCode.DONE and not told else code

    def _await_lease(self) -> None:
        """Before a byte is fetched: whose is the tail? While the status bucket cannot tell, content has precedence."""
        deadline = time.monotonic() + LEASE_WAIT
        while not self.reporter.lease_checked.wait(0.1) and not self._stop.is_set() and time.monotonic() < deadline:
            self._on_turn()
            if self._link.checked and not self._link.state()[0]:
                return  # nobody can be asked, and nothing is loaded

    def _on_lease_lost(self, text: str) -> None:
        """The tail is another machine's. Called by the status thread."""
        self._listener.notice("held", text)
        self._lease_lost.set()
        self._stop.set()

    def _loop(self) -> ExitCode:
        due, was_up = 0.0, True
        while not self._stop.is_set():
            self._on_turn()
            up = self._link.state()[0]
            if up and not was_up:
                self.reporter.link_restored()
                self._await_lease()
                due = 0.0
            was_up = up
            if up and time.monotonic() >= due and not self._poller.polling:
                self._poller.start_poll()
                due = time.monotonic() + self._settings.poll_interval
            sight = self._poller.take_snapshot()
            if sight is not None:
                self._awaiting_snapshot = False
                self._apply_snapshot(sight)
            if sight is not None or self._replan_requested.is_set() or self._is_change_due():
                self._replan_requested.clear()
                # Before a new plan: what the queue has stopped must not begin for a moment.
                self._transfers.set_paused(bool(self._blocked_reason()[0]))
                self._replan()
            self._update_state()
            code = self._exit_code() if self._settings.once else None
            if code is not None:
                return code
            self._wake.wait(LOOP_INTERVAL)
            self._wake.clear()
        return ExitCode.UNREACHABLE

    def _is_change_due(self) -> bool:
        """For something that was ordered for later."""
        return self._plan.next_change is not None and self._now() >= self._plan.next_change

    # What was seen.

    def _apply_snapshot(self, snapshot: MediaSnapshot) -> None:
        """Announce what is wrong in the bucket. While it is out of reach, the last snapshot stays valid."""
        hook_failed = {name for name in snapshot.manifests if self._hooks.has_failed(name)}
        failed = self._transfers.incomplete_campaigns | hook_failed
        self._announcements.snapshot(snapshot, self._queue_reader.problem, failed)
        before = self._snapshot.manifests
        # A manifest that cannot be read now is as it was: nothing is cancelled for that.
        manifests = {
            name: before[name] if result.unreachable and name in before else result
            for name, result in snapshot.manifests.items()
        }
        if not snapshot.reached or snapshot.code:
            manifests = {**before, **manifests}
        self._snapshot = replace(snapshot, manifests=manifests)

    # What follows from it.

    @property
    def _limits(self) -> EffectiveLimits:
        return EffectiveLimits(self._settings.bandwidth_limit, self._settings.window, self._queue_reader.queue)

    def _replan(self) -> None:
        """From what was seen last, what lies on disk, the queue and the time."""
        try:
            self._plan = plan = self._make_plan()
            if plan.removals:
                self._remove(plan)
                self._plan = self._make_plan()
            self._disk_problem = self._local_content.problem
        except WorldError as error:
            self._disk_problem = f"{error.code}: {error}"
            self._announcements.notice("disk", "disk", self._disk_problem)
            return
        self._announcements.notice("disk", "disk", self._disk_problem)
        self._results.drop_unplanned({step.key for step in self._plan.steps})
        self._remove_stale_reports()
        self._announcements.plan(self._plan, self._snapshot, transfers_done=self._transfers.is_done)
        self._transfers.apply_plan(self._plan, self._snapshot.manifests, self._snapshot.etags)
        self._hooks.retry_due()

    def _remove(self, plan: Plan) -> None:
        busy = {step.key for step in self._transfers.running}
        self._local_content.link_before_removal(plan, self._snapshot, busy)
        for removal in plan.removals:
            campaign = removal.campaign
            try:
                if self._transfers.cancel_campaign(campaign, TRANSFER_STOP):
                    self._local_content.remove(
                        removal, self._snapshot.manifests.get(campaign), self.reporter.remove_items
                    )
                    self._hooks.campaign_removed(campaign)
                    self._announcements.notice("kept", f"kept {campaign}", "")
            except WorldError as error:
                self._announcements.notice(
                    "kept", f"kept {campaign}", f"{campaign} could not be removed: {error}", code=error.code
                )

    def _make_plan(self) -> Plan:
        now, terms = self._now(), self._limits
        moment = PlanningContext(now, terms.seconds_until_closed(now), self._rate(), self._store_clock.now())
        self._note_doubt(moment)
        return self._local_content.plan(
            self._snapshot, moment, terms.queue, self._requested, self._results.blocked_items(self._snapshot)
        )

    def _note_doubt(self, moment: PlanningContext) -> None:
        """Say that the clocks contradict each other; while the store has not answered, that is said anyway."""
        self._doubt = ""
        if moment.store is not None and moment.trusted is None:
            self._doubt = f"{Code.CLOCK_SKEW}: nothing is removed by date: {moment.doubt}"
        self._announcements.notice("kept", "clock", self._doubt, code=Code.CLOCK_SKEW)

    def _remove_stale_reports(self) -> None:
        planned = {step.campaign for step in self._plan.steps}
        self._stale_reports.remove(self._snapshot.manifests, self._queue_reader.queue, planned)

    # Mind what changes by itself.

    def _update_state(self) -> None:
        """Hold the work or let it go on, take what has come of it, and say how things stand."""
        self._results.add(self._transfers.take_results())
        terms, (up, why) = self._limits, self._link.state()
        self._limiter.rate = terms.bandwidth_limit
        hours = " and ".join(str(window) for window in terms.windows)
        self._listener.queue_changed(terms.version, terms.paused, hours, terms.bandwidth_limit)
        self._listener.link_changed(up, why)
        state, reason = self._blocked_reason()
        self._transfers.set_paused(bool(state))
        self._set_state(*((state, reason, "") if state else self._activity()))

    def _blocked_reason(self) -> tuple[str, str]:
        """The state and the reason for loading nothing now; both empty if it may be."""
        forbidden = self._limits.blocked_reason(self._now())
        up, why = self._link.state()
        return forbidden if forbidden[0] or up else ("waiting", why)

    def _activity(self) -> tuple[str, str, str]:
        running, snapshot = self._transfers.running, self._snapshot
        if running:
            verifying = all(step.action == "verify" for step in running)
            return "verifying" if verifying else "loading", self._queue_reader.problem, running[0].campaign
        if not self._transfers.is_done:
            return self._state
        if not snapshot.reached or snapshot.code:
            return "waiting", f"{snapshot.code}: {snapshot.reason}" if snapshot.code else snapshot.reason, ""
        failed = len(self._results.failed)
        reasons = (
            self._disk_problem,
            self._doubt,
            f"{failed} items failed" if failed else "",
            self._queue_reader.problem,
        )
        return "idle", "; ".join(filter(None, reasons)), ""

    def prioritise(self, campaign: str, content: str | None) -> str | None:
        """Somebody aboard wants it first. Returns why that cannot be, None if it will be so. From any thread."""
        reading = self._snapshot.manifests.get(campaign)
        if reading is None or reading.manifest is None:
            return f"There is no campaign {campaign!r} to be loaded here"
        if content is not None and not any(item.name == content for item in reading.manifest.content):
            return f"The campaign {campaign!r} has no content {content!r}"
        wish = (campaign, content)
        self._requested = (wish, *(other for other in self._requested if other != wish))[:MAX_REQUESTS]
        self._replan_requested.set()
        self._wake.set()
        return None

    # How it ends.

    def _exit_code(self) -> ExitCode | None:
        """Return the exit code of a run with `--once`; None while there is something to do."""
        state = self._run_state()
        if should_give_up(state):
            return ExitCode.UNREACHABLE
        if not is_finished(state):
            return None
        self._results.add(self._transfers.take_results())
        if self._republish_check.was_republished(self._results.failed, self._snapshot.manifests):
            self._awaiting_snapshot = True
            self._poller.start_poll()
            return None
        self._remove_stale_reports()
        self._announcements.totals(self._results.outcomes)
        incomplete = bool(self._transfers.incomplete_campaigns or self._hooks.any_failed or self._disk_problem)
        return exit_code(self._snapshot, self._results.outcomes, other_failure=incomplete)

    def _run_state(self) -> RunState:
        # The order matters: a local request, or the end of a transfer, may come in between. The last transfer submits
        # its hook before it ends.
        blocked = bool(self._blocked_reason()[0]) and not self._transfers.running
        return RunState(
            blocked=blocked,
            link_down=self._link.checked and not self._link.state()[0],
            replanning=self._awaiting_snapshot or self._replan_requested.is_set(),
            reached=self._snapshot.reached,
            transfers_done=self._transfers.is_done,
            hooks_done=self._hooks.idle,
        )

    def _shut_down(self) -> bool:
        self._transfers.close(TRANSFER_STOP)
        self._hooks.close(HOOK_STOP)
        self._set_state("idle", "stopped" if self._stop.is_set() else self._result(), "")
        told = self.reporter.close(FLUSH_STOPPED if self._stop.is_set() else self._settings.report_timeout)
        if self._lease_lost.is_set():
            return False
        if not told:
            self._listener.notice("status_away", "Not everything could be told to the status bucket; run again later.")
        try:
            self._stores[0].save_report_cache(self.reporter.export_state(self._now()))
        except WorldError as error:
            self._listener.notice("record", f"The next run will tell the ground everything again: {error}")
        return told

    def _result(self) -> str:
        """Reason of the last heartbeat: the status bucket may be in reach although the media bucket is not."""
        snapshot = self._snapshot
        return f"done; {snapshot.code}: {snapshot.reason}" if snapshot.code else "done"

    # What it says of itself.

    def _set_state(self, state: str, reason: str, campaign: str) -> None:
        if (state, reason, campaign) != self._state:
            self._state = (state, reason, campaign)
            self._listener.state_changed(state, reason, campaign)
            self.reporter.request_heartbeat()

    def heartbeat(self) -> Heartbeat:
        """The loader's own state, now. Called by the status thread."""
        state, reason, campaign = self._state
        refused = (f"{name} is not removed: {why}" for name, why in self._plan.refused_removals)
        extra: Mapping[str, object] = {
            "queue_error": redact("; ".join(filter(None, (self._queue_reader.problem, *refused))))[:500],
            "signatures": {name: redact(doubt) for name, doubt in self._snapshot.signature_warnings.items()},
            "signature_policy": "" if self._settings.signatures == "off" else self._settings.signatures,
        }
        return Heartbeat(
            loader=VERSION,
            at=self._now(),
            started_at=self._started,
            state=state,
            reason=redact(reason)[:500],
            campaign=campaign,
            rate_bps=(self._rate() or 0) if state == "loading" else 0,
            stores=self._local_content.usage(),
            queue_version=self._limits.version,
            held=self._local_content.held_campaigns(),
            extra={name: value for name, value in extra.items() if value},
        )
