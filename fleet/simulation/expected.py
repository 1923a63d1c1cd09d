"""Expected transfers of a simulated fleet after a number of writes, to compare rows with. Pure.

Derived from the written objects alone, as a poller would, not from what `fleet.simulation.traffic` intended.
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
    """A transfer of `plan.campaign` with the API's field names; sizes in bytes. `error_code` is empty without an error.

    A complete item whose error is not yet removed counts as complete, because its progress is newer than the error. A
    store whose timestamps are whole seconds shows this only if the two are a second apart.
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
    """The state that the objects describe. Contains only transfers with reports; the others are pending.

    `media`: the manifests are in the media bucket, so that totals are known.
    """

    plan: FleetPlan
    media: bool = True
    done: dict[ContentKey, int] = field(default_factory=dict)
    errors: dict[ContentKey, bytes] = field(default_factory=dict)

    def add(self, change: PlannedWrite) -> None:
        """Apply one more write."""
        key = parse_status_key(change.key)
        if key is None or key.kind == "heartbeat":
            return
        content_key = key.airline, key.tail, key.content
        if key.kind == "progress" and change.body is not None:
            self.done[content_key] = parse_progress(change.body)
        elif change.body is not None:
            self.errors[content_key] = change.body
        else:
            self.errors.pop(content_key, None)

    def touched(self) -> Iterator[Expected]:
        """Yield the transfers with reports."""
        sizes = {self.plan.item(number): size for number, size in enumerate(self.plan.sizes)}
        for key in sorted(self.done.keys() | self.errors.keys()):
            yield self._expected(key, sizes[key[2]])

    def transfers(self) -> Iterator[Expected]:
        """Yield all transfers of the fleet."""
        plan = self.plan
        for airline in range(plan.airlines):
            for tail in range(plan.tails):
                for item, size in enumerate(plan.sizes):
                    yield self._expected((plan.airline(airline), plan.tail(airline, tail), plan.item(item)), size)

    def _expected(self, key: ContentKey, size: int) -> Expected:
        done, error = self.done.get(key, 0), self.errors.get(key)
        total = size if self.media else None
        status = Status.LOADING if done else Status.PENDING
        if done == total:
            status = Status.COMPLETE
        elif error is not None:
            status = Status.FAILED
        if error is None:
            return Expected(*key, status.value, done, total)
        report = parse_error(error)
        return Expected(*key, status.value, done, total, str(report.code or ""), report.text)


def expected_after_count(plan: FleetPlan, count: int, *, media: bool = True) -> ExpectedState:
    """Return the expected state after the first `count` writes of `fleet.simulation.traffic.changes`."""
    return expected_after(plan, islice(changes(plan), count), media=media)


def expected_after(plan: FleetPlan, written: Iterable[PlannedWrite], *, media: bool = True) -> ExpectedState:
    """Return the expected state after these writes."""
    state = ExpectedState(plan, media)
    for change in written:
        state.add(change)
    return state
