"""Adds items that are in the bucket and hashed to a draft. Touches rows only.

Call the functions in the transaction that records what made the objects.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from django.db.models import Max

from campaigns.drafts.requests import revalidate
from campaigns.models import Draft, DraftItem, DraftState
from ifeportal.models import Airline
from loader.frozen import frozen

BUSY_PAUSE: Final = 2.0  # seconds before another try to add items
# What these jobs read before the item was added, they write after it.
BLOCKING: Final = (DraftState.SCANNING, DraftState.PUBLISHING, DraftState.WITHDRAWING)


class DraftIsBusy(Exception):
    """A job works on the draft; `str()` is a sentence that says which."""


@frozen
class PlacedItem:
    """An object in the campaign's prefix: size in bytes, ETag and time (UTC) as in a listing, sums in hexadecimal.

    An empty `title` or `kind` leaves that of an existing item unchanged.
    """

    name: str
    size: int
    etag: str
    modified: datetime
    sha256: str
    crc32: str = ""
    title: str = ""
    kind: str = ""


def lock_draft(airline: Airline, name: str) -> tuple[Draft, bool]:
    """Return the draft of the campaign, locked, and whether it was created now. Raises DraftIsBusy."""
    draft, created = Draft.objects.select_for_update(of=("self",)).get_or_create(airline=airline, name=name)
    if draft.state in BLOCKING:
        raise DraftIsBusy(f"Waiting until the job that works on the campaign {name} ends: {draft.state}.")
    return draft, created


def add_items(draft: Draft, items: Iterable[PlacedItem]) -> None:
    """Add the items to a locked draft, included and hashed, and validate the draft once."""
    last = draft.items.aggregate(last=Max("position"))["last"]
    position = 0 if last is None else last + 1
    for item in items:
        columns = _columns(item)
        _, created = DraftItem.objects.update_or_create(
            draft=draft, name=item.name, defaults=columns, create_defaults={**columns, "position": position}
        )
        position += created
    revalidate(draft, edited=True)


def _columns(item: PlacedItem) -> dict[str, Any]:
    texts = {"title": item.title, "kind": item.kind}
    return {
        "included": True,
        "size": item.size,
        "etag": item.etag,
        "modified": item.modified,
        "sha256": item.sha256,
        "sha256_etag": item.etag,
        "crc32": item.crc32,
        "name_error": "",
        "hash_pending": False,
        "hashed_bytes": 0,
        "hash_state": "",
        "error_code": "",
        "error": "",
        "advice": "",
        **{name: text for name, text in texts.items() if text},
    }
