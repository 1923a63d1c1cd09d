"""The known state of an airline, read from its rows in a constant number of queries, to compare a listing with."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from django.db.models import Aggregate, BigIntegerField, Count, F, Func, Q, TextField, Value
from django.db.models.functions import Cast, Concat

from campaigns.models import Campaign
from fleet.ingest.anomalies import OpenAnomaly, open_rows
from fleet.models import Load, Tail, Transfer
from fleet.models.load import LoadKey
from fleet.reconcile.diff import KnownObjects, ObjectVersion
from fleet.reconcile.problems import OLDER_OBJECT, Problem
from ifeportal.models import Airline
from loader.contract.keys import campaign_error_key, error_key, heartbeat_key, progress_key
from loader.errors import ContractError

LOADS_A_CHUNK: Final = 200
SEPARATOR: Final = "\x1f"  # between packed texts; no name has it
PROGRESS_SUFFIX: Final = progress_key("a", "a", "a", "a").rpartition("/a")[2]
ERROR_SUFFIX: Final = error_key("a", "a", "a", "a").rpartition("/a")[2]


class EpochSeconds(Func):
    """A timestamp as whole seconds since 1970: reading 100,000 of them takes a fifth of the time."""

    output_field = BigIntegerField()

    def as_postgresql(self, compiler: Any, connection: Any) -> Any:
        return self.as_sql(compiler, connection, template="EXTRACT(EPOCH FROM %(expressions)s)::bigint")

    def as_sqlite(self, compiler: Any, connection: Any, **extra_context: Any) -> Any:
        return self.as_sql(
            compiler, connection, **extra_context, template="CAST(STRFTIME('%%%%s', %(expressions)s) AS INTEGER)"
        )


class PackedText(Aggregate):
    """The texts of all rows, joined in any order."""

    function = "STRING_AGG"
    output_field = TextField()

    def as_sqlite(self, compiler: Any, connection: Any, **extra_context: Any) -> Any:
        return self.as_sql(compiler, connection, **extra_context, function="GROUP_CONCAT")


@dataclass(frozen=True, slots=True)
class TailCount:
    """A tail's id, about how many keys it has, and when the portal last saw something new of it."""

    pk: int
    keys: int
    seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class DatabaseSnapshot:
    """The rows: `known` objects, the open `anomalies` of the status bucket, and `dirty` loads.

    A load, as (tail, campaign), is dirty until its transfers were compared with the newest manifest. `tails` are all of
    the airline.
    """

    known: KnownObjects
    anomalies: dict[tuple[str, str], OpenAnomaly]
    dirty: frozenset[LoadKey]
    tails: dict[str, TailCount]

    def last_served(self) -> dict[str, datetime]:
        """Return when each tail was last written, by its name; tails that never were are left out."""
        return {name: tail.seen_at for name, tail in self.tails.items() if tail.seen_at is not None}

    def restrict_to(self, keys: Collection[str]) -> None:
        """Remove all objects and anomalies except those with these keys."""
        for key in self.known.versions.keys() - set(keys):
            del self.known.versions[key]
        for place in [place for place, row in self.anomalies.items() if row.key not in keys]:
            del self.anomalies[place]


@contextmanager
def _collection_paused() -> Iterator[None]:
    """Pause the garbage collector of the process: it would visit 100,000 new tuples several times, which have no cycles
    and stay until the end of the poll.
    """
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()


@_collection_paused()
def load_snapshot(airline: Airline, partition: str = "", keys: Collection[str] | None = None) -> DatabaseSnapshot:
    """Return the rows of a partition of `airline`, or only those of the objects with these `keys`, in five queries.

    Archived loads are left out: their objects were deleted.
    """
    anomalies = _open_anomalies(airline, partition, keys)
    named = None if keys is None else _tails_of(airline, keys)
    rows = Tail.objects.filter(airline=airline).annotate(at=EpochSeconds("heartbeat_at"))
    tails = list(rows.values_list("pk", "name", "heartbeat_etag", "at", "keys", "seen_at"))
    selected = {
        pk: name for pk, name, *_ in tails if (f"{name}/".startswith(partition) if named is None else name in named)
    }
    campaigns = dict(Campaign.objects.filter(airline=airline).values_list("pk", "name"))
    versions = {
        heartbeat_key(airline.name, name): (etag, at)
        for pk, name, etag, at, *_ in tails
        if pk in selected and etag and at is not None
    }
    some = None if len(selected) == len(tails) else selected
    loads, dirty = _loads(airline, _below("", airline, some), versions, selected, campaigns)
    counts = _transfers(airline, _below("load__", airline, some), versions, loads)
    known = KnownObjects(
        airline=airline.name,
        partition=partition,
        versions=versions if keys is None else {key: at for key, at in versions.items() if key in keys},
        tails=frozenset(name for _, name, *_ in tails),
        campaigns=frozenset(campaigns.values()),
        transfer_counts=counts,
        known_stale={
            row.key: Problem(row.key, row.code, row.detail, row.etag)
            for row in anomalies.values()
            if row.code == OLDER_OBJECT
        },
    )
    return DatabaseSnapshot(
        known, anomalies, dirty, {name: TailCount(pk, count, seen_at) for pk, name, _, _, count, seen_at in tails}
    )


