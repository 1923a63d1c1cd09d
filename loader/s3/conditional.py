"""Conditional writes: replace an object only if it still is the one that was read. Touches one object of the bucket."""

from __future__ import annotations

from loader.errors import Code, WorldError
from loader.s3.interface import Bucket


class Overtaken(Exception):
    """The object is not the one the write was meant to replace; nothing was written."""


def put_if_unchanged(bucket: Bucket, key: str, body: bytes, etag: str | None) -> str:
    """Write an object that still has `etag` (None: that does not exist yet) and return its new ETag.

    Raises:
        Overtaken: it was replaced, created or deleted meanwhile.
        WorldError: the store failed, or knows no conditional writes (Unsupported).
    """
    try:
        return bucket.put(key, body, if_none_match=etag is None, if_match=etag)
    except WorldError as error:
        # OBJECT_GONE of an object that must not exist is of the bucket.
        if error.code == Code.OBJECT_CHANGED or (etag is not None and error.code == Code.OBJECT_GONE):
            raise Overtaken(str(error)) from error
        raise
