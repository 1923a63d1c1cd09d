"""The time for functions that delete by date: samples, events, archived reports, ended sessions and the like.

A portal whose clock jumps ahead must not delete its history. So the clock of this machine counts only as long as the
object store's clock, and the database's if that has its own, agree with it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.db import connection
from django.utils import timezone

from loader.clock import TOLERANCE, describe_difference
from loader.errors import Code, WorldError
from loader.s3.interface import Bucket

_NOTHING: Final = "Nothing is deleted by date"


def deletion_time(bucket: Bucket | None) -> datetime:
    """Return the earliest of the clocks (aware, UTC). Without a bucket only the database's is compared.

    Costs one request, and only if the bucket has not answered before or its last answer contradicts this machine.

    Raises:
        WorldError: CLOCK_SKEW if the clocks contradict each other, or the reason why the store's time is unknown.
    """
    local = timezone.now()
    clocks = {"object store's": _store_time(bucket, local)} if bucket is not None else {}
    if (database := _database_time()) is not None:
        clocks["database's"] = database
    for name, time in clocks.items():
        if abs(local - time) > TOLERANCE:
            difference = describe_difference(local, time)
            raise WorldError(Code.CLOCK_SKEW, f"{_NOTHING}: the portal's clock is {difference} the {name}.")
    return min([local, *clocks.values()])


def _store_time(bucket: Bucket, local: datetime) -> datetime:
    known = bucket.store_clock.now()
    if known is not None and abs(local - known) <= TOLERANCE:
        return known
    try:
        bucket.list_prefixes("")  # any valid response has the store's time
    except WorldError as error:
        text = f"{_NOTHING}: the object store's time is unknown: {error}"
        raise WorldError(error.code, text, retry_after=error.retry_after) from error
    time = bucket.store_clock.now()
    if time is None:
        raise WorldError(Code.CLOCK_SKEW, f"{_NOTHING}: the object store does not send its time.")
    return time


def _database_time() -> datetime | None:
    """Return the time of the database server; None for SQLite, which uses the clock of this machine."""
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        time: datetime = cursor.fetchone()[0]
    return time
