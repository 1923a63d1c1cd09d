"""Copies an object inside the store in parts, resumable, and on a condition of what the target key has by then."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Final

from loader.contract.units import MIB
from loader.frozen import frozen
from loader.s3.errors import UploadGone
from loader.s3.interface import Bucket, MultipartUpload, UploadedPart
from loader.s3.part_plan import PartRange, plan_parts

SMALLEST_PART: Final = 64 * MIB
THREADS: Final = 4


@frozen
class CopySource:
    """A version of an object: key, ETag as in the response to a GET, and size in bytes."""

    key: str
    etag: str
    size: int


class CopyProgress:
    """Counts copied bytes, from any thread."""

    def __init__(self) -> None:
        self.bytes = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self.bytes += count


def copy_parts(
    source: CopySource, target: MultipartUpload, progress: CopyProgress, stop: threading.Event
) -> list[UploadedPart] | None:
    """Copy the parts that the target lacks. Return all of them, or None if `stop` was set before. Raises WorldError.

    `progress` gets the bytes of each part that is copied or was there.
    """
    planned = list(plan_parts(source.size, SMALLEST_PART))
    present = {part.number: part for part in target.list_parts()}

    def copy(part: PartRange) -> UploadedPart | None:
        found = present.get(part.number)
        if found is None or found.size != part.size:
            if stop.is_set():
                return None
            found = _copy_part(source, target, part)
        progress.add(part.size)
        return found

    with ThreadPoolExecutor(THREADS, thread_name_prefix="copy") as threads:
        futures = [threads.submit(copy, part) for part in planned]
        try:
            wait(futures)
        finally:
            threads.shutdown(cancel_futures=True)
        parts = [future.result() for future in futures]
    return None if None in parts else [part for part in parts if part]


def _copy_part(source: CopySource, target: MultipartUpload, part: PartRange) -> UploadedPart:
    if part.size == source.size:
        return target.copy_part(part.number, source.key, if_match=source.etag)
    end = part.start + part.size
    return target.copy_part(part.number, source.key, start=part.start, end=end, if_match=source.etag)


def abort_copy(bucket: Bucket, key: str, upload_id: str) -> None:
    """Abort until the store no longer lists it: a part that was in flight may arrive after the first time."""
    multipart = bucket.resume_upload(key, upload_id)
    with contextlib.suppress(UploadGone):
        for _ in range(3):
            multipart.abort()
            multipart.list_parts()
