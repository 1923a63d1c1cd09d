"""Which events are forgotten: of a load all but the newest thousand, and of anything those more than 400 days old.

A bounded number of loads is looked at in a statement. Running it twice, or beside writers, changes nothing more.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count, F, Window
from django.db.models.functions import RowNumber

from fleet.models import Event

KEPT_FOR: Final = timedelta(days=400)
KEPT: Final = 1_000  # of a load
LOADS_A_STATEMENT: Final = 100
LATE: Final = timedelta(hours=1)  # by which an object may be older than the moment it was read


def forget_events(now: datetime, since: datetime | None = None, *, alive: Callable[[], None] = lambda: None) -> int:
    """Delete the events that do not stay; how many. `alive` is called between statements; what it raises ends it.

    `since`: when it was last done, so that only loads of which there is more to tell since then are counted; None: all.
    """
    alive()
    deleted = Event.objects.filter(at__lt=now - KEPT_FOR).delete()[0]
    loads = _talkative(since)
    for start in range(0, len(loads), LOADS_A_STATEMENT):
        alive()
        deleted += _cut(loads[start : start + LOADS_A_STATEMENT])
    return deleted


def _talkative(since: datetime | None) -> list[int]:
    """The loads that may have too many."""
    rows = Event.objects.order_by()
    if since is not None:
        rows = rows.filter(load__in=Event.objects.filter(at__gte=since - LATE).order_by().values("load"))
    counted = rows.values("load").annotate(n=Count("pk")).filter(n__gt=KEPT)
    return sorted(counted.values_list("load", flat=True))


def _cut(loads: list[int]) -> int:
    newest = Window(RowNumber(), partition_by="load", order_by=[F("at").desc(), F("pk").desc()])
    old = Event.objects.filter(load__in=loads).order_by().annotate(place=newest).filter(place__gt=KEPT)
    return Event.objects.filter(pk__in=old.values("pk")).delete()[0]
