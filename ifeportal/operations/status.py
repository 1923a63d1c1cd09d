"""Figures about operations for alerts, by kind and lane. Reads rows of `Operation`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count, Min

from ifeportal.operations.models import Lane, Operation, OperationState

FAILED_WITHIN: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Figures:
    """Operations of a kind and lane in a state. `oldest_age`: seconds since the oldest was requested."""

    kind: str
    lane: str
    state: str
    number: int
    oldest_age: float


def current_figures(now: datetime) -> Iterator[Figures]:
    """Yield the figures of open operations, and of those that failed within FAILED_WITHIN. Raises django.db.Error."""
    failed = Operation.objects.filter(state=OperationState.FAILED, finished_at__gte=now - FAILED_WITHIN)
    for rows in (Operation.objects.open(), failed):
        groups = rows.order_by().values("kind", "lane", "state").annotate(number=Count("pk"), oldest=Min("queued_at"))
        for row in groups:
            age = max((now - row["oldest"]).total_seconds(), 0.0)
            yield Figures(row["kind"], Lane(row["lane"]).label.lower(), row["state"], row["number"], age)
