"""Main loop: poll the media bucket, plan, run transfers, repeat until stopped.

The loop runs once a second and never waits for the network. Polls, transfers, reports, the link check and commands
have threads of their own, so any change (queue, clock, link, local request) takes effect within a second, even while
an item is being transferred.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from loader.agent.announcements import Announcements
from loader.agent.exit_rules import RepublishCheck, RunState, exit_code, is_finished, should_give_up
from loader.agent.heartbeat import HeartbeatSource
from loader.agent.item_results import ItemResults
from loader.agent.local_content import LocalContent
from loader.agent.stale_reports import StaleReports
from loader.clock import StoreClock, best_time
from loader.config import Settings
from loader.errors import Code, ExitCode, WorldError
from loader.hooks.runner import HookRunner
from loader.media.poller import MediaPoller
from loader.media.queue_reader import TransferQueueReader
from loader.media.snapshot import MediaSnapshot
from loader.monitor.events import EventListener, LinkChanged, LoaderState, QueueState
from loader.network.link_monitor import LinkMonitor
from loader.planning.limits import EffectiveLimits
from loader.planning.model import Plan, PlanningContext
from loader.reporting.reporter import StatusReporter
from loader.storage.content_store import ContentStore
from loader.transfer.manager import TransferManager
from loader.transfer.rate_limit import RateLimiter

log = logging.getLogger("loader")
LOOP_INTERVAL: Final = 1.0  # seconds
LEASE_WAIT: Final = 30.0  # seconds to wait for the tail's lease before content is loaded without an answer
FLUSH_STOPPED: Final = 1.5  # seconds for the last reports after a signal
TRANSFER_STOP: Final = 2.0  # seconds for transfers to end
HOOK_STOP: Final = 1.0  # seconds for the operator's command to end
MAX_REQUESTS: Final = 20  # local requests that are remembered


@dataclass(eq=False, kw_only=True)
class Agent:
    """Control loop of one loader; `loader.main` builds its parts, whose fields make this class long.

    `stores` are open and locked. `stop` ends the loop within five seconds, `wake` starts the next turn at once.
    `lease_lost` is set, with `stop`, if another machine loads this tail. `rate`: bytes a second received lately, all
    transfers together. `on_turn` is called once a turn, so that a watchdog notices a loop that hangs.
    """

    settings: Settings
    stores: Sequence[ContentStore]
    listener: EventListener
    link: LinkMonitor
    stop: threading.Event
    wake: threading.Event
    lease_lost: threading.Event
    store_clock: StoreClock
    limiter: RateLimiter
    queue_reader: TransferQueueReader
    poller: MediaPoller
    republish_check: RepublishCheck
    local_content: LocalContent
    results: ItemResults
    heartbeat: HeartbeatSource
    reporter: StatusReporter
    stale_reports: StaleReports
    announcements: Announcements
    hooks: HookRunner
    transfers: TransferManager
    rate: Callable[[], int | None]
    on_turn: Callable[[], None]

    _snapshot: MediaSnapshot = field(default=MediaSnapshot({}), init=False)
    _plan: Plan = field(default=Plan(), init=False)
    _requested: tuple[tuple[str, str | None], ...] = field(default=(), init=False)
    _replan_requested: threading.Event = field(default_factory=threading.Event, init=False)
    _awaiting_snapshot: bool = field(default=True, init=False)  # the run may not end before the next poll is planned
    _disk_problem: str = field(default="", init=False)
    _clock_problem: str = field(default="", init=False)
    _internal_problem: str = field(default="", init=False)  # since the last plan
    _poll_due: float = field(default=0.0, init=False)
    _was_up: bool = field(default=True, init=False)

    def run(self) -> ExitCode:
        """Load until nothing is left to do (`--once`) or `stop` is set."""
        self._import_reports()
        self.reporter.start()
        self._await_lease()
        code = ExitCode.UNREACHABLE
        try:
            self.transfers.start()
            code = self._loop()
        finally:
            all_reported = self._shut_down()
        if self.lease_lost.is_set():
            return ExitCode.HELD
        return ExitCode.UNREACHABLE if code is ExitCode.DONE and not all_reported else code

    def _import_reports(self) -> None:
        try:
            self.reporter.import_state(self.stores[0].load_report_cache(), _now())
        except WorldError as error:
            text = f"The reports of the last run cannot be read from disk, so all of them are sent again: {error}"
            self.listener.notice("record", text, code=error.code)

    def _await_lease(self) -> None:
        """Wait up to LEASE_WAIT for the tail's lease; if the status bucket is unreachable, load anyway."""
        deadline = time.monotonic() + LEASE_WAIT
        while not self.reporter.lease_checked.wait(0.1) and not self.stop.is_set() and time.monotonic() < deadline:
            self.on_turn()
            if self.link.checked and not self.link.state()[0]:
                return  # while the link is down the lease cannot be asked for, and nothing is loaded

    def _loop(self) -> ExitCode:
        while not self.stop.is_set():
            self.on_turn()
            try:
                code = self._turn()
            except Exception as error:
                # The edge of the loop: `--once` ends, any other run goes on with the next poll.
                problem = f"{Code.INTERNAL}: unexpected error ({type(error).__name__})"
                if problem != self._internal_problem:
                    log.exception("Unexpected error in the main loop")
                code = self._turn_failed(problem)
            if code is not None:
                return code
            self.wake.wait(LOOP_INTERVAL)
            self.wake.clear()
        return ExitCode.UNREACHABLE

    def _turn(self) -> ExitCode | None:
        """Do what is due. Return the exit code once a run with `--once` is over."""
        self._poll_if_due()
        self._plan_if_changed(self.poller.take_snapshot())
        self._update_state()
        return self._exit_code() if self.settings.once else None

    def _turn_failed(self, problem: str) -> ExitCode | None:
        self._internal_problem = problem
        self.announcements.notice("internal", "internal", problem, code=Code.INTERNAL)
        self._set_state("waiting", problem, "")
        return ExitCode.SOME_FAILED if self.settings.once else None

    def _poll_if_due(self) -> None:
        up = self.link.state()[0]
        if up and not self._was_up:
            self.reporter.link_restored()
            self._await_lease()
            self._poll_due = 0.0
        self._was_up = up
        if up and time.monotonic() >= self._poll_due and not self.poller.polling:
            self.poller.start_poll()
            self._poll_due = time.monotonic() + self.settings.poll_interval

    def _plan_if_changed(self, snapshot: MediaSnapshot | None) -> None:
        if snapshot is not None:
            self._awaiting_snapshot = False
            self._apply_snapshot(snapshot)
        change_due = self._plan.next_change is not None and _now() >= self._plan.next_change
        if snapshot is not None or self._replan_requested.is_set() or change_due:
            self._replan_requested.clear()
            # Pause before planning: an item that the queue no longer allows must not start for a moment.
            self.transfers.set_paused(bool(self._blocked_reason()[0]))
            self._replan()

    def _apply_snapshot(self, snapshot: MediaSnapshot) -> None:
        """Announce what is wrong in the bucket. While the bucket is unreachable, the last snapshot stays valid."""
        hook_failed = {name for name in snapshot.manifests if self.hooks.has_failed(name)}
        failed = self.transfers.incomplete_campaigns | hook_failed
        self.announcements.snapshot(snapshot, self.queue_reader.problem, failed)
        self._snapshot = self.heartbeat.snapshot = snapshot.merged_with(self._snapshot)

    # Planning.

    @property
    def _limits(self) -> EffectiveLimits:
        return EffectiveLimits(self.settings.bandwidth_limit, self.settings.window, self.queue_reader.queue)

    def _replan(self) -> None:
        """Plan from the last snapshot, the content on disk, the queue and the time, and start the plan."""
        try:
            self._plan = self._make_plan()
            if self._plan.removals:
                self._remove(self._plan)
                self._plan = self._make_plan()
            self._disk_problem = self.local_content.problem
        except WorldError as error:
            self._disk_problem = f"{error.code}: {error}"
            return
        finally:
            self.heartbeat.plan = self._plan
            self.announcements.notice("disk", "disk", self._disk_problem)
        self.results.drop_unplanned({step.key for step in self._plan.steps})
        self._remove_stale_reports()
        self.announcements.plan(self._plan, self._snapshot, transfers_done=self.transfers.is_done)
        self.transfers.apply_plan(self._plan, self._snapshot.manifests, self._snapshot.etags)
        self.hooks.retry_due()
        self._internal_problem = ""

    def _make_plan(self) -> Plan:
        now, store, limits = _now(), self.store_clock.now(), self._limits
        context = PlanningContext(now, limits.seconds_until_closed(best_time(now, store)), self.rate(), store)
        # Before the store's first answer there is no contradiction to report.
        problem = f"{Code.CLOCK_SKEW}: nothing is removed: {context.why_untrusted}"
        self._clock_problem = problem if context.clocks_differ else ""
        self.announcements.notice("kept", "clock", self._clock_problem, code=Code.CLOCK_SKEW)
        blocked = self.results.blocked_items(self._snapshot)
        return self.local_content.plan(self._snapshot, context, limits.queue, self._requested, blocked)

    def _remove(self, plan: Plan) -> None:
        self.local_content.link_before_removal(plan, self._snapshot, {step.key for step in self.transfers.running})
        for removal in plan.removals:
            name = removal.campaign
            try:
                if self.transfers.cancel_campaign(name, TRANSFER_STOP):
                    self.local_content.remove(removal, self._snapshot.manifests.get(name), self.reporter.remove_items)
                    self.hooks.campaign_removed(name)
                    self.announcements.notice("kept", f"kept {name}", "")
            except WorldError as error:
                text = f"{name} could not be removed: {error}"
                self.announcements.notice("kept", f"kept {name}", text, code=error.code)

    def _remove_stale_reports(self) -> None:
        planned = {step.campaign for step in self._plan.steps}
        self.stale_reports.remove(self._snapshot.manifests, self.queue_reader.queue, planned)

    def prioritise(self, campaign: str, content: str | None) -> str | None:
        """Load a campaign, or one item of it, before everything else. May be called from any thread.

        Returns the reason why that is not possible, or None.
        """
        if reason := self._snapshot.why_missing(campaign, content):
            return reason
        request = (campaign, content)
        self._requested = (request, *(other for other in self._requested if other != request))[:MAX_REQUESTS]
        self._replan_requested.set()
        self.wake.set()
        return None

    # State.

    def _update_state(self) -> None:
        """Pause or resume transfers, collect their outcomes, and report the state."""
        self.results.add(self.transfers.take_results())
        limits, (up, why) = self._limits, self.link.state()
        self.limiter.rate = limits.bandwidth_limit
        hours = " and ".join(str(window) for window in limits.windows)
        self.listener.handle(QueueState(limits.version, limits.paused, hours, limits.bandwidth_limit))
        self.listener.handle(LinkChanged(up, why))
        state, reason = self._blocked_reason()
        self.transfers.set_paused(bool(state))
        self._set_state(*((state, reason, "") if state else self._activity()))

    def _blocked_reason(self) -> tuple[str, str]:
        """Return the state and the reason for loading nothing now; both are empty if loading is allowed."""
        by_limits = self._limits.blocked_reason(best_time(_now(), self.store_clock.now()))
        up, why = self.link.state()
        return by_limits if by_limits[0] or up else ("waiting", why)

    def _activity(self) -> tuple[str, str, str]:
        """Return state, reason and campaign while loading is allowed."""
        running, snapshot = self.transfers.running, self._snapshot
        if running:
            verifying = all(step.action == "verify" for step in running)
            return "verifying" if verifying else "loading", self.queue_reader.problem, running[0].campaign
        if not self.transfers.is_done:
            return self.heartbeat.state
        if not snapshot.reached or snapshot.code:
            return "waiting", f"{snapshot.code}: {snapshot.reason}" if snapshot.code else snapshot.reason, ""
        failed = len(self.results.failed)
        failures = f"{failed} items failed" if failed else ""
        reasons = (
            self._internal_problem,
            self._disk_problem,
            self._clock_problem,
            failures,
            self.queue_reader.problem,
        )
        return "idle", "; ".join(filter(None, reasons)), ""

    def _set_state(self, state: str, reason: str, campaign: str) -> None:
        if (state, reason, campaign) != self.heartbeat.state:
            self.heartbeat.state = (state, reason, campaign)
            self.listener.handle(LoaderState(state, reason, campaign))
            self.reporter.request_heartbeat()

    # End of the run.

    def _exit_code(self) -> ExitCode | None:
        """Return the exit code of a run with `--once`; None while there is something to do."""
        state = self._run_state()
        if should_give_up(state):
            return ExitCode.UNREACHABLE
        if not is_finished(state):
            return None
        self.results.add(self.transfers.take_results())
        if self.republish_check.was_republished(self.results.failed, self._snapshot.manifests):
            self._awaiting_snapshot = True
            self.poller.start_poll()
            return None
        self._remove_stale_reports()
        self.announcements.totals(self.results.outcomes)
        other_failure = bool(self.transfers.incomplete_campaigns or self.hooks.any_failed or self._disk_problem)
        return exit_code(self._snapshot, self.results.outcomes, other_failure=other_failure)

    def _run_state(self) -> RunState:
        blocked = bool(self._blocked_reason()[0]) and not self.transfers.running
        # The order matters, because transfers end in other threads: the last one submits its hook before it ends.
        return RunState(
            blocked=blocked,
            link_down=self.link.checked and not self.link.state()[0],
            replanning=self._awaiting_snapshot or self._replan_requested.is_set(),
            reached=self._snapshot.reached,
            transfers_done=self.transfers.is_done,
            hooks_done=self.hooks.idle,
        )

    def _shut_down(self) -> bool:
        """Stop everything and send the last reports. Returns whether all of them were sent."""
        self.transfers.close(TRANSFER_STOP)
        self.hooks.close(HOOK_STOP)
        stopped, snapshot = self.stop.is_set(), self._snapshot
        # The status bucket may be reachable although the media bucket is not.
        media_problem = f"{snapshot.code}: {snapshot.reason}" if snapshot.code else ""
        result = "; ".join(filter(None, ("done", media_problem, self._internal_problem)))
        self._set_state("idle", "stopped" if stopped else result, "")
        all_reported = self.reporter.close(FLUSH_STOPPED if self.stop.is_set() else self.settings.report_timeout)
        if self.lease_lost.is_set():
            return False
        if not all_reported:
            text = "Not all reports could be sent to the status bucket; run again later."
            self.listener.notice("status_away", text)
        try:
            self.stores[0].save_report_cache(self.reporter.export_state(_now()))
        except WorldError as error:
            text = f"The sent reports could not be recorded on disk, so the next run sends all of them again: {error}"
            self.listener.notice("record", text)
        return all_reported


def _now() -> datetime:
    return datetime.now(UTC)
