"""Totals of whole airlines, for pages with many: loads are grouped by state first, which is far quicker.

The same totals as those of `fleet.stats.rollup.airlines`, which is for query sets that the API filters and orders by
them. Three queries for any number of airlines. Reads only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

from django.db.models import Count, Exists, Max, OuterRef, Q, Sum

from fleet.choices import ServiceStatus, Status
from fleet.models import Load, Tail
from fleet.state.precedence import LOAD_STATE
from fleet.stats.rollup import COUNTED_STATES, HIGH, LOW, PREFIX, split_sum
from ifeportal.models import Airline

_KNOWN: Final = Q(bytes_total__isnull=False)
_NOT_DELETED: Final = Load.objects.filter(tail=OuterRef("pk")).exclude(status=Status.DELETED)
READY: Final = (
    Q(Exists(_NOT_DELETED)) & ~Q(Exists(_NOT_DELETED.exclude(status=Status.COMPLETE))) & Q(duty=ServiceStatus.ACTIVE)
)


class TailCounts(NamedTuple):
    """Tails of an airline: in service, not in service, and those in service that hold all they have started."""

    active: int = 0
    out: int = 0
    ready: int = 0


def tail_counts(airlines: Collection[Airline]) -> dict[int, TailCounts]:
    """Return the counts by the airline's id; two queries.

    `ready` is a query of its own: as a third count of the other one, it would look up the loads of each tail.
    """
    is_active = Q(duty=ServiceStatus.ACTIVE)
    rows = Tail.objects.filter(airline__in=airlines).order_by().values_list("airline")
    ready = dict(rows.filter(READY).annotate(Count("pk")))
    counts = rows.annotate(active=Count("pk", filter=is_active), out=Count("pk", filter=~is_active))
    found = {pk: TailCounts(active, out, ready.get(pk, 0)) for pk, active, out in counts}
    return {airline.pk: TailCounts() for airline in airlines} | found


def attach_totals(airlines: Collection[Airline], tails: Mapping[int, TailCounts]) -> None:
    """Set the totals on the rows as `fleet.stats.rollup.airlines` does; one query."""
    groups: dict[int, list[Any]] = {airline.pk: [] for airline in airlines}
    for group in _groups(groups):
        groups[group["tail__airline"]].append(group)
    for airline in airlines:
        for name, value in _sums(groups[airline.pk], tails[airline.pk]).items():
            setattr(airline, PREFIX + name, value)


def _groups(airlines: Iterable[int]) -> Iterable[Any]:
    rows = Load.objects.filter(tail__airline__in=airlines, tail__duty=ServiceStatus.ACTIVE).exclude(
        status=Status.DELETED
    )
    return (
        rows.order_by()
        .values("tail__airline", word=LOAD_STATE)
        .annotate(
            number=Count("pk"),
            known=Count("bytes_total"),
            at_risk_loads=Count("pk", filter=Q(at_risk=True)),
            listed=Sum("items_total", filter=_KNOWN),
            done=Sum("items_done", filter=_KNOWN, default=0),
            failed=Sum("items_failed", default=0),
            newest=Max("as_of"),
            **split_sum("bytes_done_known", "bytes_done", _KNOWN, default=0),
            **split_sum("bytes_reported", "bytes_done", default=0),
            **split_sum("bytes_all", "bytes_total", _KNOWN),
        )
    )


def _sums(groups: list[Any], tails: TailCounts) -> dict[str, Any]:
    def total(name: str) -> Any:
        """Return the sum over the groups that have a value; None if none has."""
        found = [group[name] for group in groups if group[name] is not None]
        return sum(found) if found else None

    states = {group["word"]: group["number"] for group in groups}
    loads = total("number") or 0
    return {
        "tails": tails.active,
        "tails_out": tails.out,
        "loads": loads,
        "loads_unknown": loads - (total("known") or 0),
        "at_risk": total("at_risk_loads") or 0,
        "items_total": total("listed"),
        "items_done": total("done") or 0,
        "items_failed": total("failed") or 0,
        "as_of": max((group["newest"] for group in groups if group["newest"] is not None), default=None),
        **{f"bytes_done{half}": total(f"bytes_done_known{half}") or 0 for half in (HIGH, LOW)},
        **{f"bytes_held{half}": total(f"bytes_reported{half}") or 0 for half in (HIGH, LOW)},
        **{f"bytes_total{half}": total(f"bytes_all{half}") for half in (HIGH, LOW)},
        **{word: states.get(word, 0) for word in COUNTED_STATES},
    }
