"""Poller: reads the buckets into the database with one listing per airline or partition, and fetches changed objects.

A bucket that fails does not stop the rest; its failure is in the result, for the caller to log. Polling twice, at once
or in a row, in any order, ends in the same rows; so does a poll that is killed and run again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from campaigns.catalog.sync import sync_catalog
from fleet.attention import keeping
from fleet.ingest import anomalies
from fleet.ingest.health import apply_exhibition_dates, update_health
from fleet.ingest.verification import update_campaign_verification
from fleet.models import Load, Tail
from fleet.polling.fetcher import Fetcher
from fleet.polling.result import PollResult, failure_message
from fleet.polling.snapshot import load_snapshot
from fleet.polling.writer import Writer, remaining_limits
from fleet.reconcile.diff import ListingDiff
from fleet.reconcile.limits import Limits
from fleet.reconcile.partitions import UNPARTITIONED, partition_tails
from fleet.reconcile.problems import BAD_ARCHIVE, Problem, Problems
from fleet.usage import RequestMeter
from ifeportal.models import Airline
from ifeportal.storage.background import PAGES_AHEAD, PrefetchedListing, list_prefixes
from ifeportal.work_lease import NO_LEASE, WorkLease
from loader.errors import Code, WorldError
from loader.s3.interface import Bucket, ObjectInfo

OBJECTS_PER_TIME_CHECK: Final = 1_000  # listed between two checks of the time limit
LISTING_TIME_LIMIT: Final = 120.0  # seconds
HEALTH_INTERVAL: Final = 10.0  # seconds
CONCURRENT_LISTINGS: Final = 4  # of partitions
ALWAYS: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PollOptions:
    """Options of a poll.

    A lost `lease` ends the poll and rolls the transaction back. Since `uninterrupted_since` the airline has been polled
    without a long gap; None: it has not. After `seconds` spent on the changes of a partition, its rest is left to the
    next poll, which is `catching_up`. `previous_run` is the time of the poll before: time-based flags are updated at
    most every `HEALTH_INTERVAL`.
    """

    limits: Limits = field(default_factory=Limits)
    lease: WorkLease = NO_LEASE
    uninterrupted_since: datetime | None = ALWAYS
    seconds: float = math.inf
    previous_run: datetime | None = None
    catching_up: bool = False

    def is_due(self, now: datetime) -> bool:
        """Return whether the time-based flags are due."""
        return (
            self.previous_run is None
            or now.timestamp() // HEALTH_INTERVAL != self.previous_run.timestamp() // HEALTH_INTERVAL
        )


def poll_airline(
    airline: Airline, media: Bucket, status: Bucket, now: datetime, options: PollOptions | None = None
) -> PollResult:
    """Update all rows of one airline from the two buckets; partitions are listed several at once.

    `now` is the portal's clock. Raises the errors of django.db if the database is unavailable.
    """
    result, parts = poll_root(airline, media, status, now, options)
    return (
        result
        if parts == UNPARTITIONED
        else result + _poll_partitions(airline, parts, status, now, options or PollOptions())
    )


def poll_root(
    airline: Airline,
    media: Bucket,
    status: Bucket,
    now: datetime,
    options: PollOptions | None = None,
    *,
    partitions: Sequence[str] = UNPARTITIONED,
) -> tuple[PollResult, tuple[str, ...]]:
    """Poll the media bucket and, if it is not partitioned, all tails; return the partitions its tails are in.

    `partitions` are the current ones, which stay while they fit. Partitions other than `UNPARTITIONED` are still to be
    polled.
    """
    options = options or PollOptions()
    with _open_writer(airline, status, now, options, media) as writer:
        _read_media(writer, media)
        partitions = _partitions(writer, status, tuple(partitions))
        if partitions == UNPARTITIONED and _read_partition(
            writer, "", PrefetchedListing(status, f"{airline.name}/", options.lease)
        ):
            # More keys than a listing may have: partitioned from the next poll on.
            partitions = _partitions(writer, status, partitions)
        if partitions != UNPARTITIONED:
            _resolve_orphaned_anomalies(writer, partitions)
        # Nothing is known of objects that were not read, so no load may be called stalled.
        watched_since = None if writer.result.failures or writer.result.unfinished else options.uninterrupted_since
        if options.is_due(now):
            update_health(airline, now, watched_since)
    return writer.result, partitions


def poll_partition(
    airline: Airline, partition: str, status: Bucket, now: datetime, options: PollOptions | None = None
) -> PollResult:
    """Poll one partition of an airline. Raises the errors of django.db."""
    return _poll_partitions(airline, [partition], status, now, options or PollOptions())


def poll_objects(
    airline: Airline, keys: Collection[str], status: Bucket, now: datetime, options: PollOptions | None = None
) -> PollResult:
    """Update the rows from these objects of the status bucket; each is fetched once, nothing is listed.

    Raises the errors of django.db.
    """
    options = options or PollOptions()
    with _open_writer(airline, status, now, options) as writer:
        # Before they are fetched: objects that another poll writes meanwhile must not count as deleted.
        rows = load_snapshot(airline, keys=frozenset(keys))
        lookup = writer.fetcher.head(keys)
        if lookup.failure is not None:
            writer.add_failure(failure_message("status", lookup.failure))
        rows.restrict_to(lookup.known_keys)
        found = writer.write_listing(lookup.infos, rows, remaining_limits(options.limits, rows))
        for problem in lookup.problems:
            found.problems.add(problem)
        writer.finish(rows, found)
    return writer.result


@contextmanager
def _open_writer(
    airline: Airline, status: Bucket, now: datetime, options: PollOptions, *more: Bucket
) -> Iterator[Writer]:
    """Yield a writer; at the end, add the request counts to its result."""
    meter = RequestMeter(status, *more)
    with Fetcher(status, options.lease) as fetcher:
        writer = Writer(
            airline, fetcher, now, options.limits, options.lease, options.seconds, catching_up=options.catching_up
        )
        yield writer
    writer.result += meter.read()


def _poll_partitions(
    airline: Airline, partitions: Sequence[str], status: Bucket, now: datetime, options: PollOptions
) -> PollResult:
    with _open_writer(airline, status, now, options) as writer:
        for start in range(0, len(partitions), CONCURRENT_LISTINGS):
            names = partitions[start : start + CONCURRENT_LISTINGS]
            ahead = PAGES_AHEAD // len(names)
            listings = [PrefetchedListing(status, f"{airline.name}/{part}", options.lease, ahead) for part in names]
            try:
                for part, listing in zip(names, listings, strict=True):
                    _read_partition(writer, part, listing)
            finally:
                for listing in listings:
                    listing.close()
    return writer.result


def _read_media(writer: Writer, media: Bucket) -> None:
    """Update the campaigns from the manifests in the media bucket."""
    airline, limits = writer.airline, writer.limits
    try:
        catalog = sync_catalog(airline, media, writer.now, writer.lease)
    except WorldError as error:
        writer.add_failure(failure_message("media", error))
        return
    if catalog.failure is not None:
        writer.add_failure(failure_message("media", catalog.failure))
    changed = {row.pk for row in catalog.campaigns_changed}
    update_campaign_verification(airline, changed)
    if changed:
        apply_exhibition_dates(airline, changed, writer.now)
        keeping.keep_campaigns(airline.pk, changed)
    problems = Problems(limits.anomalies)
    for each in catalog.problems:
        problems.add(Problem(each.key, each.code, each.detail, each.etag))
    known = anomalies.open_rows(airline, "media")
    writer.result += PollResult(
        listings=1,
        objects_seen=catalog.objects_seen,
        objects_changed=len(catalog.campaigns_changed),
        changes=len(catalog.campaigns_changed),
        anomalies=anomalies.replace_open(airline, "media", problems, known, writer.now),
    )


def _partitions(writer: Writer, status: Bucket, current: tuple[str, ...]) -> tuple[str, ...]:
    """Return the partitions all tails are in, tails without a row included."""
    keys = dict(Tail.objects.filter(airline=writer.airline).values_list("name", "keys"))
    archives = Load.objects.filter(tail__airline=writer.airline, archived_at__isnull=False).count()
    parts = partition_tails(keys, current, archives)
    if parts == UNPARTITIONED:
        return parts
    try:
        found = list_prefixes(status, f"{writer.airline.name}/", writer.lease)
    except WorldError as error:
        writer.add_failure(failure_message("status", error))
        return parts
    tails = [name for name in found if not name.startswith(".")]  # archives are in no partition: no poll lists them
    return partition_tails({**dict.fromkeys(tails, 0), **keys}, current, archives)


def _resolve_orphaned_anomalies(writer: Writer, partitions: tuple[str, ...]) -> None:
    """Resolve anomalies outside of all partitions, from when the airline was not partitioned."""
    homes = tuple(f"{writer.airline.name}/{part}" for part in partitions)
    known = anomalies.open_rows(writer.airline, "status")
    orphans = {place: row for place, row in known.items() if not row.key.startswith(homes) and row.code != BAD_ARCHIVE}
    anomalies.replace_open(writer.airline, "status", Problems(0), orphans, writer.now)


def _read_partition(writer: Writer, partition: str, listing: PrefetchedListing) -> bool:
    """Update the tails of a partition; return whether it has more keys than a listing may have.

    If the listing fails, loads are still compared with new manifests.
    """
    rows = load_snapshot(writer.airline, partition)
    limits = remaining_limits(writer.limits, rows)
    try:
        found = writer.write_listing(_within_time_limit(listing, writer), rows, limits)
    except WorldError as error:
        writer.add_failure(failure_message("status", error))
        found = ListingDiff(Problems(limits.anomalies), truncated=True)
    else:
        writer.result += PollResult(listings=1, truncated=int(found.truncated))
        writer.update_key_counts(rows, found)
    finally:
        listing.close()
    writer.finish(rows, found)
    return found.truncated


def _within_time_limit(objects: PrefetchedListing, writer: Writer) -> Iterator[ObjectInfo]:
    """Yield the listing; raise TOO_SLOW if it takes too long, not counting the time spent on writing."""
    end = time.monotonic() + LISTING_TIME_LIMIT
    for count, info in enumerate(objects):
        if count % OBJECTS_PER_TIME_CHECK == 0 and time.monotonic() > end + writer.elapsed:
            raise WorldError(Code.TOO_SLOW, f"the listing took longer than {LISTING_TIME_LIMIT:.0f} s")
        yield info
