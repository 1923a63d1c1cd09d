"""Carries out a plan: several items at once, one failed item never stopping the others, one campaign never another.

Reads the media bucket through `loader.download`, writes content directories through `loader.store`, and tells the
ground through `loader.status` what came of it. Decides nothing that `loader.plan` could have decided.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from loader.bucket import Body
from loader.contract import MIB, TGZ, Item, content_key
from loader.display import Display
from loader.download import Means, bring
from loader.errors import WorldError
from loader.lookout import Lookout, Reading
from loader.pace import Stopped
from loader.plan import Plan, Step
from loader.status import StatusWriter
from loader.store import Store

log = logging.getLogger("loader")


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a step: `code` is empty where the item is as wanted. `etag`: of the object last read."""

    step: Step
    code: str = ""
    text: str = ""
    etag: str = ""
    stopped: bool = False


@dataclass
class _Campaign:
    """One campaign of the plan, while its steps are carried out."""

    reading: Reading
    steps: list[Step] = field(default_factory=list)
    open: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Tools:
    """What a pass works with."""

    airline: str
    stores: Sequence[Store]
    means: Means
    lookout: Lookout
    status: StatusWriter
    display: Display
    reserve: int = 0
    etags: Mapping[tuple[str, str], str] = field(default_factory=dict)


class Work:
    """One pass over one plan. `carry_out` blocks; `abort` may be called from anywhere."""

    def __init__(self, plan: Plan, readings: Mapping[str, Reading], tools: Tools, at_once: int) -> None:
        self._plan, self._tools, self._at_once = plan, tools, at_once
        self._campaigns = {step.campaign: _Campaign(readings[step.campaign]) for step in plan.steps}
        for step in plan.steps:
            self._campaigns[step.campaign].steps.append(step)
            self._campaigns[step.campaign].open += 1
        self._results: list[Result] = []
        self._bodies: set[Body] = set()
        self._lock = threading.Lock()
        self._done = threading.Semaphore(0)

    def carry_out(self) -> list[Result]:
        """Do all of it. After a stop, what was not done or not finished is in the results as stopped."""
        for step in self._plan.steps:
            self._announce(step)
        todo: queue.SimpleQueue[Step] = queue.SimpleQueue()
        for step in self._plan.steps:
            if step.action in ("fetch", "verify", "link"):
                todo.put(step)
            else:
                self._record(self._at_hand(step))
        hands = [
            # Daemons: one that hangs in a connection must not keep the process from ending.
            threading.Thread(target=self._hand, args=(todo,), name=f"transfer-{number}", daemon=True)
            for number in range(min(self._at_once, todo.qsize()))
        ]
        for hand in hands:
            hand.start()
        self._wait(hands)
        with self._lock:
            return list(self._results)

    def _wait(self, hands: Sequence[threading.Thread]) -> None:
        stop = self._tools.means.stop
        while any(hand.is_alive() for hand in hands) and not stop.is_set():
            self._done.acquire(timeout=0.2)
        deadline = time.monotonic() + 2.0
        while stop.is_set() and any(hand.is_alive() for hand in hands) and time.monotonic() < deadline:
            self.abort()
            self._done.acquire(timeout=0.1)

    def abort(self) -> None:
        """End reads that wait for a byte."""
        with self._lock:
            bodies = list(self._bodies)
        for body in bodies:
            body.abort()

    def _announce(self, step: Step) -> None:
        """The ground hears of every item, and at once of what cannot be loaded."""
        whole = step.action == "keep" and not step.beside
        self._tools.status.progress(step.campaign, step.item.name, step.begun, step.item.size, final=whole)

    def _at_hand(self, step: Step) -> Result:
        """A step that needs no work."""
        if step.action == "keep":
            self._tools.status.no_error(step.campaign, step.item.name)
            return Result(step)
        if step.action == "refuse":
            return self._failed(step, WorldError("NO_SPACE", step.reason), "")
        return Result(step, step.code or "INTERNAL", step.reason)

    def _hand(self, todo: queue.SimpleQueue[Step]) -> None:
        """One of several threads."""
        try:
            while not self._tools.means.stop.is_set():
                self._record(self._do(todo.get_nowait()))
        except queue.Empty:
            pass
        finally:
            self._done.release()

    def _do(self, step: Step) -> Result:
        watch = _Watch(step, self._tools, self._bodies, self._lock)
        try:
            if not (self._verify(step) if step.action == "verify" else step.action == "link" and self._link(step)):
                self._fetch(step, watch)
        except Stopped:
            return Result(step, stopped=True)
        except WorldError as error:
            return self._failed(step, error, watch.etag)
        except Exception:
            # The edge of a thread: the other items go on.
            log.exception("While loading %s/%s%s", step.campaign, step.item.name, TGZ)
            return self._failed(step, WorldError("INTERNAL"), watch.etag)
        self._tools.status.progress(
            step.campaign, step.item.name, step.item.size, step.item.size, final=not step.beside
        )
        self._tools.status.no_error(step.campaign, step.item.name)
        self._tools.display.finished(step.campaign, step.item.name, step.item.size, verified=bool(step.item.sha256))
        return Result(step)

    def _verify(self, step: Step) -> bool:
        tools, edition = self._tools, self._campaigns[step.campaign].reading.edition
        tools.display.say("verify", f"{step.campaign}/{step.item.name}{TGZ}: reading what is there")
        etag = tools.etags.get((step.campaign, step.item.name), "")
        return tools.stores[step.store].verify(step.campaign, step.item, etag, edition, tools.means.stop)

    def _link(self, step: Step) -> bool:
        edition = self._campaigns[step.campaign].reading.edition
        return self._tools.stores[step.store].link(step.campaign, step.item, edition, beside=step.beside)

    def _fetch(self, step: Step, watch: _Watch) -> None:
        tools, edition = self._tools, self._campaigns[step.campaign].reading.edition
        store = tools.stores[step.store]
        with store.part(step.campaign, step.item, edition) as part:
            part.resume(tools.means.stop)
            missing, free = step.item.size - part.kept, (store.space().free or 0) - tools.reserve
            if missing > max(0, free):
                raise WorldError("NO_SPACE", f"{missing} bytes are still to be fetched and {max(0, free)} may be used")
            watch.began(part.kept)
            key = content_key(tools.airline, step.campaign, step.item.name)
            try:
                bring(
                    key,
                    part,
                    tools.means,
                    watch,
                    lambda: store.finish(step.campaign, part, edition, beside=step.beside),
                )
            finally:
                part.save()

    def _failed(self, step: Step, error: WorldError, etag: str) -> Result:
        self._tools.status.error(step.campaign, step.item.name, error.code, str(error))
        self._tools.display.failed(step.campaign, step.item.name, error.code, str(error))
        return Result(step, error.code, str(error), etag)

    def _record(self, result: Result) -> None:
        """Note a result; the last one of a campaign settles it."""
        campaign = self._campaigns[result.step.campaign]
        with self._lock:
            self._results.append(result)
            campaign.open -= 1
            campaign.failed += bool(result.code or result.stopped)
            last = campaign.open == 0
        if last:
            self._settle(result.step.campaign, campaign)

    def _settle(self, name: str, campaign: _Campaign) -> None:
        items: Sequence[Item] = [step.item for step in campaign.steps]
        try:
            for store in self._tools.stores:
                store.tidy(name, items)
            if not campaign.failed:
                for store in self._tools.stores:
                    store.switch(name, items)
                for store in self._tools.stores:
                    store.settle(name, items, campaign.reading.edition)
        except WorldError as error:
            self._tools.status.campaign_error(name, error.code, str(error))
            self._tools.display.campaign_failed(name, error.code, str(error))
            return
        if not campaign.failed:
            for step in campaign.steps:
                self._tools.status.progress(name, step.item.name, step.item.size, step.item.size, final=True)


