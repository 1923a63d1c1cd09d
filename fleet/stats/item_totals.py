"""Stored numbers of tails by item of a campaign, changed by what a transaction changes. May touch `ItemTotals`.

Counting all transfers of a campaign would cost more than the rest of a poll. The job `check_totals` counts them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from django.db import connection
from django.db.models import Count, Max, Q, QuerySet

from fleet.choices import ServiceStatus, Status
from fleet.models import ItemTotals, Transfer
from fleet.stats import prepared
from ifeportal.bulk import json_rows, upsert

ItemKey = tuple[int, str]  # id of the campaign, name of the item
COUNTED: Final = (Status.COMPLETE.value, Status.LOADING.value, Status.FAILED.value)
_NO_CAMPAIGN: Final = -1
_KEY: Final = ("campaign_id", "content")
_FIELDS: Final = (*COUNTED, "newest")


class _Counts(NamedTuple):
    complete: int
    loading: int
    failed: int
    newest: int


@dataclass(slots=True)
class ItemChanges:
    """Changes of the numbers, and the new transfers, of a transaction."""

    _numbers: defaultdict[ItemKey, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))

    def __bool__(self) -> bool:
        return bool(self._numbers)

    def add(self, item: ItemKey, before: str | None, after: str | None, transfer: int | None = None) -> None:
        """Add the change of a tail's status of the item; None: the tail is not counted. `transfer`: id of a new one."""
        if before == after and transfer is None:
            return
        numbers = self._numbers[item]
        for status, step in ((before, -1), (after, 1)):
            if status in COUNTED:
                numbers[status] = numbers.get(status, 0) + step
        numbers["newest"] = max(numbers.get("newest", 0), transfer or 0)

    def rows(self) -> Iterable[tuple[int | str, ...]]:
        """Yield campaign, content, and the values of `_FIELDS`, in one order, so that writers cannot deadlock."""
        for key in sorted(self._numbers):
            yield (*key, *(self._numbers[key].get(name, 0) for name in _FIELDS))


NO_CHANGES: Final = ItemChanges()


def add_item_changes(changes: ItemChanges) -> None:
    """Add the changes to the stored numbers; one statement."""
    if not changes:
        return
    rows, text = json_rows(ItemTotals, [*_KEY, *_FIELDS], changes.rows())
    table = connection.ops.quote_name(ItemTotals._meta.db_table)
    sums = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in COUNTED)
    newest = f"CASE WHEN excluded.newest > {table}.newest THEN excluded.newest ELSE {table}.newest END"
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join([*_KEY, *_FIELDS])}) {rows} WHERE true "
            f"ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {sums}, newest = {newest}",
            [text],
        )


def tail_changes(tail: int, *, in_service: bool) -> ItemChanges:
    """Return the changes of a tail that enters service, or leaves it; one query."""
    changes = ItemChanges()
    rows = Transfer.objects.filter(load__tail=tail, status__in=COUNTED).order_by()
    for campaign, content, status in rows.values_list("load__campaign", "content", "status"):
        changes.add((campaign, content), *((None, status) if in_service else (status, None)))
    return changes


def recount_items(campaign: int) -> int:
    """Count the items of a campaign again and correct the stored rows; return how many were wrong.

    The caller holds the lock of the airline's totals.
    """
    counted, stored = _count(campaign), _stored(campaign)
    wrong = {content: numbers for content, numbers in counted.items() if stored.get(content) != numbers}
    gone = stored.keys() - counted.keys()
    upsert(ItemTotals, _KEY, _FIELDS, [(campaign, content, *numbers) for content, numbers in sorted(wrong.items())])
    if gone:
        ItemTotals.objects.filter(campaign=campaign, content__in=gone).delete()
    return len(wrong) + len(gone)


def _count(campaign: int) -> dict[str, _Counts]:
    rows = prepared.fetch(_counted_transfers, _NO_CAMPAIGN, campaign)
    return {content: _Counts(*found) for content, *found in rows}


def _counted_transfers() -> QuerySet[Transfer, Any]:
    in_service = Q(load__tail__duty=ServiceStatus.ACTIVE)
    numbers = {f"n_{status}": Count("pk", filter=in_service & Q(status=status)) for status in COUNTED}
    rows = Transfer.objects.filter(load__campaign=_NO_CAMPAIGN).order_by().values_list("content")
    return rows.annotate(**numbers, n_newest=Max("pk"))


def _stored(campaign: int) -> dict[str, _Counts]:
    rows = prepared.fetch(_stored_items, _NO_CAMPAIGN, campaign)
    return {content: _Counts(*found) for content, *found in rows}


def _stored_items() -> QuerySet[ItemTotals, Any]:
    return ItemTotals.objects.filter(campaign=_NO_CAMPAIGN).order_by().values_list("content", *_FIELDS)
