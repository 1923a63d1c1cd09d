"""Runs the command of LOADER_ON_LOADED for each item and each campaign that is durable, one run at a time.

The command runs at least once for everything that `loader.hooks.ledger` finds pending, also after a kill. A failure
is an error of that item or campaign, and the command runs again after BLOCK_TIME. It runs in a thread of its own, so
transfers never wait for it. Starts processes; writes the ledgers of the content directories.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final

from loader.command_runner import CommandResult, run_command
from loader.errors import Code, WorldError
from loader.hooks.ledger import HookKey, HookLedger, PendingHook
from loader.monitor.events import CampaignFailed, EventListener, HookRecovered, ItemFailed
from loader.planning.failure_history import BLOCK_TIME
from loader.reporting.reporter import StatusReporter
from loader.storage.content_store import ContentStore

log = logging.getLogger("loader")
_OUTPUT_LIMIT: Final = 200  # characters of the command's last line in an error


class HookRunner:
    """The queue of pending runs and the thread that works it off. Methods may be called from any thread.

    A run is queued at most once, so the queue is never longer than the list of items and campaigns on disk. All
    methods but `close` return at once.
    """

    def __init__(
        self,
        command: Sequence[str],
        timeout: float,
        stores: Sequence[ContentStore],
        reporter: StatusReporter,
        listener: EventListener,
        changed: Callable[[], None] = lambda: None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start nothing yet; an empty command never runs. `timeout` is in seconds.

        The thread of the runner calls `changed` after each run, when `idle` already tells whether more are queued.
        """
        self._command, self._timeout, self._clock = tuple(command), timeout, clock
        self._reporter, self._listener, self._changed = reporter, listener, changed
        self._ledgers = {store.path: HookLedger(store.path) for store in stores} if command else {}
        self._waiting: dict[HookKey, PendingHook] = {}
        self._running: PendingHook | None = None
        self._failed: dict[HookKey, tuple[PendingHook, float]] = {}  # with the time from which it may run again
        self._ledgers_read = False
        self._condition = threading.Condition()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def item_installed(self, campaign: str, content: str, store: int) -> None:
        """Run the command for an item or, with an empty `content`, for what is pending of the complete campaign."""
        if content:
            for ledger in list(self._ledgers.values())[store : store + 1]:
                self._submit_from(partial(ledger.pending_item, campaign, content))
        else:
            for ledger in self._ledgers.values():
                self._submit_from(partial(ledger.pending, campaign))

    def retry_due(self) -> None:
        """Run the command again where it failed long enough ago. Call after each poll.

        The first call also runs it for everything that earlier runs of the loader left pending.
        """
        if not self._ledgers_read:
            self._ledgers_read = True
            for ledger in self._ledgers.values():
                self._submit_from(ledger.pending)
        with self._condition:
            now = self._clock()
            due = [pending for pending, retry_at in self._failed.values() if retry_at <= now]
        self.submit(due)

    def campaign_removed(self, campaign: str) -> None:
        """Forget the runs and failures of items that are no longer on disk."""
        for ledger in self._ledgers.values():
            try:
                ledger.remove_stale(campaign)
            except WorldError as error:
                text = f"Cannot update the records of the command for {campaign}: {error}"
                self._listener.notice("command", text, code=error.code)
        try:
            pending = {one.key for ledger in self._ledgers.values() for one in ledger.pending(campaign)}
        except WorldError:
            return
        with self._condition:
            for key in [key for key in self._failed if key.campaign == campaign and key not in pending]:
                del self._failed[key]

    def has_failed(self, campaign: str, content: str = "") -> bool:
        """Return whether the last run for the item, or for the campaign itself, failed."""
        with self._condition:
            return any(HookKey(store, campaign, content) in self._failed for store in self._ledgers)

    @property
    def any_failed(self) -> bool:
        with self._condition:
            return bool(self._failed)

    @property
    def idle(self) -> bool:
        """True if no run is queued or in progress."""
        with self._condition:
            return not self._waiting and self._running is None

    def submit(self, pending: Collection[PendingHook]) -> None:
        """Queue these runs in this order, without those that are queued, running, or failed too recently."""
        if not self._command:
            return
        with self._condition:
            new = [one for one in pending if self._accepts(one)]
            self._waiting.update({one.key: one for one in new})
            if new and self._thread is None and not self._stop.is_set():
                self._start()
            self._condition.notify_all()

    def _start(self) -> None:
        """Start the thread. The caller has the lock."""
        # A daemon thread: a command that cannot be ended must not keep the loader from exiting.
        thread = threading.Thread(target=self._run, name="hooks", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            log.exception("The command after loading cannot run: no thread can be started")
            for pending in self._waiting.values():
                self._set_failed(pending)
            self._waiting.clear()
            return
        self._thread = thread

    def close(self, seconds: float) -> None:
        """End a running command and start no other; their runs stay pending. Wait for at most `seconds`."""
        self._stop.set()
        with self._condition:
            self._waiting.clear()
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join(seconds)

    def _submit_from(self, read: Callable[[], list[PendingHook]]) -> None:
        try:
            self.submit(read())
        except WorldError as error:
            text = f"Cannot read for which items the command has to run: {error}"
            self._listener.notice("command", text, code=error.code)

    def _accepts(self, pending: PendingHook) -> bool:
        if pending.key in self._waiting:
            return False
        if self._running is not None and (self._running.key, self._running.mark) == (pending.key, pending.mark):
            return False
        failed, retry_at = self._failed.get(pending.key, (None, 0.0))
        return failed is None or failed.mark != pending.mark or retry_at <= self._clock()

    # The thread of the runner.

    def _run(self) -> None:
        while (pending := self._next()) is not None:
            try:
                self._run_hook(pending)
            except BaseException:
                # The edge of a thread: the command still has to run for the other items.
                log.exception("Failed to report the command for %s", pending)
                self._set_failed(pending)
            with self._condition:
                self._running = None
            self._changed()

    def _next(self) -> PendingHook | None:
        with self._condition:
            self._condition.wait_for(lambda: self._waiting or self._stop.is_set())
            if self._stop.is_set():
                return None
            self._running = self._waiting.pop(next(iter(self._waiting)))
            return self._running

    def _run_hook(self, submitted: PendingHook) -> None:
        ledger, pending, failure = self._ledgers[submitted.key.store], submitted, None
        try:
            # A race: the caller may have read the ledger before an earlier run for the same content was recorded.
            refreshed = ledger.refresh(submitted)
            with self._condition:
                if refreshed is None:
                    self._failed.pop(submitted.key, None)
                    return
                self._running = pending = refreshed
            if not self._run_command(pending):
                return
            ledger.mark_done(pending)
        except WorldError as error:
            failure = error
        except BaseException as error:
            log.exception("Failed to run the command for %s", pending)
            failure = WorldError(Code.INTERNAL, f"unexpected error ({type(error).__name__})")
        with self._condition:
            self._failed.pop(pending.key, None)
        if failure is not None:
            self._set_failed(pending)
        self._report(pending, failure)

    def _set_failed(self, pending: PendingHook) -> None:
        with self._condition:
            self._failed[pending.key] = (pending, self._clock() + BLOCK_TIME)

    def _run_command(self, pending: PendingHook) -> bool:
        """Return False if the command was ended because the loader stops. Raises WorldError HOOK_FAILED."""
        campaign = pending.key.campaign
        if campaign.startswith("-"):
            raise WorldError(
                Code.HOOK_FAILED,
                f"the command set with --on-loaded was not run: it would read the campaign name {campaign!a} as an "
                "option; publish the campaign under a name without a leading dash",
            )
        arguments = [str(pending.path), campaign, pending.key.content]
        outcome = run_command([*self._command, *arguments], self._timeout, self._stop)
        log.info("%s ran for %s: %s", self._command[0], pending, _log_text(outcome))
        if not outcome.stopped and not outcome.succeeded:
            raise WorldError(Code.HOOK_FAILED, _error_text(outcome))
        return not outcome.stopped

    def _report(self, pending: PendingHook, error: WorldError | None) -> None:
        campaign, content = pending.key.campaign, pending.key.content
        if error is None and content:
            self._reporter.clear_error(campaign, content)
            self._listener.handle(HookRecovered(campaign, content))
        elif error is None:
            self._reporter.clear_campaign_error(campaign)
        elif content:
            self._reporter.error(campaign, content, error.code, str(error))
            self._listener.handle(ItemFailed(campaign, content, error.code, str(error)))
        else:
            self._reporter.campaign_error(campaign, error.code, str(error))
            self._listener.handle(CampaignFailed(campaign, error.code, str(error)))


def _error_text(outcome: CommandResult) -> str:
    last = "".join(outcome.last_lines[-1:])[:_OUTPUT_LIMIT]
    return f"the command set with --on-loaded failed: {outcome}" + (f": {last}" if last else "")


def _log_text(outcome: CommandResult) -> str:
    """Return how the command ended, and the first and last lines of its output."""
    first, last = (" | ".join(lines) for lines in (outcome.first_lines, outcome.last_lines))
    return f"{'stopped' if outcome.stopped else outcome}; {first}" + (f" … {last}" if last != first else "")
