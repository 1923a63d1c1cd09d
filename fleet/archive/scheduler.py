"""Archiving of all airlines, a slice at a time: restore what is missing here, then pack what is due."""

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
    """Restore and archive for about so many seconds: whether there may be more to do, and what failed, in sentences.

    A load that is begun is brought to its end. What one airline may not do does not hold up the next.
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
                break  # The store is away.
        finally:
            usage.record(airline.pk, meter.read())
    return False, failures
