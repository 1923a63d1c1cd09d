"""Anomalies of an airline: open the new ones, resolve those that are no longer found.

Writes only differences, so that a poll that finds the same anomalies writes nothing. Rows that third parties can cause
are bounded: open ones by the limit of `Problems` (one row reports that there are more), resolved ones by
`RESOLVED_LIMIT` per airline.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from django.db import transaction

from fleet.models import Anomaly
from fleet.reconcile.problems import Problem, Problems
from ifeportal.models import Airline
from ifeportal.storage.object_versions import storable_etag, storable_text

RESOLVED_LIMIT: Final = 500
DETAIL_LIMIT: Final = 2_000  # characters
BucketName = Literal["media", "status"]
AnomalyKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class OpenAnomaly:
    """An open row, to compare with a new problem."""

    pk: int
    key: str
    code: str
    detail: str
    etag: str
    first_seen: datetime
    last_seen: datetime


_OPEN_COLUMNS: Final = ("pk", "key", "problem", "detail", "etag", "first_seen", "last_seen")


def open_rows(airline: Airline | None, bucket: BucketName) -> dict[AnomalyKey, OpenAnomaly]:
    """Return the open anomalies of an airline (None: of no airline), by key and code."""
    rows = Anomaly.objects.filter(airline=airline, bucket=bucket, resolved_at=None)
    found = (OpenAnomaly(*row) for row in rows.values_list(*_OPEN_COLUMNS))
    return {(row.key, row.code): row for row in found}


def replace_open(
    airline: Airline | None,
    bucket: BucketName,
    problems: Problems,
    known: Mapping[AnomalyKey, OpenAnomaly],
    now: datetime,
    *,
    unchanged: Iterable[OpenAnomaly] = (),
) -> int:
    """Make `problems` and `unchanged` the open rows; return how many there are, dropped ones included."""
    wanted = {(row.key, row.code): _row(airline, bucket, row, now) for row in _all(airline, problems)}
    last = {(row.key, row.code) for row in unchanged} - wanted.keys()
    new = [row for place, row in wanted.items() if not _is_unchanged(known.get(place), row)]
    resolved = [row.pk for place, row in known.items() if place not in wanted and place not in last]
    if new or resolved:
        with transaction.atomic():
            _write(new, resolved, now)
            _prune(airline, bucket)
    return len(problems) + len(last)


def upsert_open(airline: Airline, bucket: BucketName, problems: Iterable[Problem], now: datetime) -> None:
    """Open or renew rows of what an object's bytes contain, in the transaction that marks the object as read.

    `replace_open` at the end of the poll is not enough: if the poll is killed before, the object counts as read, and
    its problem would never be recorded.
    """
    _write([_row(airline, bucket, _storable(problem), now) for problem in problems], [], now)


def _all(airline: Airline | None, problems: Problems) -> Iterable[Problem]:
    yield from (_storable(problem) for problem in problems)
    if problems.dropped:
        home = f"{airline.name}/" if airline else "/"
        yield Problem(home, "TOO_MANY_ANOMALIES", "There are more anomalies here than are recorded.")


def _storable(problem: Problem) -> Problem:
    detail = storable_text(problem.detail)[:DETAIL_LIMIT]
    return Problem(storable_text(problem.key), problem.code, detail, storable_etag(problem.etag))


def _row(airline: Airline | None, bucket: BucketName, problem: Problem, now: datetime) -> Anomaly:
    return Anomaly(
        airline=airline,
        bucket=bucket,
        key=problem.key,
        key_hash=hashlib.sha256(problem.key.encode()).hexdigest(),
        problem=str(problem.code),
        detail=problem.detail,
        etag=problem.etag,
        first_seen=now,
        last_seen=now,
    )


def _is_unchanged(known: OpenAnomaly | None, row: Anomaly) -> bool:
    return known is not None and (known.detail, known.etag) == (row.detail, row.etag)


def _write(new: list[Anomaly], resolved: list[int], now: datetime) -> None:
    if resolved:
        Anomaly.objects.filter(pk__in=resolved).update(resolved_at=now)
    if not new:
        return
    Anomaly.objects.bulk_create(
        sorted(new, key=lambda row: (row.key_hash, row.problem)),  # in one order: two writers must not deadlock
        update_conflicts=True,
        unique_fields=["bucket", "key_hash", "problem"],
        update_fields=["airline", "detail", "etag", "last_seen", "resolved_at"],
    )


def _prune(airline: Airline | None, bucket: BucketName) -> None:
    resolved = Anomaly.objects.filter(airline=airline, bucket=bucket, resolved_at__isnull=False)
    oldest = resolved.order_by("-resolved_at", "-pk").values_list("pk", flat=True)[RESOLVED_LIMIT:]
    old = list(oldest)
    if old:
        Anomaly.objects.filter(pk__in=old).delete()
