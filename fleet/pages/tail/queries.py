"""Rows of the tail page: current transfers, items of a load with their histories, time line, queued campaigns.

Reads the database only, below a tail that its caller has reached by `visible_to`, in a number of queries that does not
grow with the rows.
"""

from __future__ import annotations

from fleet.models import Load, Tail
from fleet.pages.orderings import speaking_first


def loads_of(tail: Tail) -> list[Load]:
    """The tail's loads, the one that speaks for it first."""
    return list(Load.objects.filter(tail=tail).select_related("campaign__airline").order_by(*speaking_first()))
