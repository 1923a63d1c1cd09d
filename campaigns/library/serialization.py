"""The JSON of a library item: the same in the API and in files. Pure; `uses` were read before."""

from __future__ import annotations

from typing import Any

from campaigns.library.models import LibraryItem
from ifeportal import formatting


def library_state(item: LibraryItem) -> dict[str, Any]:
    """Return the item with the campaigns that use it. Size in bytes, sums in hexadecimal, times in UTC."""
    return {
        "id": item.pk,
        "airline": item.airline.name,
        "name": item.name,
        "title": item.title,
        "kind": item.kind,
        "size": item.size,
        "sha256": item.sha256,
        "crc32": item.crc32 or None,
        "added_at": formatting.iso(item.added_at),
        "added_by": item.added_by.get_username() if item.added_by else None,
        "used_in": [{"campaign": use.campaign, "draft": use.draft, "published": use.published} for use in item.uses],
    }