class _Watch:
    """What one download tells, passed on to the ground and to the display."""

    def __init__(self, step: Step, tools: Tools, bodies: set[Body], lock: threading.Lock) -> None:
        self._step, self._tools, self._bodies, self._lock = step, tools, bodies, lock
        self._body: Body | None = None
        self._kept = 0
        self._clear_at: int | None = None
        self.etag = ""

    def began(self, kept: int) -> None:
        self._kept = kept
        self._tools.display.began(self._step.campaign, self._step.item.name, kept, self._step.item.size)
        self._tools.status.progress(self._step.campaign, self._step.item.name, kept, self._step.item.size)

    def moved(self, kept: int) -> None:
        step, gained = self._step, max(0, kept - self._kept)
        self._kept = kept
        self._tools.status.progress(step.campaign, step.item.name, kept, step.item.size)
        self._tools.display.moved(step.campaign, step.item.name, kept, step.item.size, gained)
        if self._clear_at is not None and kept >= self._clear_at:
            self._clear_at = None
            self._tools.status.no_error(step.campaign, step.item.name)

    def retrying(self, error: WorldError, wait: float, failed: int) -> None:
        step = self._step
        self._tools.display.retrying(step.campaign, step.item.name, error.code, str(error), wait)
        # One hiccup is not worth a word to the ground, two in a row are; it is taken back when bytes flow again.
        if failed > 1 or not wait:
            self._tools.status.error(step.campaign, step.item.name, error.code, str(error))
            self._clear_at = self._kept + MIB

    def still_wanted(self) -> bool:
        return self._tools.lookout.lists(self._step.campaign, self._step.item)

    def opened(self, body: Body | None) -> None:
        with self._lock:
            if self._body is not None:
                self._bodies.discard(self._body)
            self._body = body
            if body is not None:
                self._bodies.add(body)
        if body is not None:
            self.etag = body.etag
