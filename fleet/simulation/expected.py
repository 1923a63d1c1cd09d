"""Expected transfers of an invented fleet after a number of changes. Pure.

It follows the written objects alone, as a poller does, and not what `fleet.simulation.traffic` meant by them: rows can
be held against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from fleet.choices import Status
from fleet.simulation.plan import FleetPlan, PlannedWrite
from fleet.simulation.traffic import changes
from loader.contract.item_reports import parse_error, parse_progress
from loader.contract.keys import parse_status_key

ContentKey = tuple[str, str, str]  # airline, tail, content


class Expected(NamedTuple):
    """A transfer of `plan.campaign`, its fields named as in the API; bytes. `error_code` is empty where there is none.

    A whole item is complete though its error is not yet removed, as its progress is the newer of the two (which a store
    that keeps whole seconds can tell only if they are a second apart).
    """

    airline: str
    tail: str
    content: str
    status: str
    bytes_done: int
    bytes_total: int | None
    error_code: str = ""
    error: str = ""


@dataclass(slots=True)
class ExpectedState:
    """What the objects say. Holds only transfers that something was written of; the others are pending.

    `media`: the manifests are in the media bucket, so that totals are known.
    """

    plan: FleetPlan
    media: bool = True
    done: dict[ContentKey, int] = field(default_factory=dict)
    errors: dict[ContentKey, bytes] = field(default_factory=dict)

    def add(self, change: PlannedWrite) -> None:
        """Take one more change into account."""
        key = parse_status_key(change.key)
        if key is None or key.kind == "heartbeat":
            return
        place = key.airline, key.tail, key.content
        if key.kind == "progress" and change.body is not None:
            self.done[place] = parse_progress(change.body)
        elif change.body is not None:
            self.errors[place] = change.body
        else:
            self.errors.pop(place, None)

    def touched(self) -> Iterator[Expected]:
        """The transfers something was written of."""
        sizes = {self.plan.item(number): size for number, size in enumerate(self.plan.sizes)}
        for place in sorted(self.done.keys() | self.errors.keys()):
            yield self._expected(place, sizes[place[2]])

    def transfers(self) -> Iterator[Expected]:
        """All of them."""
        plan = self.plan
        for airline in range(plan.airlines):
            for tail in range(plan.tails):
                for item, size in enumerate(plan.sizes):
                    yield self._expected((plan.airline(airline), plan.tail(airline, tail), plan.item(item)), size)

    def _expected(self, place: ContentKey, size: int) -> Expected:
        done, error = self.done.get(place, 0), self.errors.get(place)
        total = size if self.media else None
        status = Status.LOADING if done else Status.PENDING
        if done == total:
            status = Status.COMPLETE
        elif error is not None:
            status = Status.FAILED
        if error is None:
            return Expected(*place, status.value, done, total)
        report = parse_error(error)
        return Expected(*place, status.value, done, total, str(report.code or ""), report.text)


def expected_after_count(plan: FleetPlan, count: int, *, media: bool = True) -> ExpectedState:
    """The truth after the first `count` changes of `fleet.simulation.traffic.changes`."""
    return expected_after(plan, islice(changes(plan), count), media=media)


def expected_after(plan: FleetPlan, written: Iterable[PlannedWrite], *, media: bool = True) -> ExpectedState:
    """The truth after these changes."""
    truth = ExpectedState(plan, media)
    for change in written:
        truth.add(change)
    return truth
