"""LOADER_ON_LOADED: runs the operator's command once an item, and once a campaign, is durable. One at a time.

The command runs at least once for everything that `loader.hooks.ledger` finds pending, also after a kill. A failure
is an error of that item (or campaign), and the command is run again later. One thread: transfers are never slowed.
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
from loader.hooks.ledger import HookLedger, PendingHook
from loader.monitor.events import CampaignFailed, EventListener, HookRecovered, ItemFailed
from loader.planning.failure_history import BLOCK_TIME
from loader.reporting.reporter import StatusReporter
from loader.storage.content_store import ContentStore

log = logging.getLogger("loader")
HookKey = tuple[str, str, str]
_OUTPUT_LIMIT: Final = 200  # characters of the command's last words that the ground is told


class HookQueue:
    """The thread and what waits for it: nothing twice, so never more than there are items and campaigns aboard."""

    def __init__(
        self,
        command: Sequence[str],
        timeout: float,
        refresh: Callable[[PendingHook], PendingHook | None],
        done: Callable[[PendingHook, WorldError | None], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start nothing yet. `timeout` is in seconds.

        The thread of the hooks calls `refresh` before each run, which returns what is pending by then, and `done`
        after it.
        """
        self._command, self._timeout, self._clock = tuple(command), timeout, clock
        self._refresh, self._done = refresh, done
        self._waiting: dict[HookKey, PendingHook] = {}
        self._running: PendingHook | None = None
        self._blocked: dict[HookKey, tuple[PendingHook, float]] = {}
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def submit(self, owed: Collection[PendingHook]) -> int:
        """Run the command for these, in order; how many of them are new here. Returns at once.

        What waits or runs already is not taken twice, and what failed lately not yet; without a command, nothing is.
        """
        if not self._command:
            return 0
        with self._changed:
            new = [one for one in owed if self._accepts(one)]
            self._waiting.update({one.key: one for one in new})
            if new and self._thread is None and not self._stop.is_set():
                # A daemon: a command that cannot be ended must not keep the loader from ending.
                self._thread = threading.Thread(target=self._run, name="hooks", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return len(new)

    def retry_due(self) -> int:
        """Run it again where it failed long enough ago; call it at each look. How many there are."""
        with self._changed:
            now = self._clock()
            ripe = [owed for owed, until in self._blocked.values() if until <= now]
        return self.submit(ripe)

    @property
    def failed(self) -> list[PendingHook]:
        """For which it failed and was not yet run again."""
        with self._changed:
            return [owed for owed, _ in self._blocked.values()]

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing runs."""
        with self._changed:
            return not self._waiting and self._running is None

    def close(self, seconds: float) -> None:
        """End a running command, run no other: what was not done stays owed. Waits for at most `seconds`."""
        self._stop.set()
        with self._changed:
            self._waiting.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(seconds)

    def _accepts(self, owed: PendingHook) -> bool:
        running = self._running
        if owed.key in self._waiting or (running and (running.key, running.mark) == (owed.key, owed.mark)):
            return False
        barred = self._blocked.get(owed.key)
        return barred is None or barred[0].mark != owed.mark or barred[1] <= self._clock()

    def _run(self) -> None:
        while (owed := self._next()) is not None:
            try:
                self._run_hook(owed)
            except Exception:
                # The edge of a thread: the other items' commands are run all the same.
                log.exception("While running the command for %s", owed)
            with self._changed:
                self._running = None
                self._changed.notify_all()

    def _next(self) -> PendingHook | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stop.is_set())
            if self._stop.is_set():
                return None
            key = next(iter(self._waiting))
            self._running = self._waiting.pop(key)
            return self._running

    def _run_hook(self, submitted: PendingHook) -> None:
        # Whoever submitted may have read the ledger before an earlier run for the same content was marked done.
        try:
            owed = self._refresh(submitted)
        except WorldError as error:
            self._on_result(submitted, error)
            return
        if owed is None:
            with self._changed:
                self._blocked.pop(submitted.key, None)
            return
        with self._changed:
            self._running = owed
        outcome = run_command([*self._command, str(owed.path), owed.campaign, owed.content], self._timeout, self._stop)
        log.info("%s ran for %s: %s", self._command[0], owed, _log_text(outcome))
        if outcome.stopped:
            return
        self._on_result(owed, None if outcome.succeeded else WorldError(Code.HOOK_FAILED, _error_text(outcome)))

    def _on_result(self, owed: PendingHook, error: WorldError | None) -> None:
        with self._changed:
            self._blocked.pop(owed.key, None)
            if error is not None:
                self._blocked[owed.key] = (owed, self._clock() + BLOCK_TIME)
        self._done(owed, error)


def _error_text(outcome: CommandResult) -> str:
    last = "".join(outcome.last_lines[-1:])[:_OUTPUT_LIMIT]
    return f"the command to be run after loading: {outcome}" + (f": {last}" if last else "")


def _log_text(outcome: CommandResult) -> str:
    """How it ended and what it said, for the log of the aircraft."""
    first, last = (" | ".join(lines) for lines in (outcome.first_lines, outcome.last_lines))
    return f"{'stopped' if outcome.stopped else outcome}; {first}" + (f" … {last}" if last != first else "")


class HookRunner:
    """For one run of the loader. Methods return at once and may be called from any thread."""

    def __init__(
        self,
        command: Sequence[str],
        timeout: float,
        stores: Sequence[ContentStore],
        reporter: StatusReporter,
        listener: EventListener,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """Without a command nothing is ever owed. `changed` is called when a run of it has ended."""
        self._reporter, self._listener, self._changed = reporter, listener, changed
        self._ledgers = [HookLedger(store.path) for store in stores] if command else []
        self._hooks = HookQueue(command, timeout, self._refresh, self._on_result)
        self._failed: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._started = False

    def item_installed(self, campaign: str, content: str, store: int) -> None:
        """An item, or ("" for its content) all of a campaign, is durable."""
        if content:
            for ledger in self._ledgers[store : store + 1]:
                self._submit(partial(ledger.pending_item, campaign, content))
        else:
            for ledger in self._ledgers:
                self._submit(partial(ledger.pending, campaign))

    def retry_due(self) -> None:
        """Run what failed some time ago again; the first time, everything that earlier runs of the loader left."""
        for ledger in self._ledgers if not self._started else ():
            self._submit(ledger.pending)
        self._started = True
        self._hooks.retry_due()

    def campaign_removed(self, campaign: str) -> None:
        """Items of it are not aboard any more: what is noted of them is forgotten."""
        for ledger in self._ledgers:
            try:
                ledger.remove_stale(campaign)
            except WorldError as error:
                self._listener.notice(
                    "command", f"What was run for {campaign} cannot be noted: {error}", code=error.code
                )
        try:
            owed = {(one.campaign, one.content) for ledger in self._ledgers for one in ledger.pending(campaign)}
        except WorldError:
            return
        with self._lock:
            self._failed = {one for one in self._failed if one[0] != campaign or one in owed}

    def has_failed(self, campaign: str, content: str = "") -> bool:
        """Whether the command failed for it, and was not yet run well."""
        with self._lock:
            return (campaign, content) in self._failed

    @property
    def any_failed(self) -> bool:
        """Whether it failed for anything."""
        with self._lock:
            return bool(self._failed)

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits to be run."""
        return self._hooks.idle

    def close(self, seconds: float) -> None:
        """End what runs; what was not done stays owed."""
        self._hooks.close(seconds)

    def _submit(self, find: Callable[[], list[PendingHook]]) -> None:
        try:
            self._hooks.submit(find())
        except WorldError as error:
            self._listener.notice("command", f"What is owed cannot be read: {error}", code=error.code)

    def _refresh(self, owed: PendingHook) -> PendingHook | None:
        return next((ledger.refresh(owed) for ledger in self._ledgers if ledger.owns(owed)), None)

    def _on_result(self, owed: PendingHook, error: WorldError | None) -> None:
        """Called by the thread of the hooks."""
        if error is None:
            error = self._mark_done(owed)
        with self._lock:
            (self._failed.discard if error is None else self._failed.add)((owed.campaign, owed.content))
        self._report(owed, error)
        self._changed()

    def _mark_done(self, owed: PendingHook) -> WorldError | None:
        try:
            for ledger in self._ledgers:
                if ledger.owns(owed):
                    ledger.mark_done(owed)
        except WorldError as error:
            return error
        return None

    def _report(self, owed: PendingHook, error: WorldError | None) -> None:
        campaign, content = owed.campaign, owed.content
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
