"""Writer of a poll: updates the rows of one airline from its status bucket, a batch of tails per transaction.

Objects are fetched by several threads; only the caller's thread uses the database. A tail that cannot be written does
not stop the others and becomes a failure of the result. Objects that were not fetched or written still differ from the
next listing, so the next poll retries them.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from campaigns.models import Campaign
from fleet.ingest import anomalies
from fleet.ingest.anomalies import OpenAnomaly
from fleet.ingest.apply import ApplyResult, apply_tails
from fleet.ingest.updates import Catalog, TailUpdate
from fleet.models import Tail
from fleet.polling.batches import TAILS_A_BATCH, TailWork, build_update, make_batches
from fleet.polling.fetcher import Fetcher
from fleet.polling.provisioning import ProvisionedRows, load_sizes, provision_rows
from fleet.polling.result import PollResult, failure_message
from fleet.polling.snapshot import DatabaseSnapshot
from fleet.reconcile.diff import ListingDiff, diff_listing
from fleet.reconcile.limits import Limits
from fleet.reconcile.pending import NOT_SERVED, PendingChanges, TailChanges
from fleet.reconcile.problems import BODY_PROBLEMS, Problem, Problems, stale_object_problem
from ifeportal.database_errors import is_database_unavailable
from ifeportal.models import Airline
from ifeportal.work_lease import LeaseLost, WorkLease
from loader.errors import Code
from loader.s3.interface import ObjectInfo

RECOUNT_THRESHOLD: Final = 100  # keys: a tail's stored count is updated if it is off by this and a quarter
BACKLOG_TIME_LIMIT: Final = 5.0  # seconds of one poll for tails with more changes than fit in a turn
UNWRITTEN_TAILS: Final = 3  # that fail the poll if no other tail was written
MAX_RETRY_PAUSE: Final = timedelta(minutes=1)  # between two attempts to write a tail
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Writer:
    """State shared by the partitions of one poll of one airline.

    Calls the heartbeat of `lease` before each batch; a lost lease ends the poll. `elapsed` seconds were spent on
    fetching and writing the changes of one partition; after `time_limit` the rest is left to the next poll.
    `catching_up`: the poll before had no time for all changes. `unwritten` counts the tails that could not be written.
    """

    airline: Airline
    fetcher: Fetcher
    now: datetime
    limits: Limits
    lease: WorkLease
    time_limit: float
    catching_up: bool = False
    result: PollResult = field(default_factory=PollResult)
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)
    elapsed: float = 0.0
    unwritten: int = 0
    _reread_keys: set[str] = field(default_factory=set)  # keys with an open anomaly whose bytes were read again

    def add_failure(self, sentence: str) -> None:
        self.result += PollResult(failures=(sentence,))

    def write_listing(self, objects: Iterable[ObjectInfo], snapshot: DatabaseSnapshot, limits: Limits) -> ListingDiff:
        """Compare a listing with the rows and write the changes as they are found; return the rest for `finish`."""
        served = snapshot.last_served() if self.catching_up else None
        found = ListingDiff(Problems(limits.anomalies), PendingChanges(limits, served))
        for tails in diff_listing(objects, snapshot.known, limits, found):
            self._write_work(_work_of(tails), snapshot, found)
        return found

    def finish(self, snapshot: DatabaseSnapshot, found: ListingDiff) -> None:
        """Write the remaining changes, compare loads with newer manifests, and record anomalies."""
        work = _work_of(found.changes.take_turns())
        for tail, campaign in snapshot.dirty:
            work.setdefault(tail, TailWork(tail)).dirty.add(campaign)
        self._write_work(work, snapshot, found)
        self._write_rounds(snapshot, found)
        self._check_unwritten()
        self.result += PollResult(
            objects_seen=found.objects,
            objects_changed=found.changed + len(found.deleted_keys),
            unfinished=int(found.unfinished or found.changes.left_out > 0),
            anomalies=self._record_anomalies(snapshot, found),
        )
        self._reread_keys, self.elapsed = set(), 0.0

    def _write_rounds(self, snapshot: DatabaseSnapshot, found: ListingDiff) -> None:
        """Write what tails have beyond their turns, for a short time: the other tails wait for the next poll."""
        end = self.elapsed + BACKLOG_TIME_LIMIT
        is_shared = self.time_limit < math.inf and not snapshot.known.partition.endswith("/")
        for number, tails in enumerate(found.changes.rounds()):
            if is_shared and number and self.elapsed >= end:
                found.unfinished = True
            if found.unfinished:
                break
            self._write_work(_work_of(tails), snapshot, found)

    def update_key_counts(self, snapshot: DatabaseSnapshot, found: ListingDiff) -> None:
        """Store the number of keys of each tail where it changed a lot. Airlines are partitioned by these counts."""
        changed = []
        for name, tail in snapshot.tails.items():
            if not f"{name}/".startswith(snapshot.known.partition):
                continue
            count = found.keys.get(name, 0)
            if not found.is_complete:
                count = max(count, tail.keys)
            if abs(count - tail.keys) > RECOUNT_THRESHOLD + tail.keys // 4:
                changed.append(Tail(pk=tail.pk, keys=count))
        Tail.objects.bulk_update(changed, ["keys"], batch_size=TAILS_A_BATCH)

    def _write_work(self, work: dict[str, TailWork], snapshot: DatabaseSnapshot, found: ListingDiff) -> None:
        if not work:
            return
        rows = provision_rows(self.airline, self.limits, found, f"{self.airline.name}/{snapshot.known.partition}")
        anomalous = {row.key for row in snapshot.anomalies.values()}
        started = time.monotonic() - self.elapsed
        served = snapshot.last_served()
        names = (work.keys() & rows.tails.keys()) - self._postponed(snapshot)
        writable = [work[name] for name in sorted(names, key=lambda name: (served.get(name, NOT_SERVED), name))]
        for batch in make_batches(writable, snapshot.known.transfer_counts, rows.campaigns):
            self.lease.heartbeat()
            self._reread_keys |= anomalous & self._write_batch(batch, rows, found.problems)
            self.elapsed = time.monotonic() - started
            if self.elapsed >= self.time_limit:
                found.unfinished = True
                break

    def _write_batch(self, batch: list[TailWork], rows: ProvisionedRows, problems: Problems) -> set[str]:
        """Fetch and write the changed objects of a batch; return the keys of those whose bytes were read."""
        self._load_sizes(rows.campaigns, set().union(*(work.campaigns for work in batch)))
        wanted = [each for work in batch for each in work.changes.changed if rows.has_campaign(each.key)]
        fetched = self.fetcher.read(wanted, self.sizes)
        if fetched.failure is not None:
            self.add_failure(failure_message("status", fetched.failure))
        for problem in fetched.problems:
            problems.add(problem)
        works = {rows.tails[work.name]: work for work in batch}
        updates = {pk: build_update(work, fetched, rows, problems) for pk, work in works.items()}
        updates = {pk: update for pk, update in updates.items() if update.loads or update.heartbeat}
        self._apply(updates, works, Catalog(rows.campaigns, self.sizes), problems)
        return {each.name for each in wanted if not each.unchanged_bytes and each.name in fetched.by_key}

    def _load_sizes(self, campaigns: Mapping[str, Campaign], names: set[str]) -> None:
        missing = {campaigns[name].pk: name for name in names if name in campaigns and name not in self.sizes}
        if missing:
            self.sizes |= load_sizes(missing)

    def _apply(
        self, updates: dict[int, TailUpdate], works: Mapping[int, TailWork], catalog: Catalog, problems: Problems
    ) -> None:
        """Write the updates. If that fails, halve them until the tail that cannot be written is found."""
        pending = [updates] if updates else []
        while pending:
            part = pending.pop()
            try:
                applied = apply_tails(self.airline, part, catalog, self.now, lease=self.lease)
            except LeaseLost:
                raise
            except Exception as error:  # logged once the tail that causes it is known
                if is_database_unavailable(error):
                    raise
                if len(part) > 1:
                    pks = list(part)
                    half = len(pks) // 2
                    pending += [{pk: part[pk] for pk in some} for some in (pks[half:], pks[:half])]
                else:
                    self._report_unwritten(works[next(iter(part))].name, error, problems)
            else:
                self._add_applied(applied, works, problems)

    def _add_applied(self, applied: ApplyResult, works: Mapping[int, TailWork], problems: Problems) -> None:
        self.result += PollResult(transfers_changed=applied.transfers, changes=applied.transfers + applied.loads)
        for pk, superseded in applied.superseded.items():
            for each in works[pk].changes.changed:
                if (each.key.kind, each.key.campaign, each.key.content) in superseded:
                    problems.add(stale_object_problem(each.name, each.etag, each.at))

    def _report_unwritten(self, tail: str, error: Exception, problems: Problems) -> None:
        """Report the tail at once, in a transaction of its own: raises the error of a database that is unavailable."""
        logger.error("failed to write the changes of %s/%s", self.airline.name, tail, exc_info=error)
        self.unwritten += 1
        detail = f"The changes of this tail could not be written ({type(error).__name__}). They are retried."
        problem = Problem(f"{self.airline.name}/{tail}/", Code.INTERNAL, detail)
        anomalies.upsert_open(self.airline, "status", [problem], self.now)
        problems.add(problem)

    def _postponed(self, snapshot: DatabaseSnapshot) -> set[str]:
        """Return the tails that could not be written and are not due for another attempt."""
        start = len(self.airline.name) + 1
        rows = (row for row in snapshot.anomalies.values() if row.code == Code.INTERNAL)
        return {row.key[start:].removesuffix("/") for row in rows if self.now < row.last_seen + retry_pause(row)}

    def _check_unwritten(self) -> None:
        """Fail the poll if nothing can be written at all: then the cause is not one tail."""
        if self.unwritten >= UNWRITTEN_TAILS and not self.result.changes:
            self.add_failure(f"{self.unwritten} tails could not be written, and no other was")

    def _record_anomalies(self, snapshot: DatabaseSnapshot, found: ListingDiff) -> int:
        """Record the anomalies found and return how many are open. Problems of bytes not read again stay open."""
        reread = self._reread_keys.union(found.deleted_keys)
        postponed = {f"{self.airline.name}/{tail}/" for tail in self._postponed(snapshot)}
        lasting = [
            row
            for row in snapshot.anomalies.values()
            if not found.is_complete or (row.code in BODY_PROBLEMS and row.key not in reread) or row.key in postponed
        ]
        return anomalies.replace_open(
            self.airline, "status", found.problems, snapshot.anomalies, self.now, unchanged=lasting
        )


def _work_of(tails: Mapping[str, TailChanges]) -> dict[str, TailWork]:
    return {name: TailWork(name, changes) for name, changes in tails.items()}


def retry_pause(row: OpenAnomaly) -> timedelta:
    """Return how long after an attempt a tail that cannot be written is tried again: as long as it has been failing."""
    return min(max(row.last_seen - row.first_seen, timedelta()), MAX_RETRY_PAUSE)


def remaining_limits(limits: Limits, snapshot: DatabaseSnapshot) -> Limits:
    """Return the limits, less the open anomalies that stay open."""
    last = sum(row.code in BODY_PROBLEMS for row in snapshot.anomalies.values())
    return replace(limits, anomalies=max(limits.anomalies - last, 0))
