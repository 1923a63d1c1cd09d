"""Empty buckets of a SeaweedFS, created in advance.

The first write to a bucket takes 0.2 s to allocate a volume. A used bucket still lists the prefixes of deleted objects.
So every test gets a new bucket, and threads create a few in advance.
"""

from __future__ import annotations

import itertools
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from ifeportal.embedded.seaweedfs import SeaweedFS
from loader.s3.client import S3Bucket

READY = 4


class FreshBuckets:
    """Buckets `test-0`, `test-1` and so on, each used once."""

    def __init__(self, server: SeaweedFS) -> None:
        self._server = server
        self._numbers = itertools.count()
        self._thread = ThreadPoolExecutor(max_workers=2, thread_name_prefix="fresh-buckets")
        self._ready: deque[Future[S3Bucket]] = deque(self._thread.submit(self._make) for _ in range(READY))

    def take(self) -> S3Bucket:
        self._ready.append(self._thread.submit(self._make))
        return self._server.bucket(self._ready.popleft().result().name)

    def _make(self) -> S3Bucket:
        bucket = self._server.create_bucket(f"test-{next(self._numbers)}")
        bucket.put("ready", b"")
        bucket.delete("ready")
        return bucket

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)
