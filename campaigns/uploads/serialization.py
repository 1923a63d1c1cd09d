"""The JSON of an upload: that of its operation with the fields that only uploads have. Pure.

Sizes in bytes, times in UTC (ISO 8601 with Z).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from campaigns.uploads.models import Upload
from ifeportal import formatting
from ifeportal.operations.serialization import operation_state, percent


def upload_state(upload: Upload) -> dict[str, Any]:
    """Return the upload. `status` is the status of the upload, which is not always that of its operation."""
    return {**operation_state(upload.operation), **upload_details(upload), "status": upload.status}


def upload_details(upload: Upload) -> dict[str, Any]:
    """Return the fields that uploads have besides those of every operation."""
    return {
        "name": upload.name,
        "item": upload.item,
        "campaign": upload.campaign,
        "content_kind": upload.kind,
        "replace": upload.replace,
        "source_url": upload.source_url.partition("?")[0],  # a query may have a secret
        "part_size": upload.part_size or None,
        "parts_total": upload.parts_total or None,
        "received_bytes": upload.received_bytes,
        "uploaded_percentage": percent(upload.operation),
        "completed_at": _iso(upload.completed_at),
        "file_modified": upload.file_modified,
        "first_part_sha256": upload.first_part_sha256,
        "object_size": upload.object_size,
        "object_sha256": upload.object_sha256 or None,
        "meta_info": meta_info(upload),
    }


def meta_info(upload: Upload) -> dict[str, Any]:
    """Return what is known of the file itself; `sha256` as announced, and as computed once it is uploaded."""
    return {
        "name": upload.name,
        "size": upload.size,
        "content_type": upload.content_type,
        "sha256": upload.sha256 or None,
        "uploaded_at": _iso(upload.uploaded_at),
    }


def _iso(value: datetime | None) -> str | None:
    return None if value is None else formatting.iso(value)
