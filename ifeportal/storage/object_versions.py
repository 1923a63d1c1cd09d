"""Versions of objects: what a row stores of the object it was read from, and which listing entries are the same. Pure.

An ETag is opaque, and several stores give another one in listings than in the response to a GET: in capitals, weak, of
the encrypted bytes, or random. A row therefore stores what the *listing* says, and listings are only compared with
listings. An entry without an ETag is identified by its size and date.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Final

from loader.s3.interface import GetResult, ObjectInfo

ETAG_LIMIT: Final = 200  # characters, by the database columns; S3's own ETags have 32 to 40
# Prefix of an ETag whose version may not be the one that was read. The parser of listings strips quotes, so no ETag of
# a listing begins with one; alone, it equals no entry at all.
UNCONFIRMED: Final = '"'
# Stores that know no date list year 1 or 1970. S3 is of 2006.
_FIRST_DATE: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MD5: Final = re.compile(r"[0-9A-Fa-f]{32}")


def storable_etag(etag: str) -> str:
    return (
        etag if len(etag) <= ETAG_LIMIT and etag.isascii() and etag.isprintable() else storable_text(etag)[:ETAG_LIMIT]
    )


def storable_text(text: str) -> str:
    """Return the text as every database accepts it: NUL and unpaired surrogates escaped."""
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def is_dated(at: datetime) -> bool:
    """Return whether a LastModified is a date; some stores list year 1 for what has none."""
    return at >= _FIRST_DATE


def listed_version(info: ObjectInfo) -> str:
    """Return what identifies the version of a listing entry: its ETag, or its size and date; "" if it has neither."""
    if info.etag:
        return storable_etag(info.etag)
    return f"{info.size} bytes at {info.last_modified.isoformat()}" if is_dated(info.last_modified) else ""


def is_same_version(stored: str, info: ObjectInfo) -> bool:
    """Return whether the entry has the ETag (or size and date) of the stored version, confirmed or not."""
    listed = listed_version(info)
    return bool(listed) and stored in (listed, _unconfirmed(listed))


def is_confirmed(stored: str) -> bool:
    """Return whether the same ETag with a newer date means the same bytes."""
    return not stored.startswith(UNCONFIRMED)


def version_read(info: ObjectInfo, fetched: GetResult) -> str:
    """Return the version to store of an object listed as `info` and then read as `fetched`.

    A rewrite between listing and GET cannot be recognised by ETags that differ anyway. It is read again from the next
    listing, unless it happened within the second of the GET: dates are in whole seconds. There the ETag of the GET is
    stored, or nothing, so that the next listing differs.
    """
    listed, got = listed_version(info), storable_etag(fetched.etag)
    settled = fetched.server_time is None or _second(fetched.server_time) > _second(fetched.last_modified)
    if not info.etag:
        return listed if settled and listed else UNCONFIRMED
    if listed == got:
        return listed
    if _MD5.fullmatch(listed):
        if listed.lower() == hashlib.md5(fetched.body, usedforsecurity=False).hexdigest():
            return listed
        if not settled or _second(fetched.last_modified) > _second(info.last_modified):
            return got
    return _unconfirmed(listed)


def _unconfirmed(listed: str) -> str:
    return f"{UNCONFIRMED}{listed}"[:ETAG_LIMIT]


def _second(at: datetime) -> int:
    return int(at.timestamp())
