"""Whether a response to a GET continues the bytes of a partial file. Pure.

Compares ETags of responses to GETs only. An equal weak ETag does not prove equal bytes (RFC 9110, 8.8.1): then the date
must be the same, too, and if the store sends none, the hash of the complete item decides.
"""

from __future__ import annotations

from loader.errors import Code, WorldError
from loader.s3.etags import is_weak
from loader.s3.http.headers import EPOCH
from loader.s3.interface import Body
from loader.storage.partial_file import PartialFile


class ObjectReplaced(WorldError):
    """The store sent another object than the one that the bytes came from (OBJECT_CHANGED)."""

    def __init__(self) -> None:
        super().__init__(Code.OBJECT_CHANGED, "the store sent a range of another object than requested")


def check_same_object(part: PartialFile, body: Body) -> None:
    """Raise ObjectReplaced unless the body is of the object that the bytes came from."""
    if not is_same_object(part, body):
        raise ObjectReplaced


def date_text(body: Body) -> str:
    """Return the date of the object as a partial file records it; empty if the store does not send it."""
    return "" if body.last_modified == EPOCH else body.last_modified.isoformat()


def identifies_object(part: PartialFile) -> bool:
    """Whether the object that the bytes came from can be recognised, or a mixture of two would be noticed."""
    if is_weak(part.etag):
        return bool(part.last_modified or part.item.sha256)
    return bool(part.etag)


def is_same_object(part: PartialFile, body: Body) -> bool:
    """Whether the body is of the object that the bytes came from."""
    return part.etag == body.etag and (not is_weak(body.etag) or part.last_modified == date_text(body))
