"""Restore archived loads into a database that does not have them: a new one, or one restored from a backup.

Reads the archives of an airline that have no load, strictly and in bounded memory, and creates their rows, marked as
archived. An archive that cannot be read becomes an anomaly. Existing rows are never changed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from django.db import DataError, IntegrityError, transaction

from campaigns.models import Campaign
from fleet.archive.format import ARCHIVE_LIMIT, Archive, archive_prefix, parse_archive, parse_archive_key
from fleet.choices import ServiceStatus
from fleet.feed import load_change, publish_totals, tail_change
from fleet.ingest import anomalies
from fleet.ingest.rows import lock_tails
from fleet.models import Anomaly, Load, ProgressFields, ProgressSample, Tail, Transfer
from fleet.models.load import LoadKey
from fleet.reconcile.limits import Limits
from fleet.reconcile.problems import BAD_ARCHIVE, Problem, Problems
from fleet.stats import rollup
from fleet.stats.item_totals import ItemChanges
from ifeportal.models import Airline
from ifeportal.work_lease import NO_LEASE, WorkLease
from loader.errors import Code, ContractError, WorldError
from loader.s3.interface import Bucket, ObjectInfo

ROWS_A_STATEMENT: Final = 1_000
M = TypeVar("M", bound=ProgressFields)
logger = logging.getLogger(__name__)


class LimitReached(Exception):
    """The load gets no rows; `str()` is the reason."""


@dataclass(frozen=True, slots=True)
class _StoredArchive:
    """An archive, and when it was written."""

    archive: Archive
    at: datetime


def restore(
    airline: Airline,
    status: Bucket,
    now: datetime,
    *,
    limits: Limits | None = None,
    lease: WorkLease = NO_LEASE,
) -> int:
    """Create the rows of archives without any; return how many loads. Raises WorldError."""
    bounds = limits or Limits()
    known = set(Load.objects.filter(tail__airline=airline).values_list("tail__name", "campaign__name"))
    known_bad = {key: row for (key, code), row in anomalies.open_rows(airline, "status").items() if code == BAD_ARCHIVE}
    problems, lasting = Problems(bounds.anomalies), set()
    restored = 0
    for info in status.list(archive_prefix(airline.name)):
        lease.heartbeat()
        if info.key in known_bad and known_bad[info.key].etag == info.etag:
            lasting.add(info.key)
            continue
        try:
            place = _load_key(info.key)
            if place not in known:
                _restore_load(airline, _read(status, info), bounds, lease)
                restored += 1
                logger.info("restored %s/%s/%s from its archive", airline.name, *place)
        except (ContractError, LimitReached) as error:
            problems.add(Problem(info.key, BAD_ARCHIVE, str(error), info.etag))
    anomalies.upsert_open(airline, "status", problems, now)
    resolved = [
        row.pk for key, row in known_bad.items() if key not in lasting and key not in {each.key for each in problems}
    ]
    Anomaly.objects.filter(pk__in=resolved).update(resolved_at=now)
    return restored


def _load_key(key: str) -> LoadKey:
    _, tail, campaign = parse_archive_key(key)
    return tail, campaign


def _read(status: Bucket, info: ObjectInfo) -> _StoredArchive:
    """Raises WorldError, BadArchive, BadName."""
    airline, tail, campaign = parse_archive_key(info.key)
    fetched = status.get(info.key, ARCHIVE_LIMIT + 1)
    if fetched is None:
        raise WorldError(Code.OBJECT_GONE, f"GET {info.key}: no such object")
    return _StoredArchive(
        parse_archive(fetched.body, airline=airline, tail=tail, campaign=campaign), fetched.last_modified
    )


def _restore_load(airline: Airline, stored: _StoredArchive, bounds: Limits, lease: WorkLease) -> None:
    """Create all rows of the load in one transaction. Raises LimitReached."""
    archive = stored.archive
    try:
        with transaction.atomic():
            load = Load(tail=_tail(airline, archive, bounds), campaign=_campaign(airline, archive, bounds))
            _fill(load, archive.load)
            load.archived_at = stored.at
            load.save(force_insert=True)
            rows = [_fill(Transfer(load=load, content=name), values) for name, values in archive.transfers.items()]
            Transfer.objects.bulk_create(rows, batch_size=ROWS_A_STATEMENT)
            samples = [ProgressSample(load=load, at=at, bytes_done=count) for at, count in archive.samples]
            ProgressSample.objects.bulk_create(samples, batch_size=ROWS_A_STATEMENT)
            tail = rollup.tails(Tail.objects.filter(pk=load.tail_id)).get()
            publish_totals(
                [airline.pk],
                [load.campaign_id],
                tails=[load.tail_id],
                items=_item_changes(load, rows),
                rows=[load_change(load), tail_change(tail)],
                lease=lease,
            )
    except (IntegrityError, DataError) as error:
        # A name that differs from another only in case, a value outside of a column's range, or a poll was first.
        raise LimitReached("its rows conflict with existing ones, or a value is out of range") from error


def _item_changes(load: Load, rows: Iterable[Transfer]) -> ItemChanges:
    changes = ItemChanges()
    for row in rows:
        in_service = load.tail.duty == ServiceStatus.ACTIVE
        changes.add((load.campaign_id, row.content), None, row.status if in_service else None, row.pk)
    return changes


def _fill(row: M, values: Mapping[str, Any]) -> M:
    for name, value in values.items():
        setattr(row, name, value)
    return row


def _tail(airline: Airline, archive: Archive, bounds: Limits) -> Tail:
    row = Tail.objects.filter(airline=airline, name=archive.tail).first()
    if row is None:
        if Tail.objects.filter(airline=airline).count() >= bounds.tails or Tail.objects.count() >= bounds.tails_in_all:
            raise LimitReached("the limit of tails is reached")
        row = Tail.objects.create(airline=airline, name=archive.tail, discovered=True)
    return lock_tails(airline, [row.pk])[row.pk]


def _campaign(airline: Airline, archive: Archive, bounds: Limits) -> Campaign:
    rows = Campaign.objects.filter(airline=airline)
    row = rows.filter(name=archive.campaign).first()
    if row is None:
        if rows.count() >= bounds.campaigns or Campaign.objects.count() >= bounds.campaigns_in_all:
            raise LimitReached("the limit of campaigns is reached")
        row = Campaign.objects.create(
            airline=airline,
            name=archive.campaign,
            discovered=True,
            title=archive.title,
            version=archive.version,
            exhibition_starts=archive.starts,
            exhibition_ends=archive.ends,
        )
    row.airline = airline
    return row
