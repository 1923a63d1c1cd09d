"""Traffic of a simulated fleet: what its loaders write to the status bucket, in order. Pure: no clock.

The `FleetPlan` alone determines the sequence: the same plan gives the same writes in the same order. Only the tails
that load at the moment are in memory, however large the fleet. `fleet.simulation.expected` computes the result.
"""

from __future__ import annotations

import heapq
import random
from array import array
from collections import deque
from collections.abc import Generator, Iterator
from datetime import timedelta
from math import ceil
from typing import Final, Literal

from fleet.simulation.plan import FleetPlan, PlannedWrite
from loader.contract.heartbeat import Heartbeat, build_heartbeat
from loader.contract.item_reports import build_error, build_progress
from loader.contract.keys import error_key, heartbeat_key
from loader.contract.units import MIB
from loader.errors import Code

REPORT_INTERVAL: Final = 2.0  # seconds between two reports of a loader, the default of ours
HEARTBEAT_INTERVAL: Final = 300.0  # seconds
MAX_STEP: Final = 10 * MIB  # bytes between two reports: a link of about 40 Mbit/s
ERRORS: Final = (
    (Code.NETWORK, "the store could not be reached"),
    (Code.TIMEOUT, "no byte came for 60 s"),
    (Code.SHORT_BODY, "the connection ended early, 12 times in a row"),
    (Code.HASH_MISMATCH, "the bytes do not have the SHA-256 of the manifest"),
    (Code.NO_SPACE, "the content directory is full"),
)
FOREIGN_ERRORS: Final = ("connection reset by peer", "I/O error -5 on /dev/mmcblk0p3", "Übertragung abgebrochen: 17")
Write = tuple[str, bytes | None]  # a key and its body, None for a deletion


def changes(plan: FleetPlan) -> Iterator[PlannedWrite]:
    """Yield what the loaders write after the announcement, in order, `plan.rate` writes a second.

    Each loader writes about every `REPORT_INTERVAL`, so only as many tails load at once as the rate needs; the others
    wait. With fewer tails than that they report more often.
    """
    fleet = _Fleet(plan)
    since, count = 0.0, 0  # multiplied, because a running sum of steps would drift
    while plan.seconds is None or since + count / plan.rate < plan.seconds:
        at = since + count / plan.rate
        aircraft = fleet.next(at)
        if aircraft is None:
            if not fleet.silent:
                return
            since, count = fleet.silent[0][0], 0
            continue
        action = aircraft.next_action(at)
        if isinstance(action, float):
            heapq.heappush(fleet.silent, (at + action, aircraft.number, aircraft))
        elif action is not None:
            fleet.loading.append(aircraft)
            yield PlannedWrite(at, *action)
            count += 1


class _Fleet:
    """The tails that are loading, and the silent ones with the end of their silence. Others take no memory."""

    def __init__(self, plan: FleetPlan) -> None:
        self.loading: deque[_Aircraft] = deque()
        self.silent: list[tuple[float, int, _Aircraft]] = []
        self._plan = plan
        self._draw = random.Random(plan.seed)  # noqa: S311
        order = array("I", range(plan.airlines * plan.tails))
        self._draw.shuffle(order)
        self._waiting = iter(order)
        self._max_loading = ceil(plan.rate * REPORT_INTERVAL)

    def next(self, at: float) -> _Aircraft | None:
        """Return a tail whose silence has ended, else a new one if there is room, else the one that waited longest."""
        if self.silent and self.silent[0][0] <= at:
            return heapq.heappop(self.silent)[2]
        if len(self.loading) < self._max_loading:
            number = next(self._waiting, None)
            if number is not None:
                return _Aircraft(self._plan, number, self._draw)
        return self.loading.popleft() if self.loading else None


