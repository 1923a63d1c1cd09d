"""Create airlines for the prefixes found in the buckets, marked as discovered and without members (staff see them)."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime

from django.db import transaction

from fleet.feed import publish_totals
from fleet.ingest import anomalies
from fleet.polling.result import PollResult, failure_message
from fleet.reconcile.limits import Limits
from fleet.reconcile.names import find_airlines
from fleet.usage import RequestMeter
from ifeportal.models import Airline
from ifeportal.storage.background import list_prefixes
from ifeportal.work_lease import NO_LEASE, WorkLease
from loader.errors import WorldError
from loader.s3.interface import Bucket

logger = logging.getLogger(__name__)


def discover(
    media: Bucket,
    status: Bucket,
    now: datetime,
    *,
    limits: Limits | None = None,
    lease: WorkLease = NO_LEASE,
) -> PollResult:
    """Create a row for every airline that has objects in a bucket but no row. `now` is the portal's clock."""
    meter, result = RequestMeter(media, status), PollResult()
    buckets: tuple[tuple[anomalies.BucketName, Bucket], ...] = (("media", media), ("status", status))
    for name, bucket in buckets:
        try:
            found = list_prefixes(bucket, "", lease)
        except WorldError as error:
            result += PollResult(failures=(failure_message(name, error),))
        else:
            result += PollResult(anomalies=_create_discovered(name, found, limits or Limits(), now), listings=1)
    return result + meter.read()


def find_airline(name: str, media: Bucket, status: Bucket) -> Airline | None:
    """Return the airline of that name: its row, or a new one if a bucket has objects of it.

    Raises:
        WorldError: a bucket could not be listed.
    """
    row = Airline.objects.filter(name=name).first()
    if row is None and any(next(iter(bucket.list(f"{name}/")), None) for bucket in (media, status)):
        _create_airlines(find_airlines([name], _names(), Limits()).names)
        row = Airline.objects.filter(name=name).first()
    return row


def _create_discovered(name: anomalies.BucketName, names: Iterable[str], limits: Limits, now: datetime) -> int:
    found = find_airlines(names, _names(), limits)
    _create_airlines(found.names)
    return anomalies.replace_open(None, name, found.problems, anomalies.open_rows(None, name), now)


def _names() -> list[str]:
    return list(Airline.objects.values_list("name", flat=True))


def _create_airlines(names: list[str]) -> None:
    if not names:
        return
    with transaction.atomic():
        Airline.objects.bulk_create((Airline(name=name, discovered=True) for name in names), ignore_conflicts=True)
        publish_totals(list(Airline.objects.filter(name__in=names).values_list("pk", flat=True)))
    logger.info("discovered airlines: %s", ", ".join(names))
