"""Writer of a poll: updates the rows of one airline from its status bucket, a batch of tails a transaction.

Objects that must be fetched are read from several threads, the database only from the caller's. A tail that cannot be
written does not stop the rest; it is told in the result. What is not read or written this time still differs from the
listing, so the next poll takes it up.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from django.db import InterfaceError, OperationalError

from campaigns.models import Campaign, ContentItem
from fleet.feed import publish_totals
from fleet.ingest import anomalies
from fleet.ingest.apply import apply_tails
from fleet.ingest.updates import Catalog, LoadUpdate, TailUpdate
from fleet.models import Tail
from fleet.polling.fetcher import Fetcher, FetchResult
from fleet.polling.result import PollResult, failure_message
from fleet.polling.snapshot import DatabaseSnapshot
from fleet.reconcile.diff import ListingDiff, TailChanges, diff_listing
from fleet.reconcile.limits import Limits
from fleet.reconcile.problems import BODY_PROBLEMS, Problem, Problems, stale_object_problem
from fleet.state.observations import (
    ErrorObserved,
    HeartbeatObserved,
    ObjectDeleted,
    ObjectRewritten,
    Observation,
    ProgressObserved,
)
from ifeportal.models import Airline
from ifeportal.work_lease import LeaseLost, WorkLease
from loader.contract.keys import StatusKey
from loader.errors import Code
from loader.s3.interface import ObjectInfo

OBJECTS_A_BATCH: Final = 2_000  # fetched before the tails they belong to are written: bounds what waits in memory
ROWS_A_BATCH: Final = 5_000  # made or held against a manifest in one transaction
TAILS_A_BATCH: Final = 500  # written in one transaction, which others wait for
RECOUNT_THRESHOLD: Final = (
    100  # keys more or less than a tail was known to have, and a quarter of them, are worth a write
)
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class TailWork:
    """What is to be done about one tail. `dirty` are campaigns whose manifest is another now."""

    name: str
    changes: TailChanges = field(default_factory=TailChanges)
    dirty: set[str] = field(default_factory=set)

    @property
    def campaigns(self) -> set[str]:
        """Every campaign of which there is something to be done."""
        keys = [each.key for each in self.changes.changed] + [key for key, _ in self.changes.deleted]
        return {key.campaign for key in keys if key.campaign} | self.dirty


@dataclass(slots=True)
class Writer:
    """What the parts of one poll of one airline share. `changed_campaigns` are campaigns whose sums may be others now.

    The heartbeat of `lease` is called before each batch; a lost lease ends the poll. `elapsed` were spent on reading
    and writing what changed in one part; after `time_limit` the rest is left, which still differs from the next
    listing.
    """

    airline: Airline
    fetcher: Fetcher
    now: datetime
    limits: Limits
    lease: WorkLease
    time_limit: float
    result: PollResult = field(default_factory=PollResult)
    changed_campaigns: set[str] = field(default_factory=set)
    new_tails: bool = False
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)
    elapsed: float = 0.0
    _reread_keys: set[str] = field(default_factory=set)  # keys that were odd and whose bytes were looked at anew

    def add_failure(self, sentence: str) -> None:
        """Note that something could not be read or written."""
        self.result += PollResult(failures=(sentence,))

    def write_listing(self, objects: Iterable[ObjectInfo], rows: DatabaseSnapshot, limits: Limits) -> ListingDiff:
        """Compare a listing with the rows and write the changes as they are found; return the rest for `finish`."""
        found = ListingDiff(Problems(limits.anomalies))
        for tails in diff_listing(objects, rows.known, limits, found):
            self._write_work({name: TailWork(name, changes) for name, changes in tails.items()}, rows, found)
        return found

    def finish(self, rows: DatabaseSnapshot, found: ListingDiff) -> None:
        """Write what was found since, hold loads against newer manifests, and note what was odd."""
        work = {name: TailWork(name, changes) for name, changes in found.take_tails().items()}
        for tail, campaign in rows.dirty:
            work.setdefault(tail, TailWork(tail)).dirty.add(campaign)
        self._write_work(work, rows, found)
        self.result += PollResult(
            objects_seen=found.objects,
            objects_changed=found.changed + len(found.deleted_keys),
            unfinished=int(found.unfinished),
            anomalies=self._record_anomalies(rows, found),
        )
        self._reread_keys, self.elapsed = set(), 0.0

    def _write_work(self, work: dict[str, TailWork], rows: DatabaseSnapshot, found: ListingDiff) -> None:
        if not work:
            return
        home = f"{self.airline.name}/{rows.known.partition}"
        campaigns, tails = self._campaigns(found, home), self._tails(found, home)
        odd = {row.key for row in rows.anomalies.values()}
        begun = time.monotonic() - self.elapsed
        weighed = [
            (work[name], _manifest_rows(work[name], rows, campaigns)) for name in sorted(work.keys() & tails.keys())
        ]
        for batch in _batches(weighed):
            self.lease.heartbeat()
            self._reread_keys |= odd & self._write_batch(batch, campaigns, tails, found.problems)
            self.elapsed = time.monotonic() - begun
            if self.elapsed >= self.time_limit:
                found.unfinished = True
                break

    def update_key_counts(self, rows: DatabaseSnapshot, found: ListingDiff) -> None:
        """Remember how many keys a tail has where it is another number altogether: by that an airline is cut."""
        changed = []
        for name, tail in rows.tails.items():
            if not f"{name}/".startswith(rows.known.partition):
                continue
            count = found.keys.get(name, 0)
            if not found.is_complete:
                count = max(count, tail.keys)
            if abs(count - tail.keys) > RECOUNT_THRESHOLD + tail.keys // 4:
                changed.append(Tail(pk=tail.pk, keys=count))
        Tail.objects.bulk_update(changed, ["keys"], batch_size=TAILS_A_BATCH)

    def publish_totals(self) -> None:
        """The sums of campaigns and airline, once a poll and not once a tail, as they are the dear ones."""
        if self.changed_campaigns or self.new_tails:
            campaigns = self.airline.campaigns.filter(name__in=self.changed_campaigns)
            publish_totals(Airline.objects.filter(pk=self.airline.pk), campaigns)

    def _campaigns(self, found: ListingDiff, home: str) -> dict[str, Campaign]:
        """All campaigns of the airline by name; those only the status bucket knows are made first, if there is room."""
        new = found.new_campaigns
        if new:
            room = max(self.limits.campaigns_in_all - Campaign.objects.count(), 0)
            made = [Campaign(airline=self.airline, name=name, discovered=True) for name in new[:room]]
            Campaign.objects.bulk_create(made, ignore_conflicts=True)
        rows = {row.name: row for row in Campaign.objects.filter(airline=self.airline).defer("extra")}
        self.changed_campaigns |= rows.keys() & set(new)
        self._report_left_out("campaigns", set(new) - rows.keys(), found, home)
        return rows

    def _tails(self, found: ListingDiff, home: str) -> dict[str, int]:
        """The ids of all tails of the airline by name; new ones are made first, if there is room."""
        new = found.new_tails
        if new:
            room = max(self.limits.tails_in_all - Tail.objects.count(), 0)
            made = [
                Tail(airline=self.airline, name=name, discovered=True, keys=found.keys.get(name, 0))
                for name in new[:room]
            ]
            Tail.objects.bulk_create(made, ignore_conflicts=True)
        rows = dict(Tail.objects.filter(airline=self.airline).values_list("name", "pk"))
        self.new_tails |= not rows.keys().isdisjoint(new)
        self._report_left_out("tails", set(new) - rows.keys(), found, home)
        return rows

    def _report_left_out(self, kind: str, names: set[str], found: ListingDiff, home: str) -> None:
        if names:
            detail = f"There is no room for more {kind}, or a name differs from another only in case."
            found.problems.add(Problem(home, f"TOO_MANY_{kind.upper()}", detail))

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

    def _write_batch(
        self, batch: list[TailWork], campaigns: dict[str, Campaign], tails: Mapping[str, int], problems: Problems
    ) -> set[str]:
        """Fetch and write; the keys of objects whose bytes were looked at."""
        self._learn_sizes(campaigns, set().union(*(one.campaigns for one in batch)))
        wanted = [each for one in batch for each in one.changes.changed if _has_room(each.key, campaigns)]
        readings = self.fetcher.read(wanted, self.sizes)
        if readings.failure is not None:
            self.add_failure(failure_message("status", readings.failure))
        for problem in readings.problems:
            problems.add(problem)
        news = {tails[one.name]: self._update(one, readings, campaigns, problems) for one in batch}
        works = {tails[one.name]: one for one in batch}
        some = {pk: each for pk, each in news.items() if each.loads or each.heartbeat}
        self._apply(some, works, Catalog(campaigns, self.sizes), problems)
        return {each.name for each in wanted if not each.unchanged_bytes and each.name in readings.by_key}

    def _apply(
        self, news: dict[int, TailUpdate], works: Mapping[int, TailWork], catalog: Catalog, problems: Problems
    ) -> None:
        """Write a batch; one that fails is halved, until it is known which tail cannot be written."""
        if not news:
            return
        try:
            applied = apply_tails(self.airline, news, catalog, self.now, lease=self.lease)
        except (OperationalError, InterfaceError, LeaseLost):
            raise  # The database is away, or the work is another's: no other tail would fare better.
        except Exception as error:  # noqa: BLE001  logged when it is known whose it is
            if len(news) == 1:
                (pk,) = news
                self._not_written(works[pk].name, error, problems)
                return
            half = dict(list(news.items())[: len(news) // 2])
            self._apply(half, works, catalog, problems)
            self._apply({pk: each for pk, each in news.items() if pk not in half}, works, catalog, problems)
            return
        self.result += PollResult(transfers_changed=applied.transfers, changes=applied.transfers + applied.loads)
        self.changed_campaigns |= applied.campaigns
        for pk, older in applied.superseded.items():
            for each in works[pk].changes.changed:
                if (each.key.kind, each.key.campaign, each.key.content) in older:
                    problems.add(stale_object_problem(each.name, each.etag, each.at))

    def _not_written(self, tail: str, error: Exception, problems: Problems) -> None:
        logger.error("writing what was seen of %s/%s failed", self.airline.name, tail, exc_info=error)
        self.add_failure(f"tail {tail}: {type(error).__name__}")
        detail = f"What was seen of this tail could not be written ({type(error).__name__}); it is tried again."
        problems.add(Problem(f"{self.airline.name}/{tail}/", Code.INTERNAL, detail))

    def _update(
        self, work: TailWork, readings: FetchResult, campaigns: Container[str], problems: Problems
    ) -> TailUpdate:
        news = TailUpdate({name: LoadUpdate() for name in work.dirty if name in campaigns})
        for key, etag in work.changes.deleted:
            if _has_room(key, campaigns):
                _assign(news, key, ObjectDeleted(etag))
        for each in work.changes.changed:
            reading = readings.by_key.get(each.name)
            if reading is None:
                continue
            if reading.problem is not None and problems.add(reading.problem):
                news.problems.append(reading.problem)
            news.heard_at = max(news.heard_at or reading.observation.at, reading.observation.at)
            _assign(news, each.key, reading.observation)
        return news

    def _record_anomalies(self, rows: DatabaseSnapshot, found: ListingDiff) -> int:
        """Write down what was odd; what the bytes of an unchanged object said before lasts. How much is odd now."""
        looked_at = self._reread_keys.union(found.deleted_keys)
        lasting = [
            row
            for row in rows.anomalies.values()
            if not found.is_complete or (row.code in BODY_PROBLEMS and row.key not in looked_at)
        ]
        return anomalies.replace_open(
            self.airline, "status", found.problems, rows.anomalies, self.now, unchanged=lasting
        )


def remaining_limits(limits: Limits, rows: DatabaseSnapshot) -> Limits:
    """The limits, less what is odd already and will stay so."""
    last = sum(row.code in BODY_PROBLEMS for row in rows.anomalies.values())
    return replace(limits, anomalies=max(limits.anomalies - last, 0))


def _has_room(key: StatusKey, campaigns: Container[str]) -> bool:
    """Whether the object's campaign has a row; a heartbeat needs none."""
    return key.kind == "heartbeat" or key.campaign in campaigns


