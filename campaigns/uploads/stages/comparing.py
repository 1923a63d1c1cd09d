"""Whether an object in the bucket has certain bytes: reads it in slices, only if its size is that of these bytes."""

from __future__ import annotations

import contextlib
import threading

from campaigns.uploads.stages.hashing import ContentSums
from campaigns.uploads.stages.reading import read_blocks
from campaigns.uploads.stages.work import StoreWork
from loader.s3.interface import GetResult


def has_content(work: StoreWork, found: GetResult | None, key: str, size: int, sha256: str, stage: str) -> bool | None:
    """Return whether the object `found` under the key has these bytes; None if the slice ended before that is known.

    The checkpoint `compare` has the state to continue from. Raises WorldError.
    """
    if found is None or found.size != size:
        return False
    saved = work.checkpoint.get("compare") or {}
    hashed = ContentSums(saved if saved.get("etag") == found.etag else None)

    def read(stop: threading.Event) -> None:
        blocks = read_blocks(work.media, key, found.etag, size, hashed.count, stop)
        with contextlib.closing(blocks):
            for block in blocks:
                hashed.update(block)

    work.run_in_thread(read, lambda: 0, None, stage)
    if hashed.count < size:
        work.slice.commit(compare={**hashed.state(), "etag": found.etag})
        return None
    return hashed.sha256 == sha256
