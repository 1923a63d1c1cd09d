"""Poller: reads the buckets into the database with one listing an airline, or a part of it, and fetches what changed.

A bucket that fails stops neither the other nor the rest; it is told in the result, for the caller to log. Running
twice, at once or in a row, in whatever order, ends in the same rows; so does being killed and running again.
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
from fleet.ingest import anomalies
from fleet.ingest.health import update_health
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
from ifeportal.storage.background import PrefetchedListing, list_prefixes
from ifeportal.work_lease import NO_LEASE, WorkLease
from loader.errors import Code, WorldError
from loader.s3.interface import Bucket, ObjectInfo

OBJECTS_PER_TIME_CHECK: Final = 1_000  # listed between two looks at the clock
LISTING_TIME_LIMIT: Final = 120.0  # seconds
HEALTH_INTERVAL: Final = 10.0  # seconds
CONCURRENT_LISTINGS: Final = 4  # of parts, read at once
ALWAYS: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PollOptions:
    """On what terms a poll runs, besides the portal's clock.

    A lost `lease` ends the poll and undoes the transaction. Since `uninterrupted_since` the airline has been polled
    without a long gap; None: it has not. After `seconds` spent on what changed in a part, the rest of it is left to the
    next poll. `previous_run` is when it was polled before: what time alone changes is looked at every ten seconds at
    most.
    """

    limits: Limits = field(default_factory=Limits)
    lease: WorkLease = NO_LEASE
    uninterrupted_since: datetime | None = ALWAYS
    seconds: float = math.inf
    previous_run: datetime | None = None

    def is_due(self, now: datetime) -> bool:
        """Whether it is time again to see what time alone has changed."""
        return (
            self.previous_run is None
            or now.timestamp() // HEALTH_INTERVAL != self.previous_run.timestamp() // HEALTH_INTERVAL
        )


def poll_airline(
    airline: Airline, media: Bucket, status: Bucket, now: datetime, terms: PollOptions | None = None
) -> PollResult:
    """Bring all rows of one airline up to what the two buckets say; its parts are listed several at once.

    `now` is the portal's clock. Raises the errors of django.db if the database is away.
    """
    result, parts = poll_root(airline, media, status, now, terms)
    return (
        result
        if parts == UNPARTITIONED
        else result + _poll_partitions(airline, parts, status, now, terms or PollOptions())
    )


def poll_root(
    airline: Airline,
    media: Bucket,
    status: Bucket,
    now: datetime,
    terms: PollOptions | None = None,
    *,
    partitions: Sequence[str] = UNPARTITIONED,
) -> tuple[PollResult, tuple[str, ...]]:
    """Poll what is the airline's as a whole, and say which parts its tails are in; all of it while it is not cut.

    `partitions` are the present ones, which stay if they serve. If they are not `UNPARTITIONED` the parts are still to
    be polled.
    """
    terms = terms or PollOptions()
    with _open_writer(airline, status, now, terms, media) as writer:
        _read_media(writer, media)
        partitions = _partitions(writer, status, tuple(partitions))
        if partitions == UNPARTITIONED and _read_partition(
            writer, "", PrefetchedListing(status, f"{airline.name}/", terms.lease)
        ):
            # More than a listing may have: from the next poll on in parts.
            partitions = _partitions(writer, status, partitions)
        if partitions != UNPARTITIONED:
            _resolve_orphaned_anomalies(writer, partitions)
        # Of what could not be looked at nobody knows whether it stands still.
        watched_since = None if writer.result.failures or writer.result.unfinished else terms.uninterrupted_since
        if terms.is_due(now):
            writer.changed_campaigns |= update_health(airline, now, watched_since)
    return writer.result, partitions


def poll_partition(
    airline: Airline, partition: str, status: Bucket, now: datetime, terms: PollOptions | None = None
) -> PollResult:
    """Poll one part of an airline that is cut. Raises the errors of django.db."""
    return _poll_partitions(airline, [partition], status, now, terms or PollOptions())


def poll_objects(
    airline: Airline, keys: Collection[str], status: Bucket, now: datetime, terms: PollOptions | None = None
) -> PollResult:
    """Bring the rows up to what these objects of the status bucket say now; each is fetched once, nothing is listed.

    Raises the errors of django.db.
    """
    terms = terms or PollOptions()
    with _open_writer(airline, status, now, terms) as writer:
        # Before they are fetched: what another poll writes meanwhile must not be taken for what is gone.
        rows = load_snapshot(airline, keys=frozenset(keys))
        named = writer.fetcher.head(keys)
        if named.failure is not None:
            writer.add_failure(failure_message("status", named.failure))
        rows.restrict_to(named.known_keys)
        found = writer.write_listing(named.infos, rows, remaining_limits(terms.limits, rows))
        for problem in named.problems:
            found.problems.add(problem)
        writer.finish(rows, found)
    return writer.result


@contextmanager
def _open_writer(
    airline: Airline, status: Bucket, now: datetime, terms: PollOptions, *more: Bucket
) -> Iterator[Writer]:
    """A writer, whose result has the figures of the requests at the end, when the sums have been published."""
    meter = RequestMeter(status, *more)
    with Fetcher(status, terms.lease) as fetcher:
        writer = Writer(airline, fetcher, now, terms.limits, terms.lease, terms.seconds)
        yield writer
        writer.publish_totals()
    writer.result += meter.read()


def _poll_partitions(
    airline: Airline, partitions: Sequence[str], status: Bucket, now: datetime, terms: PollOptions
) -> PollResult:
    with _open_writer(airline, status, now, terms) as writer:
        for start in range(0, len(partitions), CONCURRENT_LISTINGS):
            some = partitions[start : start + CONCURRENT_LISTINGS]
            listings = [PrefetchedListing(status, f"{airline.name}/{part}", terms.lease) for part in some]
            try:
                for part, listing in zip(some, listings, strict=True):
                    _read_partition(writer, part, listing)
            finally:
                for listing in listings:
                    listing.close()
    return writer.result


def _read_media(writer: Writer, media: Bucket) -> None:
    """What should fly."""
    airline, limits = writer.airline, writer.limits
    try:
        catalog = sync_catalog(airline, media, writer.now, writer.lease)
    except WorldError as error:
        writer.add_failure(failure_message("media", error))
        return
    if catalog.failure is not None:
        writer.add_failure(failure_message("media", catalog.failure))
    writer.changed_campaigns |= {row.name for row in catalog.campaigns_changed}
    update_campaign_verification(airline, {row.pk for row in catalog.campaigns_changed})
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
    """The parts all tails are in, those without a row included."""
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
    tails = [name for name in found if not name.startswith(".")]  # archives are in no part: no poll need list them
    return partition_tails({**dict.fromkeys(tails, 0), **keys}, current, archives)


def _resolve_orphaned_anomalies(writer: Writer, partitions: tuple[str, ...]) -> None:
    """What was odd of the airline as a whole is no more, now that its parts are looked at."""
    homes = tuple(f"{writer.airline.name}/{part}" for part in partitions)
    known = anomalies.open_rows(writer.airline, "status")
    orphans = {place: row for place, row in known.items() if not row.key.startswith(homes) and row.code != BAD_ARCHIVE}
    anomalies.replace_open(writer.airline, "status", Problems(0), orphans, writer.now)


def _read_partition(writer: Writer, partition: str, listing: PrefetchedListing) -> bool:
    """What has arrived on the tails of a part; whether there was more than is listed at once.

    If the listing fails, loads are still held against new manifests.
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
    """The listing, unless it takes too long. What is written meanwhile is none of its time."""
    end = time.monotonic() + LISTING_TIME_LIMIT
    for count, info in enumerate(objects):
        if count % OBJECTS_PER_TIME_CHECK == 0 and time.monotonic() > end + writer.elapsed:
            raise WorldError(Code.TOO_SLOW, f"the listing was not read within {LISTING_TIME_LIMIT:.0f} s")
        yield info
