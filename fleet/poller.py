"""Reads the buckets into the database: one listing an airline, only what changed fetched, one transaction a tail.

Buckets are read from several threads, the database only from the caller's. A store that fails, or a tail that cannot be
written, does not stop the rest; it is told in the result, for the caller to log. What is not read or written this time
still differs from the listing, so the next poll takes it up. Running twice, at once or in a row, ends in the same rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from django.db import InterfaceError, OperationalError, transaction

from campaigns.catalog import sync_catalog
from campaigns.models import Campaign, ContentItem
from fleet import anomalies, reconcile, rollup
from fleet.applying import Catalog, News, apply_tail
from fleet.discovery import discover, failure
from fleet.fetching import Fetcher, Readings
from fleet.known import Standing, standing
from fleet.models import Tail
from fleet.reconcile import HeartbeatSeen, Limits, Problem, Problems, Seen, Survey, TailChanges, survey
from fleet.result import Meter, PollResult
from fleet.stalling import note_standstill
from fleet.states import airline_state, campaign_state
from fleet.transitions import Again, ErrorSeen, Gone, ProgressSeen
from ifeportal.live.feed import Published, publish
from ifeportal.models import Airline
from loader.bucket import Bucket, ObjectInfo
from loader.contract import StatusKey
from loader.errors import WorldError

__all__ = ["Limits", "PollResult", "discover", "poll_airline", "poll_fleet"]

OBJECTS_A_BATCH: Final = 2_000  # fetched before the tails they belong to are written: bounds what waits in memory
OBJECTS_A_SIGN: Final = 1_000  # listed between two signs of life
logger = logging.getLogger(__name__)


def poll_airline(
    airline: Airline,
    media: Bucket,
    status: Bucket,
    now: datetime,
    *,
    limits: Limits | None = None,
    alive: Callable[[], None] = lambda: None,
) -> PollResult:
    """Bring the rows of one airline up to what the two buckets say.

    `now` is the portal's clock. `alive` is called often; what it raises (that a lease was lost) ends the poll between
    two transactions. Raises the errors of django.db if the database is away.
    """
    meter = Meter(media, status)
    poll = _Poll(airline, status, now, limits or Limits(), alive)
    poll.read_media(media)
    poll.read_status()
    poll.touched |= note_standstill(airline, now)
    poll.publish_sums()
    return poll.result + meter.read()


def poll_fleet(media: Bucket, status: Bucket, now: datetime, *, limits: Limits | None = None) -> PollResult:
    """Find new airlines, then poll every airline in turn."""
    result = discover(media, status, now, limits=limits)
    for airline in Airline.objects.order_by("name"):
        result += poll_airline(airline, media, status, now, limits=limits)
    return result


@dataclass(slots=True)
class _Work:
    """What is to be done about one tail. `dirty` are campaigns whose manifest is another now."""

    name: str
    changes: TailChanges = field(default_factory=TailChanges)
    dirty: set[str] = field(default_factory=set)

    @property
    def campaigns(self) -> set[str]:
        keys = [each.key for each in self.changes.seen] + [key for key, _ in self.changes.gone]
        return {key.campaign for key in keys if key.campaign} | self.dirty


@dataclass(slots=True)
class _Poll:
    """One poll of one airline: what its steps share. `touched` are campaigns whose sums may be others now."""

    airline: Airline
    status: Bucket
    now: datetime
    limits: Limits
    alive: Callable[[], None]
    result: PollResult = field(default_factory=PollResult)
    touched: set[str] = field(default_factory=set)
    new_tails: bool = False
    settled: set[str] = field(default_factory=set)
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)

    def read_media(self, media: Bucket) -> None:
        """What should fly."""
        try:
            catalog = sync_catalog(self.airline, media, self.now)
        except WorldError as error:
            self._failed("media", error)
            return
        if catalog.failure is not None:
            self._failed("media", catalog.failure)
        self.touched |= {row.name for row in catalog.campaigns_changed}
        problems = Problems(self.limits.anomalies)
        for each in catalog.problems:
            problems.add(Problem(each.key, each.code, each.detail, each.etag))
        known = anomalies.open_rows(self.airline, "media")
        self.result += PollResult(
            listings=1,
            objects_seen=catalog.objects_seen,
            objects_changed=len(catalog.campaigns_changed),
            anomalies=anomalies.record(self.airline, "media", problems, known, self.now),
        )

    def read_status(self) -> None:
        """What has arrived. If the listing fails, loads are still held against new manifests."""
        rows = standing(self.airline)
        last = sum(row.code in reconcile.BODY_PROBLEMS for row in rows.anomalies.values())
        limits = replace(self.limits, anomalies=max(self.limits.anomalies - last, 0))
        found = Survey(Problems(limits.anomalies))
        try:
            found = survey(self._watched(self.status.list(f"{self.airline.name}/")), rows.known, limits)
        except WorldError as error:
            self._failed("status", error)
            self._write(rows, found)
            return
        self._write(rows, found)
        self.result += PollResult(
            listings=1,
            objects_seen=found.objects,
            objects_changed=found.changed + len(found.gone_keys),
            anomalies=self._note(rows, found),
        )

    def _failed(self, bucket: str, error: WorldError) -> None:
        self.result += PollResult(failures=(failure(bucket, error),))

    def _watched(self, objects: Iterator[ObjectInfo]) -> Iterator[ObjectInfo]:
        for count, info in enumerate(objects):
            if count % OBJECTS_A_SIGN == 0:
                self.alive()
            yield info

    def _write(self, rows: Standing, found: Survey) -> None:
        work = {name: _Work(name, changes) for name, changes in found.tails.items()}
        for tail, campaign in rows.dirty:
            work.setdefault(tail, _Work(tail)).dirty.add(campaign)
        if not work:
            return
        campaigns, tails = self._campaigns(found), self._tails(found)
        with Fetcher(self.status) as fetcher:
            for batch in _batches([work[name] for name in sorted(work.keys() & tails.keys())]):
                self._learn_sizes(campaigns, set().union(*(one.campaigns for one in batch)))
                wanted = [each for one in batch for each in one.changes.seen if _has_room(each.key, campaigns)]
                readings = fetcher.read(wanted, self.sizes)
                if readings.failure is not None:
                    self._failed("status", readings.failure)
                for problem in readings.problems:
                    found.problems.add(problem)
                for one in batch:
                    self.alive()
                    self._write_tail(one, tails[one.name], readings, Catalog(campaigns, self.sizes), found.problems)

    def _campaigns(self, found: Survey) -> dict[str, Campaign]:
        """All campaigns of the airline by name; those only the status bucket knows are made first, if there is room."""
        new = found.new_campaigns
        if new:
            room = max(self.limits.campaigns_in_all - Campaign.objects.count(), 0)
            made = [Campaign(airline=self.airline, name=name, discovered=True) for name in new[:room]]
            Campaign.objects.bulk_create(made, ignore_conflicts=True)
        rows = {row.name: row for row in Campaign.objects.filter(airline=self.airline).defer("extra")}
        self.touched |= rows.keys() & set(new)
        self._left_out("campaigns", set(new) - rows.keys(), found)
        return rows

    def _tails(self, found: Survey) -> dict[str, int]:
        """The ids of all tails of the airline by name; new ones are made first, if there is room."""
        new = found.new_tails
        if new:
            room = max(self.limits.tails_in_all - Tail.objects.count(), 0)
            made = [Tail(airline=self.airline, name=name, discovered=True) for name in new[:room]]
            Tail.objects.bulk_create(made, ignore_conflicts=True)
        rows = dict(Tail.objects.filter(airline=self.airline).values_list("name", "pk"))
        self.new_tails = not rows.keys().isdisjoint(new)
        self._left_out("tails", set(new) - rows.keys(), found)
        return rows

    def _left_out(self, kind: str, names: set[str], found: Survey) -> None:
        if names:
            detail = f"There is no room for more {kind}, or a name differs from another only in case."
            found.problems.add(Problem(f"{self.airline.name}/", f"TOO_MANY_{kind.upper()}", detail))

    def _learn_sizes(self, campaigns: dict[str, Campaign], names: set[str]) -> None:
        """Read the listed items of campaigns not read before, in one query.

        After the campaigns' own rows: if a manifest comes in between, the loads stay marked with the older one.
        """
        missing = {campaigns[name].pk: name for name in names if name in campaigns and name not in self.sizes}
        if not missing:
            return
        self.sizes |= {name: {} for name in missing.values()}
        items = ContentItem.objects.filter(campaign__in=missing, listed=True).order_by()
        for campaign, name, size in items.values_list("campaign", "name", "size"):
            self.sizes[missing[campaign]][name] = size

    def _write_tail(self, work: _Work, tail_id: int, readings: Readings, catalog: Catalog, problems: Problems) -> None:
        news = self._news(work, readings, catalog, problems)
        if not (news.campaigns or news.heartbeat):
            return
        try:
            applied = apply_tail(self.airline, tail_id, news, catalog, self.now)
        except (OperationalError, InterfaceError):
            raise  # The database is away: no other tail would fare better.
        except Tail.DoesNotExist:
            return  # Deleted by a person meanwhile. If it still has objects, it comes back as discovered.
        except Exception as error:
            logger.exception("writing what was seen of %s/%s failed", self.airline.name, work.name)
            self.result += PollResult(failures=(f"tail {work.name}: {type(error).__name__}",))
            detail = f"What was seen of this tail could not be written ({type(error).__name__}); it is tried again."
            problems.add(Problem(f"{self.airline.name}/{work.name}/", "INTERNAL", detail))
            return
        self.result += PollResult(transfers_changed=applied.transfers)
        self.touched |= applied.campaigns
        for each in work.changes.seen:
            if (each.key.kind, each.key.campaign, each.key.content) in applied.older:
                problems.add(reconcile.too_old(each.name, each.etag, each.at))

    def _news(self, work: _Work, readings: Readings, catalog: Catalog, problems: Problems) -> News:
        news = News(dirty=work.dirty & catalog.campaigns.keys())
        for key, etag in work.changes.gone:
            if _has_room(key, catalog.campaigns):
                _tell(news, key, Gone(etag))
        for each in work.changes.seen:
            reading = readings.by_key.get(each.name)
            if reading is None:
                continue
            if not each.same:
                self.settled.add(each.name)
            if reading.problem is not None and problems.add(reading.problem):
                news.problems.append(reading.problem)
            news.heard_at = max(news.heard_at or reading.seen.at, reading.seen.at)
            _tell(news, each.key, reading.seen)
        return news

    def _note(self, rows: Standing, found: Survey) -> int:
        """Write down what was odd; what the bytes of an unchanged object said before lasts. How much is odd now."""
        settled = self.settled.union(found.gone_keys)
        lasting = [
            row for row in rows.anomalies.values() if row.code in reconcile.BODY_PROBLEMS and row.key not in settled
        ]
        return anomalies.record(self.airline, "status", found.problems, rows.anomalies, self.now, lasting=lasting)

    def publish_sums(self) -> None:
        """The sums of campaigns and airline, once a poll and not once a tail, as they are the dear ones."""
        if not (self.touched or self.new_tails):
            return
        with transaction.atomic():
            campaigns = rollup.campaigns(Campaign.objects.filter(airline=self.airline, name__in=self.touched))
            airline = rollup.airlines(Airline.objects.filter(pk=self.airline.pk)).get()
            changes = [
                Published("campaign", row.pk, row.airline_id, campaign=row.name, state=campaign_state(row))
                for row in campaigns
            ]
            publish([*changes, Published("airline", airline.pk, airline.pk, state=airline_state(airline))])


def _has_room(key: StatusKey, campaigns: Container[str]) -> bool:
    """Whether the object's campaign has a row; a heartbeat needs none."""
    return key.kind == "heartbeat" or key.campaign in campaigns


def _tell(news: News, key: StatusKey, seen: Seen | Gone) -> None:
    """Put what was seen of an object in its place."""
    match key.kind, seen:
        case "progress", ProgressSeen() | Again() | Gone():
            news.progress[key.campaign, key.content] = seen
        case "error", ErrorSeen() | Again() | Gone():
            news.errors[key.campaign, key.content] = seen
        case "campaign_error", ErrorSeen() | Again() | Gone():
            news.campaign_errors[key.campaign] = seen
        case "heartbeat", HeartbeatSeen() | Again() | Gone():
            news.heartbeat = seen


def _batches(work: list[_Work]) -> Iterator[list[_Work]]:
    """Tails together until they have `OBJECTS_A_BATCH` objects to be read."""
    batch: list[_Work] = []
    count = 0
    for each in work:
        batch.append(each)
        count += len(each.changes.seen)
        if count >= OBJECTS_A_BATCH:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch
