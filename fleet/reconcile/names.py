"""Names of airlines, tails and campaigns that may get a row: limited, and distinct in more than case. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fleet.reconcile.limits import Limits
from fleet.reconcile.problems import Problem, Problems
from loader.contract.names import check_name, conflict_key
from loader.errors import ContractError


class AdmittedNames:
    """The names of a kind that have a row, and the new ones that may get one."""

    def __init__(self, known: Iterable[str], space: int) -> None:
        self._admitted = set(known)
        self._by_conflict_key = {conflict_key(name): name for name in self._admitted}
        self._space = space
        self.new: list[str] = []
        self.refused = 0

    def admit(self, name: str) -> str | None:
        """Return None if the name has or may get a row; else the name it conflicts with ("": the limit is reached)."""
        if name in self._admitted:
            return None
        taken = self._by_conflict_key.get(conflict_key(name))
        if taken is not None:
            return taken
        if self._space <= len(self.new):
            self.refused += 1
            return ""
        self._by_conflict_key[conflict_key(name)] = name
        self._admitted.add(name)
        self.new.append(name)
        return None


@dataclass(frozen=True, slots=True)
class DiscoveredAirlines:
    """The prefixes of a bucket that become airlines, and problems with the others."""

    names: list[str]
    problems: Problems


def find_airlines(prefixes: Iterable[str], known: Iterable[str], limits: Limits) -> DiscoveredAirlines:
    """Return the prefixes that are airlines without a row. `known` are the names of all rows."""
    rows = list(known)
    names, problems = AdmittedNames(rows, limits.airlines - len(rows)), Problems(limits.anomalies)
    for prefix in sorted(set(prefixes)):
        if prefix.startswith(".") and prefix.strip("."):
            continue
        try:
            conflict = names.admit(check_name(prefix))
        except ContractError as error:
            problems.add(Problem(f"{prefix}/", error.code, str(error)))
            continue
        if conflict:
            detail = f"{prefix!r} differs from {conflict!r} only in case or normalisation."
            problems.add(Problem(f"{prefix}/", "NAME_CONFLICT", detail))
    if names.refused:
        problems.add(Problem("/", "TOO_MANY_AIRLINES", "The limit of airlines is reached; new ones are not created."))
    return DiscoveredAirlines(names.new, problems)
