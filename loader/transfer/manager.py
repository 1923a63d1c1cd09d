"""Worker threads that carry out the newest plan: several items at once; one failed item never stops the others.

A plan is replaced by a newer one while items are in flight (`TransferManager.apply_plan`): what is still wanted
continues, the rest is cancelled with its bytes kept, and more urgent items preempt less urgent ones.
`loader.transfer.task` does the steps.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from loader.contract.manifest import Manifest
from loader.errors import WorldError
from loader.media.snapshot import ManifestResult
from loader.planning.model import Plan, PlanStep
from loader.storage.inventory import ItemKey, ManifestVersion
from loader.transfer.task import TaskContext, TransferOutcome, TransferTask

log = logging.getLogger("loader")
_WORK_ACTIONS: Final = ("fetch", "verify", "link")


@dataclass
class _Campaign:
    """One campaign of the plan. `missing`: the items that are not whole yet."""

    result: ManifestResult
    steps: dict[str, PlanStep] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)

    @property
    def is_complete(self) -> bool:
        """Nothing is missing, and it is all of the campaign that is wanted."""
        manifest = self.result.manifest
        return not self.missing and manifest is not None and len(self.steps) == len(manifest.content)


class TransferManager:
    """The hands that carry out the newest plan. May be used from any thread."""

    def __init__(self, context: TaskContext, max_transfers: int, changed: Callable[[], None] = lambda: None) -> None:
        """`changed` is called by a hand when nothing is left to be done."""
        self._context, self._max_transfers, self._changed = context, max_transfers, changed
        self._campaigns: dict[str, _Campaign] = {}
        self._open: dict[ItemKey, PlanStep] = {}  # to be done, in this order
        self._running: dict[ItemKey, TransferTask] = {}
        self._results: list[TransferOutcome] = []
        self._etags: Mapping[ItemKey, str] = {}
        self._completed: dict[str, tuple[str, bool]] = {}
        self._last_reasons: dict[ItemKey, str] = {}
        self._order: dict[ItemKey, int] = {}
        self._done: set[ItemKey] = set()  # of the plan before: the newest may have been made while they ended
        self._active = 0
        self._done_now: set[ItemKey] = set()
        self._paused = self._closing = False
        self._wake = threading.Condition()
        self._completion_lock = threading.Lock()

    def start(self) -> None:
        """From now on plans are carried out."""
        for number in range(self._max_transfers):
            # Daemons: one that hangs in a connection must not keep the process from ending.
            threading.Thread(target=self._worker, name=f"transfer-{number}", daemon=True).start()

    def apply_plan(self, plan: Plan, manifests: Mapping[str, ManifestResult], etags: Mapping[ItemKey, str]) -> None:
        """Carry out this plan from now on. What needs no hand is done when it returns."""
        # While a campaign is being settled, nothing of its next version may come in between.
        with self._completion_lock, self._wake:
            self._etags, self._campaigns = etags, _campaigns(plan, manifests)
            for step in plan.steps:
                # Before a hand can take it up: what is told must not be older than what the hand tells.
                if step.key not in self._running:
                    self._report_step(step)
                if step.staged:
                    self._completed.pop(step.campaign, None)
            for key, transfer in self._running.items():
                if not self._is_wanted(key, transfer.step):
                    transfer.cancel()
            steps = {step.key: step for step in plan.steps if step.action in _WORK_ACTIONS}
            self._order = {key: place for place, key in enumerate(steps)}
            self._done, self._done_now = self._done_now, set()
            self._open = {key: step for key, step in steps.items() if not self._is_active(key)}
            self._preempt()
            self._wake.notify_all()
        for name in list(self._campaigns):
            self._complete_if_due(name)

    def _is_wanted(self, key: ItemKey, step: PlanStep) -> bool:
        campaign = self._campaigns.get(key[0])
        wanted = campaign.steps.get(key[1]) if campaign else None
        return wanted is not None and (wanted.item, wanted.store, wanted.staged) == (step.item, step.store, step.staged)

    def _is_active(self, key: ItemKey) -> bool:
        running = self._running.get(key)
        return running is not None and not running.stop.is_set()

    def _preempt(self) -> None:
        """Where all hands are full, the least urgent transfers make room for what is more urgent."""
        running = [
            (self._campaigns[key[0]].steps[key[1]].urgency, transfer)
            for key, transfer in self._running.items()
            if self._is_active(key)
        ]
        running.sort(key=lambda one: one[0], reverse=True)
        waiting = sorted(step.urgency for step in self._open.values())[self._max_transfers - len(running) :]
        for urgent, (urgency, transfer) in zip(waiting, running, strict=False):
            if urgent < urgency:
                transfer.cancel()

    def _report_step(self, step: PlanStep) -> None:
        """The ground hears of every item, and at once of what cannot be loaded. With the lock held."""
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
                self._context.listener.item_failed(step.campaign, name, error.code, str(error))
        elif self._last_reasons.get(key) and not step.code:
            status.clear_error(step.campaign, name)  # there is room now
        self._last_reasons[key] = step.reason

    def set_paused(self, paused: bool) -> None:
        """Stop what is running, its bytes kept, and begin nothing; or go on."""
        with self._wake:
            if paused != self._paused:
                self._paused = paused
                for transfer in self._running.values() if paused else ():
                    transfer.cancel()
                self._wake.notify_all()

    @property
    def is_done(self) -> bool:
        """Nothing is in hand and nothing waits."""
        with self._wake:
            return not (self._running or self._open or self._active)

    @property
    def running(self) -> list[PlanStep]:
        """What is in hand."""
        with self._wake:
            return [transfer.step for transfer in self._running.values()]

    @property
    def incomplete_campaigns(self) -> frozenset[str]:
        """Campaigns of which all is there, but which could not be put in place."""
        with self._wake:
            return frozenset(
                name for name, one in self._campaigns.items() if not one.missing and name not in self._completed
            )

    def cancel_campaign(self, campaign: str, seconds: float) -> bool:
        """Give up what is in hand of a campaign and begin no more of it. True if nothing of it is in hand any more."""
        with self._wake:
            self._campaigns.pop(campaign, None)
            self._open = {key: step for key, step in self._open.items() if key[0] != campaign}
            mine = [transfer for key, transfer in self._running.items() if key[0] == campaign]
            for transfer in mine:
                transfer.cancel()
            gone = self._wake.wait_for(lambda: not any(key[0] == campaign for key in self._running), seconds)
        with self._completion_lock:  # whoever was about to mark it as whole has done so
            return gone

    def take_results(self) -> list[TransferOutcome]:
        """What became of steps since this was last asked."""
        with self._wake:
            results, self._results = self._results, []
        return results

    def close(self, seconds: float) -> None:
        """End all that runs, waiting at most so long."""
        deadline = time.monotonic() + seconds
        with self._wake:
            self._closing = True
            self._wake.notify_all()
            while self._running and time.monotonic() < deadline:
                for transfer in self._running.values():
                    transfer.cancel()  # again and again: it may just have opened another connection
                self._wake.wait(0.1)

    # One of several threads.

    def _worker(self) -> None:
        while transfer := self._next():
            try:
                self._run_task(transfer)
            except Exception:
                # The edge of a thread: it goes on with the next item.
                log.exception("After %s/%s", transfer.step.campaign, transfer.step.item.name)
            with self._wake:
                self._running = {key: one for key, one in self._running.items() if one is not transfer}
                self._active -= 1
                self._wake.notify_all()
            if self.is_done:
                self._changed()

    def _run_task(self, transfer: TransferTask) -> None:
        result, key = transfer.run(), transfer.step.key
        with self._wake:
            del self._running[key]
            self._completed.pop(key[0], None)
            if result is not None:
                self._record(result)
            elif key in self._order and key not in self._open and self._is_wanted(key, transfer.step):
                again = {**self._open, key: transfer.step}
                self._open = {key: again[key] for key in sorted(again, key=self._order.__getitem__)}
            self._wake.notify_all()
        self._complete_if_due(key[0])

    def _next(self) -> TransferTask | None:
        with self._wake:
            while not self._closing:
                key = None if self._paused else next((key for key in self._open if key not in self._running), None)
                if key is not None:
                    step = self._open.pop(key)
                    reading = self._campaigns[step.campaign].result
                    etag, again = self._etags.get(key, ""), key in self._done
                    self._running[key] = TransferTask(step, reading, etag, self._context, again=again)
                    self._active += 1
                    return self._running[key]
                self._wake.wait()
        return None

    def _record(self, result: TransferOutcome) -> None:
        """With the lock held."""
        self._results.append(result)
        campaign, name = self._campaigns.get(result.step.campaign), result.step.item.name
        self._done_now |= set() if result.code else {result.step.key}
        if campaign and not result.code and self._is_wanted(result.step.key, result.step):
            campaign.missing.discard(name)

    # A campaign as a whole.

    def _complete_if_due(self, name: str) -> None:
        """Once nothing of a campaign is left to be done: tidy up, and if it is whole let its version take over."""
        with self._completion_lock:
            with self._wake:
                campaign = self._campaigns.get(name)
                # One that was given up may be finishing all the same: it must not come after the new version took over.
                if campaign is None or any(key[0] == name for key in (*self._running, *self._open)):
                    return
                state = (campaign.result.manifest_version.digest, campaign.is_complete)
                if self._completed.get(name) == state:
                    return
            try:
                self._complete(name, campaign)
                self._completed[name] = state
            except WorldError as error:
                self._context.reporter.campaign_error(name, error.code, str(error))
                self._context.listener.campaign_failed(name, error.code, str(error))

    def _complete(self, name: str, campaign: _Campaign) -> None:
        manifest, stores = campaign.result.manifest, self._context.stores
        if manifest is None:
            return
        for store in stores:
            store.remove_stale_partials(name, manifest.content)
        if campaign.missing:
            return
        steps = list(campaign.steps.values())
        if not campaign.is_complete and any(step.staged for step in steps):
            for store in stores:
                store.mark_incomplete(name)  # with items of two versions in place it is neither
        for store in stores:
            store.activate_staged(name, [step.item for step in steps])
        if campaign.is_complete:
            self._mark_complete(name, manifest, campaign.result.manifest_version)
        for step in steps:
            size = step.item.size
            self._context.reporter.progress(name, step.item.name, size, size, final=True)
            if step.staged:
                self._context.on_installed(name, step.item.name, step.store)
        if campaign.is_complete:
            self._context.on_installed(name, "", next((step.store for step in steps), 0))

    def _mark_complete(self, name: str, manifest: Manifest, manifest_version: ManifestVersion) -> None:
        for store in self._context.stores:
            store.mark_complete(
                name, manifest.content, manifest_version, exhibition=manifest.exhibition, title=manifest.title
            )
        self._context.listener.campaign_activated(name)


def _campaigns(plan: Plan, manifests: Mapping[str, ManifestResult]) -> dict[str, _Campaign]:
    campaigns: dict[str, _Campaign] = {}
    for step in plan.steps:
        campaign = campaigns.setdefault(step.campaign, _Campaign(manifests[step.campaign]))
        campaign.steps[step.item.name] = step
        if step.action != "keep":
            campaign.missing.add(step.item.name)
    return campaigns
