"""Worker threads that carry out the current plan, several items at once. A failed item never stops the others.

A newer plan may replace the current one while items are in transfer (`TransferManager.apply_plan`). Items that are
still planned continue, the others are cancelled, and more urgent items preempt less urgent ones. Bytes of cancelled
transfers stay on disk. `loader.transfer.task` carries out the steps, `loader.transfer.completion` completes campaigns.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from loader.errors import Code, WorldError
from loader.media.snapshot import ManifestResult
from loader.monitor.events import ItemFailed
from loader.planning.model import Plan, PlanStep
from loader.storage.inventory import ItemKey
from loader.transfer.completion import CampaignCompletion, PlannedCampaign, group_by_campaign
from loader.transfer.task import TaskContext, TransferOutcome, TransferTask

log = logging.getLogger("loader")
_WORK_ACTIONS: Final = ("fetch", "verify", "link")
_INSTALLING: Final = 2  # items that may be synced to disk and renamed while `max_transfers` others are downloaded


class TransferManager:
    """The queue of the current plan and the threads that work it off. Methods may be called from any thread."""

    def __init__(self, context: TaskContext, max_transfers: int, changed: Callable[[], None] = lambda: None) -> None:
        """A worker calls `changed` when it has carried out the last step of the plan.

        `max_transfers` items are downloaded, linked or verified at once. One whose bytes have all arrived does not
        count any more: the next download does not wait for the disk.
        """
        self._context, self._max_transfers, self._changed = context, max_transfers, changed
        self._campaigns: dict[str, PlannedCampaign] = {}
        self._open: dict[ItemKey, PlanStep] = {}  # steps that wait, in this order
        self._running: dict[ItemKey, TransferTask] = {}
        self._receiving: set[ItemKey] = set()  # those of them whose bytes have not all arrived
        self._results: list[TransferOutcome] = []
        self._etags: Mapping[ItemKey, str] = {}
        self._last_reasons: dict[ItemKey, str] = {}
        self._order: dict[ItemKey, int] = {}
        # Items that were done under the previous plan. The current one may have been made before they were.
        self._done_before: set[ItemKey] = set()
        self._active = 0
        self._done: set[ItemKey] = set()
        self._paused = self._closing = False
        self._wake = threading.Condition()
        self._completion = CampaignCompletion(context)

    def start(self) -> None:
        """Start the worker threads."""
        for number in range(self._max_transfers + _INSTALLING):
            # Daemon threads: one that hangs in a connection must not keep the process from exiting.
            threading.Thread(target=self._worker, name=f"transfer-{number}", daemon=True).start()

    def apply_plan(self, plan: Plan, manifests: Mapping[str, ManifestResult], etags: Mapping[ItemKey, str]) -> None:
        """Replace the current plan. Steps that need no transfer are done when this returns.

        `etags`: of the objects in the bucket, as far as known.
        """
        # While a campaign is being completed, nothing of its next version may come in between.
        with self._completion.lock, self._wake:
            self._etags, self._campaigns = etags, group_by_campaign(plan, manifests)
            for step in plan.steps:
                # Before a worker can start the step, so that its reports are the later ones.
                if step.key not in self._running:
                    self._report_step(step)
                if step.staged:
                    self._completion.forget(step.campaign)
            for key, transfer in self._running.items():
                if not self._is_wanted(key, transfer.step):
                    transfer.cancel()
            steps = {step.key: step for step in plan.steps if step.action in _WORK_ACTIONS}
            self._order = {key: position for position, key in enumerate(steps)}
            self._done_before, self._done = self._done, set()
            self._open = {key: step for key, step in steps.items() if not self._is_active(key)}
            self._preempt()
            self._wake.notify_all()
        for name in list(self._campaigns):
            self._completion.complete_if_due(name, self._find_idle)

    def _is_wanted(self, key: ItemKey, step: PlanStep) -> bool:
        campaign = self._campaigns.get(key[0])
        wanted = campaign.steps.get(key[1]) if campaign else None
        return wanted is not None and (wanted.item, wanted.store, wanted.staged) == (step.item, step.store, step.staged)

    def _is_active(self, key: ItemKey) -> bool:
        running = self._running.get(key)
        return running is not None and not running.stop.is_set()

    def _preempt(self) -> None:
        """If all workers are busy, cancel the least urgent transfers for more urgent steps that wait."""
        running = [
            (self._campaigns[key[0]].steps[key[1]].urgency, transfer)
            for key, transfer in self._running.items()
            if self._is_active(key) and key in self._receiving
        ]
        running.sort(key=lambda pair: pair[0], reverse=True)
        waiting = sorted(step.urgency for step in self._open.values())[self._max_transfers - len(running) :]
        for urgent, (urgency, transfer) in zip(waiting, running, strict=False):
            if urgent < urgency:
                transfer.cancel()

    def _report_step(self, step: PlanStep) -> None:
        """Report the progress of an item, and whether it cannot be loaded. The caller has the lock."""
        status, name, key = self._context.reporter, step.item.name, step.key
        status.progress(
            step.campaign, name, step.bytes_done, step.item.size, final=step.action == "keep" and not step.staged
        )
        if step.action == "keep" and not self._context.has_failed_hook(step.campaign, name):
            status.clear_error(step.campaign, name)
        if step.code:
            self._record(
                TransferOutcome(step, self._campaigns[step.campaign].result.manifest_version.digest, step.code)
            )
        if step.action == "refuse" and step.code:
            error = WorldError(step.code, step.reason)
            status.error(step.campaign, name, error.code, str(error))
            if self._last_reasons.get(key) != str(error):
                self._context.listener.handle(ItemFailed(step.campaign, name, error.code, str(error)))
        elif self._last_reasons.get(key) and not step.code:
            status.clear_error(step.campaign, name)  # the item fits now
        self._last_reasons[key] = step.reason

    def set_paused(self, paused: bool) -> None:
        """Cancel all transfers and start none until this is called with False. Their bytes stay on disk."""
        with self._wake:
            if paused != self._paused:
                self._paused = paused
                for transfer in self._running.values() if paused else ():
                    transfer.cancel()
                self._wake.notify_all()

    @property
    def is_done(self) -> bool:
        """True if no step waits or is being carried out."""
        with self._wake:
            return not (self._running or self._open or self._active)

    @property
    def running(self) -> list[PlanStep]:
        """The steps that are being carried out."""
        with self._wake:
            return [transfer.step for transfer in self._running.values()]

    @property
    def incomplete_campaigns(self) -> frozenset[str]:
        """Campaigns whose items are all there, but which could not be completed."""
        with self._wake:
            return frozenset(
                name
                for name, campaign in self._campaigns.items()
                if not campaign.missing and not self._completion.is_completed(name)
            )

    def cancel_campaign(self, campaign: str, seconds: float) -> bool:
        """Cancel the transfers of a campaign and start no more of them until the next plan.

        Return whether all have ended within `seconds`.
        """
        with self._wake:
            self._campaigns.pop(campaign, None)
            self._open = {key: step for key, step in self._open.items() if key[0] != campaign}
            affected = [transfer for key, transfer in self._running.items() if key[0] == campaign]
            for transfer in affected:
                transfer.cancel()
            ended = self._wake.wait_for(lambda: not any(key[0] == campaign for key in self._running), seconds)
        with self._completion.lock:  # a completion of it that was under way has ended
            return ended

    def take_results(self) -> list[TransferOutcome]:
        """Return and forget the results since the last call."""
        with self._wake:
            results, self._results = self._results, []
        return results

    def close(self, seconds: float) -> None:
        """Cancel all transfers and end the workers. Wait for at most `seconds`."""
        deadline = time.monotonic() + seconds
        with self._wake:
            self._closing = True
            self._wake.notify_all()
            while self._running and time.monotonic() < deadline:
                for transfer in self._running.values():
                    transfer.cancel()  # repeated, because it may just have opened another connection
                self._wake.wait(0.1)

    # The worker threads.

    def _worker(self) -> None:
        while transfer := self._next():
            try:
                self._run_task(transfer)
            except BaseException as error:
                # The edge of a thread: it continues with the next item.
                log.exception("Failed to load %s/%s", *transfer.step.key)
                self._fail(transfer.step, error)
            with self._wake:
                self._running = {key: one for key, one in self._running.items() if one is not transfer}
                self._receiving &= self._running.keys()
                self._active -= 1
                self._wake.notify_all()
            if self.is_done:
                self._changed()

    def _run_task(self, transfer: TransferTask) -> None:
        key = transfer.step.key
        result = transfer.run()
        with self._wake:
            del self._running[key]
            self._receiving.discard(key)
            self._completion.forget(key[0])
            if result is not None:
                self._record(result)
            elif key in self._order and key not in self._open and self._is_wanted(key, transfer.step):
                # Cancelled, but still planned: it waits again, at its position in the plan.
                waiting = {**self._open, key: transfer.step}
                self._open = {key: waiting[key] for key in sorted(waiting, key=self._order.__getitem__)}
            self._wake.notify_all()
        self._completion.complete_if_due(key[0], self._find_idle)

    def _next(self) -> TransferTask | None:
        with self._wake:
            while not self._closing:
                key = next((key for key in self._open if key not in self._running), None) if self._may_start else None
                if key is None:
                    self._wake.wait()
                elif (transfer := self._make_task(self._open.pop(key))) is not None:
                    self._running[key] = transfer
                    self._receiving.add(key)
                    self._active += 1
                    return transfer
        return None

    @property
    def _may_start(self) -> bool:
        return not self._paused and len(self._receiving) < self._max_transfers

    def _received(self, transfer: TransferTask) -> None:
        """Let another item start: all bytes of this one have arrived."""
        key = transfer.step.key
        with self._wake:
            if self._running.get(key) is transfer:
                self._receiving.discard(key)
                self._wake.notify_all()

    def _make_task(self, step: PlanStep) -> TransferTask | None:
        key = step.key
        try:
            result, etag = self._campaigns[step.campaign].result, self._etags.get(key, "")
            maybe_done = key in self._done_before
            return TransferTask(step, result, etag, self._context, maybe_done=maybe_done, on_received=self._received)
        except Exception as error:
            # The edge of a thread, as in `_worker`.
            log.exception("Failed to load %s/%s", *key)
            self._fail(step, error)
            return None

    def _fail(self, step: PlanStep, error: BaseException) -> None:
        """Record an unexpected error. Without a result, `--once` would end as if the item had been loaded."""
        with self._wake:
            self._results.append(TransferOutcome(step, "", Code.INTERNAL))
        text = f"unexpected error ({type(error).__name__})"
        try:
            self._context.reporter.error(step.campaign, step.item.name, Code.INTERNAL, text)
        except Exception:  # the worker goes on, and the exit code says that an item failed
            log.exception("Failed to report the error of %s/%s", step.campaign, step.item.name)

    def _record(self, result: TransferOutcome) -> None:
        """Store a result. The caller has the lock."""
        self._results.append(result)
        campaign, name = self._campaigns.get(result.step.campaign), result.step.item.name
        self._done |= set() if result.code else {result.step.key}
        if campaign and not result.code and self._is_wanted(result.step.key, result.step):
            campaign.missing.discard(name)

    def _find_idle(self, name: str) -> PlannedCampaign | None:
        """Return the campaign of the plan; None while an item of it waits or is in transfer."""
        with self._wake:
            # A cancelled transfer may still install its item: not after the new version has been activated.
            if any(key[0] == name for key in (*self._running, *self._open)):
                return None
            return self._campaigns.get(name)
