"""What publishing a draft changes against the published version, as far as the portal has read it. Reads rows only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from campaigns.drafts.page.steps import exhibition_text
from campaigns.models import Campaign, ContentItem, Draft, DraftItem, ManifestState

EDITED_FIELDS: Final = ("title", "kind", "required", "priority")


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field of the campaign with its values before and after."""

    label: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Changes:
    """Names of items by kind of change, and changed fields. `exact`: the published version was compared in full.

    Otherwise only added and removed items are known, from the last scan.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    replaced: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    fields: tuple[FieldChange, ...] = ()
    exact: bool = True

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.replaced or self.edited or self.fields)


def draft_changes(draft: Draft) -> Changes:
    """Compare the draft with the published version: in full if the portal has read the same campaign.json."""
    items = list(draft.items.filter(included=True).order_by("position", "name"))
    campaign = Campaign.objects.filter(
        airline=draft.airline, name=draft.name, manifest_etag=draft.manifest_etag, manifest_state=ManifestState.OK
    ).first()
    if not draft.manifest_etag or campaign is None:
        leaving = draft.items.filter(included=False, in_manifest=True).order_by("position", "name")
        return Changes(
            added=tuple(item.name for item in items if not item.in_manifest),
            removed=tuple(leaving.values_list("name", flat=True)),
            exact=not draft.manifest_etag,
        )
    published = {item.name: item for item in ContentItem.objects.filter(campaign=campaign, listed=True)}
    return compare(draft, items, campaign, published)


def compare(
    draft: Draft, items: Iterable[DraftItem], campaign: Campaign, published: Mapping[str, ContentItem]
) -> Changes:
    """Compare the included `items` of a draft with the `published` ones, by name. Pure."""
    wanted = {item.name: item for item in items}
    common = [(item, published[name]) for name, item in wanted.items() if name in published]
    replaced = tuple(item.name for item, old in common if (item.size, item.sha256) != (old.size, old.sha256))
    same_object = [(item, old) for item, old in common if (item.size, item.sha256) == (old.size, old.sha256)]
    edited = tuple(item.name for item, old in same_object if _is_edited(item, old))
    return Changes(
        added=tuple(name for name in wanted if name not in published),
        removed=tuple(name for name in published if name not in wanted),
        replaced=replaced,
        edited=edited,
        fields=tuple(_field_changes(draft, campaign)),
    )


def _is_edited(item: DraftItem, old: ContentItem) -> bool:
    return any(getattr(item, name) != getattr(old, name) for name in EDITED_FIELDS)


def _field_changes(draft: Draft, campaign: Campaign) -> Iterable[FieldChange]:
    before = exhibition_text(campaign.exhibition_starts, campaign.exhibition_ends)
    after = exhibition_text(draft.exhibition_starts, draft.exhibition_ends)
    for label, old, new in (("Title", campaign.title, draft.title), ("Exhibition", before, after)):
        if old != new:
            yield FieldChange(label, old or "none", new or "none")
