"""Jobs of the fleet, as workers run them: each calls one function under the job's lease.

A job does nothing while it is not due or another worker runs it.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from functools import cache
from typing import Final

from django.conf import settings
from django.utils import timezone

from fleet import feed, usage
from fleet.archive import scheduler
from fleet.history import retention
from fleet.polling import discovery, event_consumer, interval
from fleet.polling.poller import PollOptions, poll_partition, poll_root
from fleet.polling.result import PollResult
from fleet.reconcile.partitions import UNPARTITIONED
from fleet.stats import throughput, totals
from fleet.usage import RequestMeter
from ifeportal.jobs import broker
from ifeportal.jobs.leases import Lease
from ifeportal.jobs.queue import partitions_of, set_partitions
from ifeportal.jobs.runner import JobFailed, run, uninterrupted_since
from ifeportal.models import Airline
from ifeportal.storage.buckets import media_bucket, status_bucket
from ifeportal.storage.deletion_time import deletion_time
from loader.errors import WorldError
from loader.s3.interface import Bucket
from loader.s3.sqs import EventQueue

INTERVALS_A_DISCOVERY: Final = 5  # new airlines are far rarer than new objects
BETWEEN_THINNINGS: Final = 600.0  # seconds
BETWEEN_ARCHIVINGS: Final = 3_600.0
ARCHIVE_TIME_LIMIT: Final = 10.0  # seconds; the rest is left to the next run, so that other jobs are not delayed
BETWEEN_CHECKS: Final = 86_400.0
CHECK_TIME_LIMIT: Final = 10.0  # seconds; the rest is left to the next run
BETWEEN_PRUNINGS: Final = 86_400.0  # seconds; a browser that was offline for longer reloads its page
POLL_TIME_LIMIT: Final = 20.0  # seconds; the rest is left to the next poll, so that no airline delays others
EVENTS_JOB: Final = "take_events"


def poll(airline: str, part: str = "") -> None:
    """Poll one airline, or a partition of it. Raises JobFailed if a bucket could not be read."""
    row = Airline.objects.filter(name=airline).first()
    if row is None:
        return
    if part:
        run(f"poll:{airline}/{part}", settings.POLL_INTERVAL, lambda lease: _poll_partition(lease, row, part))
    else:
        run(f"poll:{airline}", settings.POLL_INTERVAL, lambda lease: _poll_root(lease, row))


def discover() -> None:
    """Create rows for new airlines. Raises JobFailed if a bucket could not be read."""
    media, status = _buckets()

    def work(lease: Lease) -> None:
        _record_usage(None, discovery.discover(media, status, timezone.now(), lease=lease))

    run("discover", settings.POLL_INTERVAL * INTERVALS_A_DISCOVERY, work)


def take_events() -> None:
    """Read the objects named by events of the status bucket. Raises JobFailed if the queue or the bucket failed."""
    run(EVENTS_JOB, settings.POLL_INTERVAL, _consume_events)


def thin_samples() -> None:
    """Thin samples and events by age, and delete old throughput and old failures of messages to workers.

    Raises JobFailed if the time cannot be trusted.
    """

    def work(lease: Lease) -> None:
        now = _deletion_time()
        # Overlaps the last run, to check again what crossed a cut while it ran.
        since = lease.succeeded_at and lease.succeeded_at - timedelta(seconds=BETWEEN_THINNINGS)
        if since is not None and since > now:
            since = None  # the clock was ahead then, so it is unknown what was checked
        retention.thin_samples(now, since, lease=lease)
        retention.prune_events(now, since, lease=lease)
        throughput.prune(now)
        broker.delete_old_failures(now)

    run("thin_samples", BETWEEN_THINNINGS, work)


def archive_loads() -> None:
    """Restore and archive loads for a while. Raises JobFailed with what failed."""

    def work(lease: Lease) -> None:
        more, failures = scheduler.run_for(_buckets()[1], timezone.now, ARCHIVE_TIME_LIMIT, lease=lease)
        usage.flush(timezone.now())
        if failures:
            raise JobFailed("; ".join(failures))
        if more:
            lease.next_run_in = 2 * ARCHIVE_TIME_LIMIT

    run("archive_loads", BETWEEN_ARCHIVINGS, work)


def _deletion_time() -> datetime:
    """Return the time for functions that delete by date. Raises JobFailed if it cannot be trusted."""
    bucket = _buckets()[1]
    meter = RequestMeter(bucket)
    try:
        return deletion_time(bucket)
    except WorldError as error:
        raise JobFailed(f"{error.code}: {error}") from error
    finally:
        usage.record(None, meter.read())


def prune_feed() -> None:
    """Publish deletions to open pages, and delete old changes."""
    run("prune_feed", BETWEEN_PRUNINGS, lambda lease: feed.prune_feed(lease=lease))


def check_totals() -> None:
    """Count the stored totals again, airline by airline, up to a time limit; correct and log those that are wrong."""

    def work(lease: Lease) -> None:
        end = time.monotonic() + CHECK_TIME_LIMIT
        for airline in totals.unchecked_airlines(timezone.now() - timedelta(seconds=BETWEEN_CHECKS)):
            if time.monotonic() >= end:
                lease.next_run_in = 2 * CHECK_TIME_LIMIT
                return
            lease.heartbeat()
            feed.check_totals(airline, timezone.now(), lease=lease)

    run("check_totals", BETWEEN_CHECKS, work)


def _poll_root(lease: Lease, airline: Airline) -> None:
    media, status = _buckets()
    watched_since = uninterrupted_since(lease)
    options = PollOptions(
        lease=lease,
        uninterrupted_since=watched_since,
        seconds=POLL_TIME_LIMIT,
        previous_run=lease.succeeded_at,
        catching_up=_is_catching_up(lease),
    )
    current = partitions_of(lease.name) or UNPARTITIONED
    result, parts = poll_root(airline, media, status, timezone.now(), options, partitions=current)
    set_partitions(lease.name, parts)
    _schedule_next(lease, airline, result)


def _poll_partition(lease: Lease, airline: Airline, partition: str) -> None:
    options = PollOptions(lease=lease, seconds=POLL_TIME_LIMIT, catching_up=_is_catching_up(lease))
    _schedule_next(lease, airline, poll_partition(airline, partition, _buckets()[1], timezone.now(), options))


def _consume_events(lease: Lease) -> None:
    options = PollOptions(lease=lease, seconds=POLL_TIME_LIMIT)
    media, status = _buckets()
    consumed = event_consumer.consume_events(_queue(), media, status, timezone.now, options)
    lease.found_changes = consumed.keys > 0
    _finish(consumed.result)


@cache
def _queue() -> EventQueue:
    return EventQueue(settings.STATUS_EVENTS_QUEUE_URL)


@cache
def _buckets() -> tuple[Bucket, Bucket]:
    """Return media and status bucket, cached for the life of the worker, as their connections are."""
    return media_bucket(), status_bucket()


def _schedule_next(lease: Lease, airline: Airline, result: PollResult) -> None:
    """Set whether changes were found and when to poll again. The first poll of an airline counts as a change."""
    lease.found_changes = result.changes > 0 or lease.found_at is None
    quiet = timedelta() if lease.found_changes or lease.found_at is None else lease.started_at - lease.found_at
    lease.next_run_in = interval.next_interval(
        max(quiet.total_seconds(), 0.0),
        watched=lease.is_viewed,
        floor=settings.POLL_INTERVAL,
        ceiling=settings.POLL_CEILING,
        pushed=_events_are_flowing(lease),
    )
    if result.unfinished:
        lease.next_run_in = settings.POLL_INTERVAL
        lease.steady_since = None  # nothing is known of objects that were not read, so no load may be called stalled
    elif result.truncated and lease.name.endswith("/"):
        # One tail with more keys than are read: expensive, and incomplete anyway.
        lease.next_run_in = settings.POLL_CEILING
    _record_usage(airline.pk, result)


def _is_catching_up(lease: Lease) -> bool:
    """Return whether the poll before was unfinished: `_schedule_next` then starts a new series of successes."""
    return lease.succeeded_at is not None and lease.steady_since == lease.succeeded_at


def _events_are_flowing(lease: Lease) -> bool:
    now = timezone.now()
    found_at = now if lease.found_changes else lease.found_at
    return bool(settings.STATUS_EVENTS_QUEUE_URL) and event_consumer.events_are_flowing(EVENTS_JOB, found_at, now)


def _record_usage(airline_id: int | None, result: PollResult) -> None:
    """Record the requests of a poll. Raises JobFailed if a bucket could not be read."""
    usage.record(airline_id, result)
    _finish(result)


def _finish(result: PollResult) -> None:
    usage.flush(timezone.now())
    if result.failures:
        raise JobFailed("; ".join(result.failures))
