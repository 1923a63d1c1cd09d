"""Conditional writes: replace an object only if it has not changed since it was read."""

from __future__ import annotations

from loader.errors import Code, WorldError
from loader.s3.interface import Bucket


class Overtaken(Exception):
    """The object was replaced, created or deleted by another client; nothing was written."""


def put_if_unchanged(bucket: Bucket, key: str, body: bytes, etag: str | None) -> str:
    """Write the object if it still has `etag` (None: if it does not exist) and return its new ETag.

    Raises:
        Overtaken: the object has changed.
        WorldError: the store failed, or does not support conditional writes (Unsupported).
    """
    try:
        return bucket.put(key, body, if_none_match=etag is None, if_match=etag)
    except WorldError as error:
        # If the object must not exist, OBJECT_GONE means that the bucket does not.
        if error.code == Code.OBJECT_CHANGED or (etag is not None and error.code == Code.OBJECT_GONE):
            raise Overtaken(str(error)) from error
        raise
