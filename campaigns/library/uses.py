"""In which campaigns library items are used: one query for 500 items. Reads the database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from django.db.models import IntegerField, Value

from campaigns.library.models import CampaignUse, LibraryItem
from campaigns.models import IS_HASHED, ContentItem, DraftItem

BATCH: Final = 500
Key = tuple[int, str, str]  # airline, name, SHA-256


def with_uses(items: Iterable[LibraryItem]) -> Iterator[LibraryItem]:
    """Yield the items with their uses; read in batches, so that any number can be exported."""
    left = iter(items)
    while batch := list(islice(left, BATCH)):
        set_uses(batch)
        yield from batch


def set_uses(items: Sequence[LibraryItem]) -> None:
    """Set `uses` of the items, by name of the campaign."""
    if not items:
        return
    drafts: defaultdict[Key, dict[str, int]] = defaultdict(dict)
    published: defaultdict[Key, set[str]] = defaultdict(set)
    for airline, name, sha256, campaign, draft in _rows_named(items):
        if draft is None:
            published[airline, name, sha256].add(campaign)
        else:
            drafts[airline, name, sha256][campaign] = draft
    for item in items:
        key = (item.airline_id, item.name, item.sha256)
        campaigns = sorted({*drafts[key], *published[key]})
        item.uses = tuple(CampaignUse(name, drafts[key].get(name), name in published[key]) for name in campaigns)


def _rows_named(items: Sequence[LibraryItem]) -> Iterable[tuple[int, str, str, str, int | None]]:
    """Return airline, name, SHA-256, campaign and draft of campaigns' items with these names; no draft: published."""
    names, airlines = {item.name for item in items}, {item.airline_id for item in items}
    in_drafts = DraftItem.objects.filter(IS_HASHED, draft__airline__in=airlines, name__in=names, size__isnull=False)
    published = ContentItem.objects.filter(
        campaign__airline__in=airlines, campaign__withdrawn_at=None, name__in=names, listed=True
    )
    return (
        in_drafts.order_by()
        .values_list("draft__airline", "name", "sha256", "draft__name", "draft")
        .union(
            published.order_by().values_list(
                "campaign__airline", "name", "sha256", "campaign__name", Value(None, output_field=IntegerField())
            ),
            all=True,
        )
    )
