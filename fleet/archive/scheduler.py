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
from ifeportal.work_lease import NO_LEASE, WorkLease
from loader.errors import WorldError
from loader.s3.interface import Bucket


def run_for(
    status: Bucket,
    clock: Callable[[], datetime],
    seconds: float,
    *,
    lease: WorkLease = NO_LEASE,
) -> tuple[bool, list[str]]:
    """Restore and archive for about `seconds`; return whether there may be more to do, and failures as sentences.

    A load that was started is finished. A permanent error of one airline does not stop the next one.
    """
    end = time.monotonic() + seconds
    failures: list[str] = []
    for airline in Airline.objects.order_by("name"):
        lease.heartbeat()
        meter = RequestMeter(status)
        try:
            restore(airline, status, clock(), lease=lease)
            for _ in archive_due(airline, status, clock(), archive_after_days(airline), lease=lease):
                if time.monotonic() > end:
                    return True, failures
        except WorldError as error:
            failures.append(f"{airline.name}: {error.code}: {error}")
            if not error.permanent:
                break  # the store is unavailable
        finally:
            usage.record(airline.pk, meter.read())
    return False, failures
