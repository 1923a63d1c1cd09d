"""ETags of objects that `Bucket.upload` writes. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from loader.s3.part_plan import PART_SIZE, multipart_etag


def file_etag(parts: Sequence[bytes], size: int) -> str:
    """Return the ETag of an uploaded file of `size` bytes whose parts have these MD5 sums."""
    return parts[0].hex() if size < PART_SIZE else multipart_etag([part.hex() for part in parts])
