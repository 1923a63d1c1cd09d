"""The sums of whole airlines for a page that shows many: loads are grouped by state first, which is far quicker.

The same sums as those of `fleet.rollup.airlines`, which is for query sets that are filtered and ordered by them. Two
queries for any number of airlines. Reads only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, Final

from django.db.models import Count, Max, Q, Sum

from fleet.listing import STATE
from fleet.models import Duty, Load, Status, Tail
from fleet.rollup import COUNTED, HIGH, LOW, Rollup, halves, joined
from ifeportal.models import Airline

_KNOWN: Final = Q(bytes_total__isnull=False)
_SUMMED: Final = ("loads", "known", "risky", "items_done", "items_failed")


def of_airlines(airlines: Collection[Airline]) -> dict[int, Rollup]:
    """The sums of the loads of their tails in service, by the airline's id."""
    groups: dict[int, list[Any]] = {airline.pk: [] for airline in airlines}
    for group in _groups(groups):
        groups[group["tail__airline"]].append(group)
    duties: dict[int, Counter[str]] = {pk: Counter() for pk in groups}
    tails = Tail.objects.filter(airline__in=groups).order_by().values_list("airline", "duty")
    for pk, duty, number in tails.annotate(number=Count("pk")):
        duties[pk][duty] = number
    return {pk: _rollup(found, duties[pk]) for pk, found in groups.items()}


def _groups(airlines: Iterable[int]) -> Iterable[Any]:
    rows = Load.objects.filter(tail__airline__in=airlines, tail__duty=Duty.ACTIVE).exclude(status=Status.DELETED)
    return (
        rows.order_by()
        .values("tail__airline", word=STATE)
        .annotate(
            loads=Count("pk"),
            known=Count("bytes_total"),
            risky=Count("pk", filter=Q(at_risk=True)),
            total=Sum("items_total", filter=_KNOWN),
            items_done=Sum("items_done", filter=_KNOWN, default=0),
            items_failed=Sum("items_failed", default=0),
            newest=Max("as_of"),
            **halves("done", "bytes_done", _KNOWN, default=0),
            **halves("held", "bytes_done", default=0),
            **halves("all", "bytes_total", _KNOWN, default=0),
        )
    )


def _rollup(groups: list[Any], duties: Counter[str]) -> Rollup:
    states = {group["word"]: group["loads"] for group in groups}
    sums = {name: sum(group[name] for group in groups) for name in _SUMMED}
    totals = [group["total"] for group in groups if group["total"] is not None]
    newest: list[datetime] = [group["newest"] for group in groups if group["newest"] is not None]
    known = sums["known"] > 0
    return Rollup(
        tails=duties[Duty.ACTIVE],
        tails_out=duties.total() - duties[Duty.ACTIVE],
        loads=sums["loads"],
        loads_unknown=sums["loads"] - sums["known"],
        at_risk=sums["risky"],
        items_total=sum(totals) if totals else None,
        items_done=sums["items_done"],
        items_failed=sums["items_failed"],
        bytes_done=_bytes(groups, "done" if known else "held"),
        bytes_total=_bytes(groups, "all") if known else None,
        as_of=max(newest, default=None),
        **{word: states.get(word, 0) for word in COUNTED},
    )


def _bytes(groups: list[Any], name: str) -> int:
    return sum(joined(group[name + HIGH], group[name + LOW]) or 0 for group in groups)