class _Aircraft:
    """A loader from its start until it has every item."""

    __slots__ = ("_ended", "_foreign", "_heartbeat_at", "_plan", "_script", "number")

    def __init__(self, plan: FleetPlan, number: int, draw: random.Random) -> None:
        self.number = number
        self._plan = plan
        self._foreign = draw.random() < plan.foreign
        self._script = _LoadScript(plan, number, draw, foreign=self._foreign).all()
        self._heartbeat_at: float | None = None
        self._ended = False

    def next_action(self, at: float) -> Write | float | None:
        """Return the next write, the seconds it is silent, or None after its last write."""
        if self._foreign:
            return next(self._script, None)
        if not self._ended and (self._heartbeat_at is None or at - self._heartbeat_at >= HEARTBEAT_INTERVAL):
            return self._heartbeat(at, "loading")
        action = next(self._script, None)
        if action is not None or self._ended:
            return action
        self._ended = True
        return self._heartbeat(at, "idle")

    def _heartbeat(self, at: float, state: str) -> Write:
        self._heartbeat_at = at
        plan = self._plan
        airline, tail = divmod(self.number, plan.tails)
        heartbeat = Heartbeat(
            loader="simulated",
            at=plan.begins + timedelta(seconds=round(at)),
            started_at=plan.begins,
            state=state,
            campaign=plan.campaign if state == "loading" else "",
        )
        return heartbeat_key(plan.airline(airline), plan.tail(airline, tail)), build_heartbeat(heartbeat)


class _LoadScript:
    """The load of one tail, item after item, with at most one incident, at some byte of one item."""

    __slots__ = ("_airline", "_at_byte", "_at_item", "_draw", "_foreign", "_incident", "_plan", "_tail")

    def __init__(self, plan: FleetPlan, number: int, draw: random.Random, *, foreign: bool) -> None:
        self._airline, self._tail = divmod(number, plan.tails)
        self._plan, self._draw, self._foreign = plan, draw, foreign
        self._incident = _incident_for(plan, draw.random())
        self._at_item = draw.randrange(plan.items)
        self._at_byte = draw.randrange(plan.sizes[self._at_item])

    def all(self) -> Iterator[Write | float]:
        """Yield the writes until every item is complete, and the silences between."""
        done, code = 0, ""
        for item in range(self._plan.items):
            if not self._incident or item != self._at_item:
                yield from self._to_the_end(item, 0)
                continue
            done = yield from self._until(item, 0, self._at_byte)
            if self._incident == "fails":
                code, body = self._error()
                yield self._error_key(), body
                continue
            if self._incident == "stalls":
                yield self._plan.pause
            elif done:
                done = 0
                yield self._progress(item, 0)
            yield from self._to_the_end(item, done)
        if code:
            yield from self._recover(done, code)

    def _recover(self, done: int, code: str) -> Iterator[Write]:
        """Yield the retry of the failed item, from 0 after a wrong checksum."""
        if code == Code.HASH_MISMATCH and done:
            done = 0
            yield self._progress(self._at_item, 0)
        yield from self._to_the_end(self._at_item, done)
        yield self._error_key(), None

    def _until(self, item: int, done: int, limit: int) -> Generator[Write, None, int]:
        """Yield the reports above `done` and below `limit`; return the bytes of the last one."""
        while (further := self._further(done)) < limit:
            done = further
            yield self._progress(item, done)
        return done

    def _to_the_end(self, item: int, done: int) -> Iterator[Write]:
        size = self._plan.sizes[item]
        yield from self._until(item, done, size)
        yield self._progress(item, size)

    def _further(self, done: int) -> int:
        """Return the next bytes to report: whole MiB from our loader, any number from a foreign one."""
        if self._foreign:
            return done + self._draw.randint(1, MAX_STEP)
        return done + MIB * self._draw.randint(1, MAX_STEP // MIB)

    def _progress(self, item: int, done: int) -> Write:
        return self._plan.progress(self._airline, self._tail, item), build_progress(done)

    def _error(self) -> tuple[str, bytes]:
        """Return the code and the body of an error."""
        if self._foreign:
            return "none", self._draw.choice(FOREIGN_ERRORS).encode()
        code, text = self._draw.choice(ERRORS)
        return code, build_error(code, text)

    def _error_key(self) -> str:
        plan = self._plan
        airline, tail = plan.airline(self._airline), plan.tail(self._airline, self._tail)
        return error_key(airline, tail, plan.campaign, plan.item(self._at_item))


def _incident_for(plan: FleetPlan, lot: float) -> Literal["", "fails", "stalls", "restarts"]:
    """Return the incident of a tail, chosen by a random number from 0 to 1."""
    if lot < plan.failing:
        return "fails"
    if lot < plan.failing + plan.stalling:
        return "stalls"
    return "restarts" if lot < plan.failing + plan.stalling + plan.restarting else ""
