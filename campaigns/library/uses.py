"""In which campaigns library items are used: two queries for any number of items. Reads the database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

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
    names = {item.name for item in items}
    airlines = {item.airline_id for item in items}
    drafts = _drafts(airlines, names)
    published = _published(airlines, names)
    for item in items:
        key = (item.airline_id, item.name, item.sha256)
        campaigns = sorted({*drafts[key], *published[key]})
        item.uses = tuple(CampaignUse(name, drafts[key].get(name), name in published[key]) for name in campaigns)


def _drafts(airlines: set[int], names: set[str]) -> defaultdict[Key, dict[str, int]]:
    """Return the ids of drafts by item and name of the campaign."""
    rows = DraftItem.objects.filter(IS_HASHED, draft__airline__in=airlines, name__in=names, size__isnull=False)
    found: defaultdict[Key, dict[str, int]] = defaultdict(dict)
    for airline, name, sha256, campaign, draft in rows.values_list(
        "draft__airline", "name", "sha256", "draft__name", "draft"
    ):
        found[airline, name, sha256][campaign] = draft
    return found


def _published(airlines: set[int], names: set[str]) -> defaultdict[Key, set[str]]:
    rows = ContentItem.objects.filter(
        campaign__airline__in=airlines, campaign__withdrawn_at=None, name__in=names, listed=True
    )
    found: defaultdict[Key, set[str]] = defaultdict(set)
    for airline, name, sha256, campaign in rows.values_list("campaign__airline", "name", "sha256", "campaign__name"):
        found[airline, name, sha256].add(campaign)
    return found
