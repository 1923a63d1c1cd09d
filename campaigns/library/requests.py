"""Requests about the library: edit an item, delete it, copy items into a campaign. Touches the database only.

Workers do what touches the bucket, as operations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from django.db import transaction
from django.db.models import Q

from campaigns.library.models import LibraryItem
from campaigns.models import ContentItem, Draft
from campaigns.uploads.announcements.names import object_key
from campaigns.uploads.deletion import DeletedObject, submit_deletion
from campaigns.uploads.models import Upload, UploadStatus
from ifeportal import audit
from ifeportal.audit import Actor
from ifeportal.formatting import quantity
from ifeportal.models import Airline
from ifeportal.operations import requests as operations
from ifeportal.operations.feed import publish_operations
from ifeportal.operations.models import Operation, OperationQuerySet
from loader.contract.names import conflict_key

LIBRARY_COPY: Final = "library_copy"  # the kind of operations
COPYING: Final = "copying"  # its stage
MOST_ITEMS: Final = 1_000  # of one request


class RequestRefused(Exception):
    """The request cannot be done now; `str()` says why and what to do."""


class Presence(StrEnum):
    """Whether a campaign has an item of the library: not yet, the same bytes, or others under this name."""

    ABSENT = "absent"
    SAME = "same"
    OTHER = "other"
    COPYING = "copying"


def edit_item(actor: Actor, item: LibraryItem, texts: Mapping[str, str]) -> LibraryItem:
    """Change `title` and `kind`, those that are in `texts`. Return the row as it is now."""
    with transaction.atomic():
        row = LibraryItem.objects.select_for_update(of=("self",)).select_related("airline", "added_by").get(pk=item.pk)
        changes = {name: (getattr(row, name), text) for name, text in texts.items() if getattr(row, name) != text}
        if changes:
            for name, (_, text) in changes.items():
                setattr(row, name, text)
            row.save(update_fields=list(changes))
            audit.record(actor, "library.changed", str(row), airline=row.airline, changes=changes)
    return row


def delete_item(actor: Actor, item: LibraryItem) -> Operation | None:
    """Delete the row now and the object by a worker. Campaigns keep their copies. None if it was deleted meanwhile."""
    airline, key = item.airline, object_key(item.airline.name, "", item.name)
    with transaction.atomic():
        _lock(airline)
        if not LibraryItem.objects.filter(pk=item.pk, etag=item.etag).delete()[0]:
            return None
        audit.record(actor, "library.deleted", str(item), airline=airline)
        uploads = Upload.objects.filter(operation__airline=airline, object_key=key, status=UploadStatus.UPLOADED)
        pks = list(uploads.values_list("pk", flat=True))
        uploads.update(status=UploadStatus.DELETED)
        operation = submit_deletion(actor, airline, DeletedObject("", item.name, key, item.etag, item.size))
        publish_operations(pks)
    return operation


@dataclass(frozen=True, slots=True)
class DraftNames:
    """Which items a campaign has, or its published manifest names: SHA-256 by name without differences of case.

    A SHA-256 is "" where it is unknown.

    `copying`: names that an unfinished operation copies into it.
    """

    sha256: Mapping[str, str]
    copying: frozenset[str]

    @classmethod
    def of(cls, draft: Draft) -> DraftNames:
        items = draft.items.filter(Q(size__isnull=False) | Q(in_manifest=True))
        listed = ContentItem.objects.filter(
            campaign__airline=draft.airline, campaign__name=draft.name, campaign__withdrawn_at=None, listed=True
        )
        known = {conflict_key(name): sha256 for name, sha256 in listed.values_list("name", "sha256")}
        known |= {
            conflict_key(name): sha256 if sha256_etag == etag else ""
            for name, sha256, sha256_etag, etag in items.values_list("name", "sha256", "sha256_etag", "etag")
        }
        return cls(known, frozenset(conflict_key(name) for name in _names_under_way(draft)))

    def presence(self, item: LibraryItem) -> Presence:
        """Return whether the campaign has the item."""
        key = conflict_key(item.name)
        if key in self.copying:
            return Presence.COPYING
        if key not in self.sha256:
            return Presence.ABSENT
        return Presence.SAME if self.sha256[key] == item.sha256 else Presence.OTHER


def copies_into(draft: Draft) -> OperationQuerySet:
    """Return the operations that copy items of the library into the campaign of the draft."""
    return Operation.objects.filter(airline=draft.airline, kind=LIBRARY_COPY, checkpoint__campaign=draft.name)


def _names_under_way(draft: Draft) -> list[str]:
    checkpoints = copies_into(draft).open().values_list("checkpoint", flat=True)
    return [name for checkpoint in checkpoints for _, name in checkpoint["items"]]


def request_copies(actor: Actor, draft: Draft, items: Sequence[LibraryItem]) -> Operation:
    """Submit the operation that copies these items into the campaign of the draft. Items that it has are left out.

    Raises RequestRefused if none is left, or if there are too many.
    """
    if len(items) > MOST_ITEMS:
        raise RequestRefused(f"{len(items):,} items are selected; the limit is {MOST_ITEMS:,}. Add them in steps.")
    with transaction.atomic():
        _lock(draft.airline)
        names = DraftNames.of(draft)
        chosen = [item for item in items if names.presence(item) is Presence.ABSENT]
        if not chosen:
            text = "Select at least one item." if not items else "The campaign already has items of these names."
            raise RequestRefused(f"Nothing to add. {text}")
        what = chosen[0].name if len(chosen) == 1 else quantity(len(chosen), "item")
        return operations.submit(
            LIBRARY_COPY,
            draft.airline,
            actor,
            f"Add {what} from the library to {draft.name}",
            bytes_total=sum(item.size for item in chosen),
            stage=COPYING,
            checkpoint={
                "campaign": draft.name,
                "items": [[item.pk, item.name] for item in chosen],
                "items_total": len(chosen),
                "copied": 0,
                "copied_bytes": 0,
                "placed": [],
                "failed": [],
            },
        )


def _lock(airline: Airline) -> None:
    Airline.objects.select_for_update(no_key=True).get(pk=airline.pk)
