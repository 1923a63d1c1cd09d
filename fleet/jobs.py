"""Jobs of the fleet, as workers run them: each calls one function under the job's lease."""

from __future__ import annotations

from datetime import timedelta
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
from fleet.stats import throughput
from ifeportal.jobs.leases import Lease
from ifeportal.jobs.queue import partitions_of, set_partitions
from ifeportal.jobs.runner import JobFailed, run, uninterrupted_since
from ifeportal.models import Airline
from ifeportal.storage.buckets import media_bucket, status_bucket
from loader.s3.interface import Bucket
from loader.s3.sqs import EventQueue

INTERVALS_A_DISCOVERY: Final = 5  # new airlines come far less often than new objects
BETWEEN_THINNINGS: Final = 600.0  # seconds
BETWEEN_ARCHIVINGS: Final = 3_600.0
ARCHIVE_TIME_LIMIT: Final = 10.0  # then other work gets its turn, and the rest is done in the next
BETWEEN_PRUNINGS: Final = 86_400.0  # a browser that was away for longer loads its page anew
POLL_TIME_LIMIT: Final = (
    20.0  # seconds after which a poll leaves the rest to the next one, so that no airline holds up others
)
EVENTS_JOB: Final = "take_events"


def poll(airline: str, part: str = "") -> None:
    """Poll one airline, or a part of it, if it is due and nobody else does.

    Raises JobFailed where a bucket could not be read.
    """
    row = Airline.objects.filter(name=airline).first()
    if row is None:
        return
    if part:
        run(f"poll:{airline}/{part}", settings.POLL_INTERVAL, lambda held: _poll_partition(held, row, part))
    else:
        run(f"poll:{airline}", settings.POLL_INTERVAL, lambda held: _poll_root(held, row))


def discover() -> None:
    """Look for new airlines, if it is due and nobody else does. Raises JobFailed where a bucket could not be read."""
    media, status = _buckets()

    def work(held: Lease) -> None:
        _record_usage(None, discovery.discover(media, status, timezone.now(), lease=held))

    run("discover", settings.POLL_INTERVAL * INTERVALS_A_DISCOVERY, work)


def take_events() -> None:
    """Write what the events of the status bucket tell, if it is due and nobody else does.

    Raises JobFailed where the queue or the bucket could not be read.
    """
    run(EVENTS_JOB, settings.POLL_INTERVAL, _consume_events)


def thin_samples() -> None:
    """Keep fewer samples and events the older they are, and no old counts, if it is due and nobody else does."""

    def work(held: Lease) -> None:
        # What crossed an age while it was last done is looked at again.
        since = held.succeeded_at and held.succeeded_at - timedelta(seconds=BETWEEN_THINNINGS)
        retention.thin_samples(timezone.now(), since, lease=held)
        retention.prune_events(timezone.now(), since, lease=held)
        throughput.prune(timezone.now())

    run("thin_samples", BETWEEN_THINNINGS, work)


def archive_loads() -> None:
    """Restore and archive for a while, if it is due and nobody else does. Raises JobFailed with what failed."""

    def work(held: Lease) -> None:
        status = _buckets()[1]
        more, failures = scheduler.run_for(status, timezone.now, ARCHIVE_TIME_LIMIT, lease=held)
        usage.flush(timezone.now())
        if failures:
            raise JobFailed("; ".join(failures))
        if more:
            held.next_run_in = 2 * ARCHIVE_TIME_LIMIT

    run("archive_loads", BETWEEN_ARCHIVINGS, work)


def prune_feed() -> None:
    """Tell open pages of what vanished, and forget what was told long ago, if it is due and nobody else does."""
    run("prune_feed", BETWEEN_PRUNINGS, lambda held: feed.prune_feed(lease=held))


def _poll_root(held: Lease, airline: Airline) -> None:
    media, status = _buckets()
    steady_since = uninterrupted_since(held)
    terms = PollOptions(
        lease=held,
        uninterrupted_since=steady_since,
        seconds=POLL_TIME_LIMIT,
        previous_run=held.succeeded_at,
    )
    current = partitions_of(held.name) or UNPARTITIONED
    result, parts = poll_root(airline, media, status, timezone.now(), terms, partitions=current)
    set_partitions(held.name, parts)
    _settle(held, airline, result)


def _poll_partition(held: Lease, airline: Airline, partition: str) -> None:
    terms = PollOptions(lease=held, seconds=POLL_TIME_LIMIT)
    _settle(held, airline, poll_partition(airline, partition, _buckets()[1], timezone.now(), terms))


def _consume_events(held: Lease) -> None:
    terms = PollOptions(lease=held, seconds=POLL_TIME_LIMIT)
    media, status = _buckets()
    taken = event_consumer.consume_events(_queue(), media, status, timezone.now, terms)
    held.found_changes = taken.keys > 0
    _finish(taken.result)


@cache
def _queue() -> EventQueue:
    return EventQueue(settings.STATUS_EVENTS_QUEUE_URL)


@cache
def _buckets() -> tuple[Bucket, Bucket]:
    """Kept for the life of the worker, as their connections are."""
    return media_bucket(), status_bucket()


def _settle(held: Lease, airline: Airline, result: PollResult) -> None:
    """Say whether something was found, and when to look again. What was never looked at before is new."""
    held.found_changes = result.changes > 0 or held.found_at is None
    quiet = timedelta() if held.found_changes or held.found_at is None else held.started_at - held.found_at
    held.next_run_in = interval.next_interval(
        max(quiet.total_seconds(), 0.0),
        watched=held.is_viewed,
        floor=settings.POLL_INTERVAL,
        ceiling=settings.POLL_CEILING,
        pushed=_events_are_flowing(held),
    )
    if result.unfinished:
        held.next_run_in = settings.POLL_INTERVAL
        held.steady_since = None  # what could not be looked at does not stand still
    elif result.truncated and held.name.endswith("/"):
        held.next_run_in = (
            settings.POLL_CEILING
        )  # one tail with more keys than are read: it is dear, and not whole anyway
    _record_usage(airline.pk, result)


def _events_are_flowing(held: Lease) -> bool:
    now = timezone.now()
    found_at = now if held.found_changes else held.found_at
    return bool(settings.STATUS_EVENTS_QUEUE_URL) and event_consumer.events_are_flowing(EVENTS_JOB, found_at, now)


def _record_usage(airline_id: int | None, result: PollResult) -> None:
    """Enter what the poll cost into the ledger. Raises JobFailed where a bucket could not be read."""
    usage.record(airline_id, result)
    _finish(result)


def _finish(result: PollResult) -> None:
    usage.flush(timezone.now())
    if result.failures:
        raise JobFailed("; ".join(result.failures))
