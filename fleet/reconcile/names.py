"""Names of airlines, tails and campaigns that may get a row: limited, and distinct in more than case. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fleet.reconcile.limits import Limits
from fleet.reconcile.problems import Problem, Problems
from loader.contract.names import check_name, conflict_key
from loader.errors import ContractError


class AdmittedNames:
    """Which names of a kind have a row, and which new ones may get one."""

    def __init__(self, known: Iterable[str], room: int) -> None:
        self._good = set(known)
        self._by_fold = {conflict_key(name): name for name in self._good}
        self._room = room
        self.new: list[str] = []
        self.refused = 0

    def admit(self, name: str) -> str | None:
        """None if the name has or may get a row; a word for the reason otherwise (empty: no room)."""
        if name in self._good:
            return None
        taken = self._by_fold.get(conflict_key(name))
        if taken is not None:
            return taken
        if self._room <= len(self.new):
            self.refused += 1
            return ""
        self._by_fold[conflict_key(name)] = name
        self._good.add(name)
        self.new.append(name)
        return None


@dataclass(frozen=True, slots=True)
class DiscoveredAirlines:
    """Which prefixes of the two buckets become airlines."""

    names: list[str]
    problems: Problems


def find_airlines(prefixes: Iterable[str], known: Iterable[str], limits: Limits) -> DiscoveredAirlines:
    """The prefixes that are airlines without a row. `known` are the names of all rows."""
    rows = list(known)
    names, problems = AdmittedNames(rows, limits.airlines - len(rows)), Problems(limits.anomalies)
    for prefix in sorted(set(prefixes)):
        if prefix.startswith(".") and prefix.strip("."):
            continue
        try:
            refusal = names.admit(check_name(prefix))
        except ContractError as error:
            problems.add(Problem(f"{prefix}/", error.code, str(error)))
            continue
        if refusal:
            detail = f"{prefix!r} differs from {refusal!r} only in case or normalisation."
            problems.add(Problem(f"{prefix}/", "NAME_CONFLICT", detail))
    if names.refused:
        problems.add(Problem("/", "TOO_MANY_AIRLINES", "There is no room for more airlines than there are rows."))
    return DiscoveredAirlines(names.new, problems)
