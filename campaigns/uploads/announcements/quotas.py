"""Limits of uploads: the size of one file, bytes and files under way of an airline, bytes in its library.

Reads the database and the settings. Sizes in bytes.
"""

from __future__ import annotations

from django.conf import settings
from django.db.models import Count, F, Q, Sum
from django.db.models.functions import Coalesce, Greatest

from campaigns.library.models import LibraryItem
from campaigns.uploads.models import UNFINISHED, Upload
from campaigns.uploads.refusals import Refusal, RequestRefused
from ifeportal.models import Airline
from loader.contract.units import format_size


def require_allowed_size(size: int | None) -> None:
    """Raise RequestRefused for a file larger than UPLOAD_MAX_SIZE. An unknown size (None) is checked on arrival."""
    if size is not None and size > settings.UPLOAD_MAX_SIZE:
        limit = format_size(settings.UPLOAD_MAX_SIZE)
        raise RequestRefused(
            Refusal.TOO_LARGE, f"The file has {format_size(size)}. The largest file that can be uploaded has {limit}."
        )


def require_quota(airline: Airline, size: int | None, *, into_library: bool) -> None:
    """Raise RequestRefused if one more upload of `size` bytes exceeds a quota of the airline.

    Call it while the airline is locked: otherwise two requests could fill the same room.
    """
    size_of = Greatest(Coalesce(F("size"), 0), F("received_bytes"))
    found = Upload.objects.filter(operation__airline=airline, status__in=UNFINISHED).aggregate(
        files=Count("pk"), bytes=Sum(size_of), to_library=Sum(size_of, filter=Q(campaign=""))
    )
    if found["files"] >= settings.UPLOAD_MAX_FILES:
        text = f"{airline.name} has {found['files']:,} unfinished uploads; the limit is {settings.UPLOAD_MAX_FILES:,}. "
        raise RequestRefused(Refusal.QUOTA, text + "Wait until some have finished, or cancel some.")
    _require_room(f"the unfinished uploads of {airline.name}", found["bytes"], size, settings.UPLOAD_QUOTA)
    if into_library and settings.LIBRARY_QUOTA is not None:
        stored = LibraryItem.objects.filter(airline=airline).aggregate(bytes=Sum("size"))["bytes"]
        used = (stored or 0) + (found["to_library"] or 0)
        _require_room(f"the library of {airline.name}", used, size, settings.LIBRARY_QUOTA)


def _require_room(place: str, used: int | None, size: int | None, limit: int) -> None:
    if (used or 0) + (size or 0) > limit or (used or 0) >= limit:
        text = f"The file does not fit: {place} may have {format_size(limit)} and has {format_size(used or 0)}. "
        raise RequestRefused(Refusal.QUOTA, text + "Delete or cancel something, or ask for a higher quota.")
