"""Totals of a draft: items, bytes, hashed items, and changes to the manifest. Reads rows only."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Case, Count, F, Q, Sum, Value, When

from campaigns.models import IS_HASHED, Draft, DraftItem


@dataclass(frozen=True, slots=True)
class DraftTotals:
    """Counts and bytes of the included items; `found` counts all, `items_done` and `bytes_done` are hashed.

    `new`, `leaving`: items that publishing adds to the manifest in the bucket and removes from it.
    """

    found: int
    items: int
    bytes_total: int
    items_done: int
    bytes_done: int
    new: int
    leaving: int
    rate: int | None

    @property
    def percent(self) -> int:
        """Whole percent of the bytes, rounded down."""
        return self.bytes_done * 100 // self.bytes_total if self.bytes_total else 100 * bool(self.items)

    @property
    def seconds_left(self) -> int | None:
        """Seconds left at the current rate; None if the rate is unknown."""
        return -(-(self.bytes_total - self.bytes_done) // self.rate) if self.rate else None


def draft_totals(draft: Draft) -> DraftTotals:
    """Compute the totals in one query."""
    included = Q(included=True)
    part = Case(When(IS_HASHED & Q(hash_pending=False), then=F("size")), default=F("hashed_bytes"))
    counts = DraftItem.objects.filter(draft=draft).aggregate(
        found=Count("pk"),
        items=Count("pk", filter=included),
        bytes_total=Sum("size", filter=included, default=Value(0)),
        items_done=Count("pk", filter=included & IS_HASHED & Q(hash_pending=False)),
        bytes_done=Sum(part, filter=included, default=Value(0)),
        new=Count("pk", filter=Q(included=True, in_manifest=False)),
        leaving=Count("pk", filter=Q(included=False, in_manifest=True)),
    )
    return DraftTotals(**counts, rate=draft.rate_bps)
