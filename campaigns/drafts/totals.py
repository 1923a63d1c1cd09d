"""Totals of drafts: items, bytes, hashed items, and changes to the manifest. Reads rows only."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Case, Count, F, Q, Sum, Value, When

from campaigns.models import IS_HASHED, TO_HASH, Draft, DraftItem

_INCLUDED: Final = Q(included=True)
_HASHED: Final = IS_HASHED & Q(hash_pending=False)
_IN_BUCKET: Final = Q(size__isnull=False)
_BYTES_HASHED: Final = Case(When(_HASHED, then=F("size")), default=F("hashed_bytes"))
_AGGREGATES: Final[dict[str, Any]] = {
    "found": Count("pk"),
    "items": Count("pk", filter=_INCLUDED),
    "bytes_total": Sum("size", filter=_INCLUDED, default=Value(0)),
    "items_done": Count("pk", filter=_INCLUDED & _HASHED & _IN_BUCKET),
    "bytes_done": Sum(_BYTES_HASHED, filter=_INCLUDED & _IN_BUCKET, default=Value(0)),
    "to_hash": Count("pk", filter=_INCLUDED & _IN_BUCKET & Q(name_error="") & ~_HASHED),
    "bytes_to_hash": Sum("size", filter=_INCLUDED & _IN_BUCKET & Q(name_error="") & ~_HASHED, default=Value(0)),
    "problems": Count("pk", filter=~Q(error_text="") & ~Q(error_text__in=TO_HASH)),
    "new": Count("pk", filter=Q(included=True, in_manifest=False)),
    "leaving": Count("pk", filter=Q(included=False, in_manifest=True)),
}


@dataclass(frozen=True, slots=True)
class DraftTotals:
    """Counts and bytes of the included items; `found` counts all, `items_done` and `bytes_done` are hashed.

    `to_hash`, `bytes_to_hash`: items in the bucket that are not hashed yet. `problems`: items with problems, without
    those that only wait to be hashed. `new`, `leaving`: items that publishing adds to the manifest in the bucket and
    removes from it.
    """

    found: int = 0
    items: int = 0
    bytes_total: int = 0
    items_done: int = 0
    bytes_done: int = 0
    to_hash: int = 0
    bytes_to_hash: int = 0
    problems: int = 0
    new: int = 0
    leaving: int = 0

    @property
    def percent(self) -> int:
        """Whole percent of the bytes, rounded down."""
        return self.bytes_done * 100 // self.bytes_total if self.bytes_total else 100 * bool(self.items)


def draft_totals(draft: Draft) -> DraftTotals:
    """Compute the totals in one query."""
    counts = DraftItem.objects.filter(draft=draft).aggregate(**_AGGREGATES)
    return DraftTotals(**counts)


def totals_by_draft(drafts: Collection[Draft]) -> dict[int, DraftTotals]:
    """Compute the totals of several drafts in one query, by primary key."""
    rows: Any = DraftItem.objects.filter(draft__in=drafts).order_by().values("draft_id").annotate(**_AGGREGATES)
    found = {row.pop("draft_id"): row for row in rows}
    return {draft.pk: DraftTotals(**found.get(draft.pk, {})) for draft in drafts}
