"""What workers run for the fleet: each loads by key and calls one function, under the job's lease."""

from __future__ import annotations

from functools import cache
from typing import Final

from django.conf import settings
from django.utils import timezone

from fleet import discovery
from fleet.poller import PollResult, Terms, poll_airline
from ifeportal.buckets import media_bucket, status_bucket
from ifeportal.jobs import JobFailed, run
from ifeportal.models import Airline
from loader.bucket import Bucket

INTERVALS_A_DISCOVERY: Final = 5  # new airlines come far less often than new objects


def poll(airline: str) -> None:
    """Poll one airline, if it is due and nobody else does. Raises JobFailed where a bucket could not be read."""
    row = Airline.objects.filter(name=airline).first()
    if row is None:
        return
    media, status = _buckets()
    run(
        f"poll:{airline}",
        settings.POLL_INTERVAL,
        lambda held: _told(poll_airline(row, media, status, timezone.now(), Terms(alive=held.alive))),
    )


def discover() -> None:
    """Look for new airlines, if it is due and nobody else does. Raises JobFailed where a bucket could not be read."""
    media, status = _buckets()
    interval = settings.POLL_INTERVAL * INTERVALS_A_DISCOVERY
    run("discover", interval, lambda held: _told(discovery.discover(media, status, timezone.now())))


@cache
def _buckets() -> tuple[Bucket, Bucket]:
    """Kept for the life of the worker, as their connections are."""
    return media_bucket(), status_bucket()


def _told(result: PollResult) -> PollResult:
    if result.failures:
        raise JobFailed("; ".join(result.failures))
    return result