def _open_anomalies(
    airline: Airline, partition: str, keys: Collection[str] | None
) -> dict[tuple[str, str], OpenAnomaly]:
    prefix = f"{airline.name}/{partition}"
    found = open_rows(airline, "status").items()
    return {place: row for place, row in found if (row.key.startswith(prefix) if keys is None else row.key in keys)}


def _below(path: str, airline: Airline, tails: Collection[int] | None) -> Q:
    """Return the condition for the loads of some tails of the airline, or of all."""
    return Q(**{f"{path}tail__airline": airline}) if tails is None else Q(**{f"{path}tail__in": list(tails)})


def _tails_of(airline: Airline, keys: Collection[str]) -> set[str]:
    start = len(airline.name) + 1
    return {key[start:].partition("/")[0] for key in keys}


def _loads(
    airline: Airline,
    condition: Q,
    versions: dict[str, ObjectVersion],
    tails: dict[int, str],
    campaigns: dict[int, str],
) -> tuple[dict[int, LoadKey], frozenset[LoadKey]]:
    """Return tail and campaign of each load by its id, and those of the dirty ones."""
    loads: dict[int, LoadKey] = {}
    dirty: set[LoadKey] = set()
    rows = (
        Load.objects.filter(condition, archived_at=None)
        .order_by()
        .annotate(newest=F("campaign__manifest_etag"), at=EpochSeconds("error_at"))
    )
    fields = rows.values_list("pk", "tail_id", "campaign_id", "error_etag", "at", "manifest_etag", "newest")
    for pk, tail, campaign, etag, at, manifest, newest in fields:
        if tail in tails and campaign in campaigns:
            place = loads[pk] = tails[tail], campaigns[campaign]
            if manifest != newest:
                dirty.add(place)
            if etag and at is not None:
                versions[campaign_error_key(airline.name, *place)] = etag, at
    return loads, frozenset(dirty)


def _transfers(
    airline: Airline, condition: Q, versions: dict[str, ObjectVersion], loads: dict[int, LoadKey]
) -> Counter[LoadKey]:
    """Return how many transfers each load has, and add the versions of their objects.

    The database packs the transfers of a load into one text: the conversion of a row for each transfer would take most
    of the time of a poll without changes.
    """
    counts: Counter[LoadKey] = Counter()
    transfers = Transfer.objects.filter(condition, load__archived_at=None).order_by()
    packed = transfers.values("load_id").annotate(all=Count("pk"), **_packed("progress"), **_packed("error"))
    fields = packed.values_list("load_id", "all", "progress_text", "progress_count", "error_text", "error_count")
    for pk, count, progress, progress_count, error, error_count in fields.iterator(LOADS_A_CHUNK):
        head = _key_prefix(airline.name, *loads[pk]) if pk in loads else None
        if head is None:
            continue
        counts[loads[pk]] += count
        for kind, suffix, text, number in (
            ("progress", PROGRESS_SUFFIX, progress, progress_count),
            ("error", ERROR_SUFFIX, error, error_count),
        ):
            if number:
                _add_versions(versions, head, suffix, _unpack(text, number) or _unpacked(pk, kind))
    return counts


def _packed(kind: str) -> dict[str, Aggregate]:
    """Return annotations: the text of a load's objects of this kind, and their number."""
    etag, at = f"{kind}_etag", f"{kind}_at"
    exists = Q(**{f"{at}__isnull": False}) & ~Q(**{etag: ""})
    seconds = Cast(EpochSeconds(at), TextField())
    fields = Concat("content", Value(SEPARATOR), etag, Value(SEPARATOR), seconds, output_field=TextField())
    text, count = PackedText(fields, Value(SEPARATOR), filter=exists), Count("pk", filter=exists)
    return {f"{kind}_text": text, f"{kind}_count": count}


def _unpack(text: str, number: int) -> list[list[str]] | None:
    """Return contents, ETags and seconds; None if one of them contains the separator."""
    parts = text.split(SEPARATOR)
    return [parts[start::3] for start in range(3)] if len(parts) == 3 * number else None


def _unpacked(load: int, kind: str) -> list[list[str]]:
    """Return the same as `_unpack` for a load, with a row for each object."""
    etag, at = f"{kind}_etag", f"{kind}_at"
    rows = Transfer.objects.filter(load=load).exclude(**{etag: ""}).exclude(**{at: None}).order_by()
    found = list(rows.annotate(seconds=EpochSeconds(at)).values_list("content", etag, "seconds"))
    return [[str(row[column]) for row in found] for column in range(3)]


def _add_versions(versions: dict[str, ObjectVersion], head: str, suffix: str, columns: list[list[str]]) -> None:
    """Add versions. The keys are concatenated here: building 100,000 checked keys takes seconds."""
    contents, etags, seconds = columns
    keys = [f"{head}{content}{suffix}" for content in contents]
    versions.update(zip(keys, zip(etags, map(int, seconds), strict=True), strict=True))


@lru_cache(maxsize=65_536)
def _key_prefix(airline: str, tail: str, campaign: str) -> str | None:
    """Return the prefix of a load's objects; None if a name created by hand allows no object."""
    try:
        return progress_key(airline, tail, campaign, "a").removesuffix(f"a{PROGRESS_SUFFIX}")
    except ContractError:
        return None
