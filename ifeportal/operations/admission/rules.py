"""Admission: which waiting operations start now, and why the others wait. Pure: takes values, returns a decision.

Operations start in the order of lane, priority and age, each that fits the caps and the space. Two rules prevent
starvation. Of each kind one operation at a time that has waited for PATIENCE goes before all others. And one that has
waited so long and lacks only space reserves what is free, so that smaller ones cannot take it. If an operation lacks
space, deletions in that space go before others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from ifeportal.formatting import quantity, size

PATIENCE: Final = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An operation that could start. `needs`: bytes of space that it does not have yet."""

    pk: int
    kind: str
    airline: int
    user: int | None
    lane: int
    priority: int
    queued_at: datetime
    needs: int = 0


@dataclass(frozen=True, slots=True)
class Running:
    """How many operations of a kind, airline and user run; `patient`: those of them that had waited for PATIENCE."""

    kind: str
    airline: int
    user: int | None
    number: int
    patient: int = 0


@dataclass(frozen=True, slots=True)
class KindLimits:
    """How many operations of a kind run at once (None: no limit), and the space that it uses, or frees."""

    total: int | None = None
    per_airline: int | None = None
    per_user: int | None = None
    space: str = ""
    frees_space: bool = False


@dataclass(frozen=True, slots=True)
class SpaceLeft:
    """Bytes: the size of a space, and what is neither used nor reserved, which may be negative."""

    limit: int
    free: int


@dataclass(frozen=True, slots=True)
class Situation:
    """What admission decides from. `total`: how many operations may run in all. A space without limit is absent."""

    total: int
    kinds: Mapping[str, KindLimits]
    running: Sequence[Running]
    spaces: Mapping[str, SpaceLeft]
    now: datetime

    def is_patient(self, candidate: Candidate) -> bool:
        """Whether the operation has waited for PATIENCE."""
        return self.now - candidate.queued_at >= PATIENCE


@dataclass(frozen=True, slots=True)
class Decision:
    """Ids of the operations that start, in order; for each other one a sentence that says what it waits for."""

    admitted: tuple[int, ...]
    reasons: Mapping[int, str]


@dataclass(slots=True)
class Usage:
    """How many operations run, by what caps count."""

    number: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    airlines: Counter[tuple[str, int]] = field(default_factory=Counter)
    users: Counter[tuple[str, int | None]] = field(default_factory=Counter)

    @classmethod
    def of(cls, running: Iterable[Running]) -> Usage:
        usage = cls()
        for row in running:
            usage.add(row.kind, row.airline, row.user, row.number)
        return usage

    def add(self, kind: str, airline: int, user: int | None, number: int = 1) -> None:
        self.number += number
        self.kinds[kind] += number
        self.airlines[kind, airline] += number
        self.users[kind, user] += number


def decide(candidates: Sequence[Candidate], situation: Situation) -> Decision:
    """Return which of the candidates start."""
    first = _Pass(situation)
    first.run(candidates, frozenset())
    if first.short_of:
        again = _Pass(situation)
        again.run(candidates, first.short_of)
        return again.decision()
    return first.decision()


class _Pass:
    """One pass over the candidates. `short_of`: the spaces that operations lack."""

    def __init__(self, situation: Situation) -> None:
        self.situation = situation
        self.usage = Usage.of(situation.running)
        self.free = {name: space.free for name, space in situation.spaces.items()}
        self.favoured = {row.kind for row in situation.running if row.patient}
        self.short_of: set[str] = set()
        self.admitted: list[int] = []
        self.reasons: dict[int, str] = {}

    def run(self, candidates: Sequence[Candidate], short_of: Collection[str]) -> None:
        """Admit what fits. Deletions in the spaces `short_of` go before other operations."""
        self._favour(filter(self.situation.is_patient, candidates))
        for each in sorted(candidates, key=lambda each: (not self._frees(each, short_of), *queue_order(each))):
            if each.pk not in self.admitted and each.pk not in self.reasons:
                self._admit_or_explain(each)

    def decision(self) -> Decision:
        return Decision(tuple(self.admitted), self.reasons)

    def _favour(self, patient: Iterable[Candidate]) -> None:
        """Admit the oldest of each kind, unless one runs that was favoured; reserve space for those that lack it."""
        for each in sorted(patient, key=lambda each: (each.queued_at, each.pk)):
            if self._cap_reached(each):
                continue
            if lack := self._space_lacking(each):
                self._reserve(each, lack)
            elif each.kind not in self.favoured:
                self.favoured.add(each.kind)
                self._admit(each)

    def _admit_or_explain(self, candidate: Candidate) -> None:
        reason = self._cap_reached(candidate) or self._space_lacking(candidate)
        if reason:
            self.reasons[candidate.pk] = reason
        else:
            self._admit(candidate)

    def _admit(self, candidate: Candidate) -> None:
        self.admitted.append(candidate.pk)
        self.usage.add(candidate.kind, candidate.airline, candidate.user)
        self._take(candidate)

    def _reserve(self, candidate: Candidate, reason: str) -> None:
        self.reasons[candidate.pk] = reason
        space = self.situation.spaces[self._limits(candidate).space]
        if candidate.needs <= space.limit:
            self._take(candidate)

    def _take(self, candidate: Candidate) -> None:
        name = self._limits(candidate).space
        if name in self.free:
            self.free[name] -= candidate.needs

    def _cap_reached(self, candidate: Candidate) -> str:
        """Return a sentence about the cap that the candidate would exceed, or ""."""
        limits, usage = self._limits(candidate), self.usage
        if usage.number >= self.situation.total:
            return f"Waits until one of {quantity(usage.number, 'running operation')} ends."
        for cap, number, whose in (
            (limits.total, usage.kinds[candidate.kind], "of this kind"),
            (limits.per_airline, usage.airlines[candidate.kind, candidate.airline], "of this kind for the airline"),
            (limits.per_user, usage.users[candidate.kind, candidate.user], "of this kind for the user"),
        ):
            if cap is not None and number >= cap:
                return f"Waits until one of {quantity(number, 'running operation')} {whose} ends."
        return ""

    def _space_lacking(self, candidate: Candidate) -> str:
        """Return a sentence about the space that the candidate lacks, or ""."""
        name = self._limits(candidate).space
        if not candidate.needs or name not in self.free or candidate.needs <= self.free[name]:
            return ""
        limit, free = self.situation.spaces[name].limit, max(self.free[name], 0)
        if candidate.needs > limit:
            return f"Needs {size(candidate.needs)} of space, more than the limit of {size(limit)}."
        self.short_of.add(name)
        lacking = size(candidate.needs - free)
        return f"Waits for {lacking} of space: needs {size(candidate.needs)}, {size(free)} are free."

    def _limits(self, candidate: Candidate) -> KindLimits:
        return self.situation.kinds[candidate.kind]

    def _frees(self, candidate: Candidate, short_of: Collection[str]) -> bool:
        limits = self._limits(candidate)
        return limits.frees_space and limits.space in short_of


def queue_order(candidate: Candidate) -> tuple[int, int, datetime, int]:
    """Return the key that sorts the queue: lane, priority, age."""
    return candidate.lane, -candidate.priority, candidate.queued_at, candidate.pk
