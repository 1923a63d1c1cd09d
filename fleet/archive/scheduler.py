"""Archive all airlines, a slice at a time: restore loads missing here, then archive the loads that are due."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from fleet import usage
from fleet.archive.archiver import archive_after_days, archive_due
from fleet.archive.restorer import restore
from fleet.usage import RequestMeter
from ifeportal.models import Airline
from ifeportal.storage.deletion_time import deletion_time
from ifeportal.work_lease import NO_LEASE, WorkLease
from loader.errors import WorldError
from loader.s3.interface import Bucket


def _deletion_time(status: Bucket) -> tuple[datetime | None, list[str]]:
    """Return the time for what deletes, or None and why there is none."""
    meter = RequestMeter(status)
    try:
        return deletion_time(status), []
    except WorldError as error:
        return None, [f"{error.code}: {error}"]
    finally:
        usage.record(None, meter.read())


def run_for(
    status: Bucket,
    clock: Callable[[], datetime],
    seconds: float,
    *,
    lease: WorkLease = NO_LEASE,
) -> tuple[bool, list[str]]:
    """Restore and archive for about `seconds`; return whether there may be more to do, and failures as sentences.

    A load that was started is finished. A permanent error of one airline does not stop the next one. Nothing is
    archived, and so nothing deleted, while the time cannot be trusted.
    """
    end = time.monotonic() + seconds
    archive_at, failures = _deletion_time(status)
    for airline in Airline.objects.order_by("name"):
        lease.heartbeat()
        meter = RequestMeter(status)
        try:
            restore(airline, status, clock(), lease=lease)
            if archive_at is not None:
                for _ in archive_due(airline, status, archive_at, archive_after_days(airline), lease=lease):
                    if time.monotonic() > end:
                        return True, failures
        except WorldError as error:
            failures.append(f"{airline.name}: {error.code}: {error}")
            if not error.permanent:
                break  # the store is unavailable
        finally:
            usage.record(airline.pk, meter.read())
    return False, failures
