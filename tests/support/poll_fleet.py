"""Poll all airlines of a test at once."""

from __future__ import annotations

from datetime import datetime

from fleet.polling.discovery import discover
from fleet.polling.poller import PollOptions, poll_airline
from fleet.polling.result import PollResult
from fleet.reconcile.limits import Limits
from ifeportal.models import Airline
from loader.s3.interface import Bucket


def poll_fleet(media: Bucket, status: Bucket, now: datetime, *, limits: Limits | None = None) -> PollResult:
    """Find new airlines, then poll every airline in turn."""
    result = discover(media, status, now, limits=limits)
    options = PollOptions(limits or Limits())
    for airline in Airline.objects.order_by("name"):
        result += poll_airline(airline, media, status, now, options)
    return result