def _assign(update: TailUpdate, key: StatusKey, observation: Observation | ObjectDeleted) -> None:
    """Put what was seen of an object in its place."""
    match key.kind, observation:
        case "progress", ProgressObserved() | ObjectRewritten() | ObjectDeleted():
            update.load(key.campaign).progress[key.content] = observation
        case "error", ErrorObserved() | ObjectRewritten() | ObjectDeleted():
            update.load(key.campaign).errors[key.content] = observation
        case "campaign_error", ErrorObserved() | ObjectRewritten() | ObjectDeleted():
            update.load(key.campaign).campaign_error = observation
        case "heartbeat", HeartbeatObserved() | ObjectRewritten() | ObjectDeleted():
            update.heartbeat = observation


def _manifest_rows(work: TailWork, known: DatabaseSnapshot, campaigns: Mapping[str, Campaign]) -> int:
    """How many transfers may be made or changed besides those that objects were seen of: all of a manifest."""
    rows = 0
    for name in work.campaigns & campaigns.keys():
        if name in work.dirty or not known.known.transfer_counts.get((work.name, name)):
            rows += campaigns[name].items_total or 0
    return rows


def _batches(weighed: Iterable[tuple[TailWork, int]]) -> Iterator[list[TailWork]]:
    """Tails together until there are too many of them, of their objects, or (the number beside each) of their rows."""
    batch: list[TailWork] = []
    objects = rows = 0
    for each, more in weighed:
        if batch and rows + more > ROWS_A_BATCH:
            yield batch
            batch, objects, rows = [], 0, 0
        batch.append(each)
        objects, rows = objects + len(each.changes.changed), rows + more
        if objects >= OBJECTS_A_BATCH or len(batch) >= TAILS_A_BATCH:
            yield batch
            batch, objects, rows = [], 0, 0
    if batch:
        yield batch
