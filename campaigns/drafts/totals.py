"""Totals of a draft: items and bytes, how many are hashed, what publishing would change. Reads rows only."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Case, Count, F, Q, Sum, Value, When

from campaigns.models import IS_HASHED, Draft, DraftItem


@dataclass(frozen=True, slots=True)
class DraftTotals:
    """Items and bytes of what is in it: `items_done` are hashed.

    `new`, `leaving`: beside the manifest in the bucket.
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
        """At the present rate; None where that is not known."""
        return -(-(self.bytes_total - self.bytes_done) // self.rate) if self.rate else None


def draft_totals(draft: Draft) -> DraftTotals:
    """All of them in one query."""
    chosen = Q(included=True)
    part = Case(When(IS_HASHED & Q(hash_pending=False), then=F("size")), default=F("hashed_bytes"))
    found = DraftItem.objects.filter(draft=draft).aggregate(
        found=Count("pk"),
        items=Count("pk", filter=chosen),
        bytes_total=Sum("size", filter=chosen, default=Value(0)),
        items_done=Count("pk", filter=chosen & IS_HASHED & Q(hash_pending=False)),
        bytes_done=Sum(part, filter=chosen, default=Value(0)),
        new=Count("pk", filter=Q(included=True, in_manifest=False)),
        leaving=Count("pk", filter=Q(included=False, in_manifest=True)),
    )
    return DraftTotals(**found, rate=draft.rate_bps)
