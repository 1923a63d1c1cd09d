"""Empty buckets of a SeaweedFS, created in advance.

The first write to a bucket takes 0.2 s to allocate a volume. A used bucket still lists the prefixes of deleted objects.
So every test gets a new bucket, and a thread creates a few in advance.

Once in many runs the master of SeaweedFS 4.48 stops growing volumes until it is restarted (issues 9695 and 10255 of
SeaweedFS are of this kind). The thread is the first to notice, because it makes a volume grow for each bucket.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from ifeportal.embedded.seaweedfs import SeaweedFS
from loader.errors import WorldError
from loader.s3.client import S3Bucket

READY = 4
log = logging.getLogger(__name__)


class FreshBuckets:
    """Buckets `test-0`, `test-1` and so on, each used once."""

    def __init__(self, server: SeaweedFS) -> None:
        self._server = server
        self._numbers = itertools.count()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fresh-buckets")
        self._ready: deque[Future[S3Bucket]] = deque(self._thread.submit(self._make) for _ in range(READY))

    def take(self) -> S3Bucket:
        self._ready.append(self._thread.submit(self._make))
        return self._server.bucket(self._ready.popleft().result().name)

    def _make(self) -> S3Bucket:
        name = f"test-{next(self._numbers)}"
        try:
            return self._create(name)
        except WorldError as error:
            # Nothing is lost by a restart: requests of the running test are retried as by any client.
            log.warning("SeaweedFS is restarted, because it creates no bucket: %s", error)
            self._server.restart()
            return self._create(name)

    def _create(self, name: str) -> S3Bucket:
        bucket = self._server.create_bucket(name)
        bucket.put("ready", b"")
        bucket.delete("ready")
        return bucket

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)
