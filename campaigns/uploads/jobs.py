"""The job of uploads. Calls one function under its lease."""

from __future__ import annotations

import time
from functools import cache
from typing import Final

from campaigns.uploads.cleanup import clean
from ifeportal.jobs.leases import Lease
from ifeportal.jobs.runner import JobFailed, run
from ifeportal.models import Airline
from ifeportal.storage.buckets import media_bucket
from ifeportal.storage.deletion_time import deletion_time
from loader.errors import WorldError
from loader.s3.interface import Bucket

CLEANUP_JOB: Final = "upload_cleanup"
BETWEEN_CLEANUPS: Final = 86_400.0  # seconds
CLEANUP_TIME_LIMIT: Final = 20.0  # seconds; the rest is left to the next run, so that other jobs are not delayed


def upload_cleanup() -> None:
    """Delete what uploads left in the media bucket and no row knows. Raises JobFailed with what failed."""

    def work(lease: Lease) -> None:
        end = time.monotonic() + CLEANUP_TIME_LIMIT
        bucket = _media()
        try:
            now = deletion_time(bucket)
        except WorldError as error:
            raise JobFailed(f"{error.code}: {error}") from error
        airlines = list(Airline.objects.order_by("pk"))
        # Each run starts with another airline, so that none is always left out.
        first = lease.fence % len(airlines) if airlines else 0
        rotated = [*airlines[first:], *airlines[:first]]
        complete, failures = clean(rotated, bucket, now, lambda: time.monotonic() >= end, lease=lease)
        if failures:
            raise JobFailed("; ".join(failures))
        if not complete:
            lease.next_run_in = 2 * CLEANUP_TIME_LIMIT

    run(CLEANUP_JOB, BETWEEN_CLEANUPS, work)


@cache
def _media() -> Bucket:
    # One per worker process, so that its connections are reused.
    return media_bucket()
