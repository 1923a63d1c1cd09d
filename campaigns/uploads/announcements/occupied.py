"""Which names are taken in a campaign or in the library, and which of them a published manifest names.

Reads the database only. Names are compared without differences of case.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from django.db.models import Q

from campaigns.library.models import LibraryItem
from campaigns.models import Campaign, ContentItem, Draft, DraftItem, DraftState, ManifestState
from campaigns.uploads.models import Upload, UploadStatus
from campaigns.uploads.refusals import InvalidField, Refusal, RequestRefused
from ifeportal.models import Airline
from ifeportal.operations.models import OPEN_STATES, Operation
from loader.contract.names import conflict_key

DELETION: Final = "deletion"  # the kind of operations that delete objects


def require_spelling(airline: Airline, campaign: str) -> None:
    """Raise InvalidField if a campaign of the airline differs from this name in case only."""
    known = {*airline.drafts.values_list("name", flat=True), *airline.campaigns.values_list("name", flat=True)}
    if campaign in known:
        return
    for name in known:
        if conflict_key(name) == conflict_key(campaign):
            raise InvalidField("campaign", f"{airline.name} has the campaign “{name}”. Use the same spelling.")


def require_free(airline: Airline, campaign: str, item: str, *, replace: bool, except_for: int | None = None) -> None:
    """Raise RequestRefused if no upload may take this place. Call it while the airline is locked.

    `except_for`: the key of an upload that has the place already.
    """
    _require_not_under_way(airline, campaign, item, except_for)
    place = f"the campaign {campaign}" if campaign else f"the library of {airline.name}"
    if campaign and is_published(airline, campaign, item):
        raise RequestRefused(
            Refusal.PUBLISHED,
            f"The published manifest of {place} names {item}, so it is not replaced. Upload it under another name.",
        )
    if not replace and _contains(item, _stored_names(airline, campaign)):
        raise RequestRefused(
            Refusal.NAME_EXISTS,
            f"{item} already exists in {place}. Upload it under another name, or send “replace”: true.",
        )


def is_published(airline: Airline, campaign: str, item: str) -> bool:
    """Return whether the published manifest of the campaign names the item, or one that is being published does."""
    listed = ContentItem.objects.filter(
        campaign__in=Campaign.objects.filter(airline=airline, name=campaign, withdrawn_at=None).exclude(
            manifest_state=ManifestState.MISSING
        ),
        listed=True,
    )
    in_draft = DraftItem.objects.filter(
        Q(in_manifest=True) | Q(included=True, draft__state=DraftState.PUBLISHING),
        draft__in=Draft.objects.filter(airline=airline, name=campaign),
    )
    return _contains(item, listed.values_list("name", flat=True)) or _contains(
        item, in_draft.values_list("name", flat=True)
    )


def _require_not_under_way(airline: Airline, campaign: str, item: str, except_for: int | None) -> None:
    rows = Upload.objects.filter(operation__airline=airline, operation__state__in=OPEN_STATES, campaign=campaign)
    rows = rows.exclude(pk=except_for) if except_for is not None else rows
    # A cancelled upload can still be placed only if its bytes were complete or come from a URL.
    rows = rows.exclude(status=UploadStatus.DELETED, completed_at=None, source_url="")
    for name, uuid in rows.values_list("item", "operation__uuid"):
        if conflict_key(name) == conflict_key(item):
            text = f"An upload of {name} is under way. Wait until it has ended, or cancel it."
            raise RequestRefused(Refusal.NAME_UNDER_WAY, text, upload=str(uuid))
    deletions = Operation.objects.open().filter(
        airline=airline, kind=DELETION, checkpoint__campaign=campaign, checkpoint__key=conflict_key(item)
    )
    for checkpoint in deletions.values_list("checkpoint", flat=True):
        text = f"{item} is being deleted. Try again when that has ended."
        raise RequestRefused(Refusal.NAME_UNDER_WAY, text, upload=checkpoint["upload"])


def _stored_names(airline: Airline, campaign: str) -> Iterable[str]:
    if not campaign:
        return LibraryItem.objects.filter(airline=airline).values_list("name", flat=True)
    drafts = Draft.objects.filter(airline=airline, name=campaign)
    return DraftItem.objects.filter(draft__in=drafts, size__isnull=False).values_list("name", flat=True)


def _contains(item: str, names: Iterable[str]) -> bool:
    return any(name == item or conflict_key(name) == conflict_key(item) for name in names)
