"""Packs the reports of a load that ended long ago into one object of the status bucket, and deletes them.

In this order, so that it may be ended at any point and taken up again without a loss: what the rows say is held against
the bucket, packed, written and read back; the load is marked as archived if nothing has changed meanwhile; only then
its objects are deleted, each only if it is the version that was packed. A load of which there is news lives on. Rows
stay as they are, so that pages show what they showed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from fleet.archive.format import ARCHIVE_LIMIT, Archive, archive_key, build_archive, parse_archive
from fleet.choices import Status
from fleet.feed import load_change
from fleet.ingest.rows import clear_object_versions
from fleet.models import Load, ProgressSample, Tail, Transfer
from fleet.reconcile.diff import ObjectVersion
from fleet.state.load import ARCHIVED_FIELDS
from fleet.state.transfer import TRANSFER_FIELDS
from ifeportal.live.feed import publish
from ifeportal.models import Airline
from ifeportal.storage.background import map_in_threads
from ifeportal.work_lease import NO_LEASE, WorkLease
from loader.contract.keys import campaign_error_key, error_key, load_prefix, parse_status_key, progress_key
from loader.errors import Code, ContractError, WorldError
from loader.s3.conditional import Overtaken, put_if_unchanged
from loader.s3.interface import NOT_MODIFIED, Bucket

OBJECTS_LIMIT: Final = 70_000  # of one load: 30,000 items with two each, and some to spare
DELETES_AT_ONCE: Final = 8
LOADS_A_QUERY: Final = 500


class NotArchivable(Exception):
    """This load is not archived now; `str()` says why, in a sentence without its end."""


@dataclass(frozen=True, slots=True)
class PreparedArchive:
    """A load as its rows have it: `body` is its archive, `objects` the versions of its small objects by key."""

    load: Load
    archive: Archive
    body: bytes
    objects: dict[str, ObjectVersion]


@dataclass(frozen=True, slots=True)
class ArchiveOutcome:
    """What became of a load: `objects` deleted (or that would be), `bytes` of its archive; or why it was left alone."""

    tail: str
    campaign: str
    objects: int = 0
    bytes: int = 0
    left_alone: str = ""


def archive_after_days(airline: Airline) -> int | None:
    """After how many days the airline's loads are archived; None: never."""
    return settings.ARCHIVE_AFTER if airline.archive_after_days is None else airline.archive_after_days


def is_archivable(limit: datetime) -> Q:
    """Loads that had ended by `limit`, and of which nothing was heard since then.

    That is: complete with every listed item; or deleted aboard; or the exhibition is over and nothing moves any more.
    """
    complete = Q(status=Status.COMPLETE, items_total__isnull=False, finished_at__lte=limit)
    past = Q(campaign__exhibition_ends__lt=limit.date())
    still = Q(moved_at=None) | Q(moved_at__lte=limit)
    return Q(as_of__lte=limit) & still & (complete | Q(status=Status.DELETED) | past)


def archive_due(
    airline: Airline,
    status: Bucket,
    now: datetime,
    days: int | None,
    *,
    lease: WorkLease = NO_LEASE,
) -> Iterator[ArchiveOutcome]:
    """Archive the loads that ended `days` ago (None: only go on with what was begun), and say of each how it went.

    Raises WorldError.
    """
    for pk in _begun_or_due(airline, now, days):
        lease.heartbeat()
        yield archive_load(pk, status, now, lease=lease)


def preview(airline: Airline, now: datetime, days: int | None) -> Iterator[ArchiveOutcome]:
    """What `archive_due` would do, told from the rows alone."""
    for pk in _begun_or_due(airline, now, days):
        try:
            packed = prepare(pk)
        except NotArchivable as reason:
            yield _outcome(pk, left_alone=str(reason))
        else:
            yield _outcome(pk, objects=len(packed.objects), bytes=len(packed.body))


def _begun_or_due(airline: Airline, now: datetime, days: int | None) -> Iterator[int]:
    wanted = Q(sweeping=True, archived_at__isnull=False)
    if days is not None:
        wanted |= Q(is_archivable(now - timedelta(days=days)), archived_at=None)
    rows, last = Load.objects.filter(wanted, tail__airline=airline).order_by("pk"), 0
    while found := list(rows.filter(pk__gt=last).values_list("pk", flat=True)[:LOADS_A_QUERY]):
        yield from found
        last = found[-1]


def archive_load(pk: int, status: Bucket, now: datetime, *, lease: WorkLease = NO_LEASE) -> ArchiveOutcome:
    """Archive one load, or go on where an earlier attempt was ended. Raises WorldError."""
    try:
        packed = prepare(pk)
        if packed.load.archived_at is None:
            if list_objects(status, packed) != packed.objects:
                raise NotArchivable("its objects are not those that were last read")
            upload(status, packed)
            mark_archived(packed, now, lease)
            lease.heartbeat()
        deleted = delete_objects(status, packed, lease)
    except NotArchivable as reason:
        return _outcome(pk, left_alone=str(reason))
    return _outcome(pk, objects=deleted, bytes=len(packed.body))


def prepare(pk: int) -> PreparedArchive:
    """The load as its rows have it now. Raises NotArchivable where it cannot be packed."""
    load = Load.objects.select_related("tail__airline", "campaign").filter(pk=pk).first()
    if load is None:
        raise NotArchivable("it was deleted")
    place = load.tail.airline.name, load.tail.name, load.campaign.name
    rows = list(Transfer.objects.filter(load=load))
    archive = Archive(
        *place,
        load={name: getattr(load, name) for name in ARCHIVED_FIELDS},
        transfers={row.content: {name: getattr(row, name) for name in TRANSFER_FIELDS} for row in rows},
        samples=list(ProgressSample.objects.filter(load=load).order_by("at").values_list("at", "bytes_done")),
        title=load.campaign.title,
        version=load.campaign.version,
        starts=load.campaign.exhibition_starts,
        ends=load.campaign.exhibition_ends,
    )
    try:
        body, objects = build_archive(archive), _objects(load, rows, place)
        parse_archive(body, airline=place[0], tail=place[1], campaign=place[2])
    except ContractError as error:
        raise NotArchivable(str(error)) from error
    return PreparedArchive(load, archive, body, objects)


def _objects(load: Load, rows: list[Transfer], place: tuple[str, str, str]) -> dict[str, ObjectVersion]:
    """The objects the rows rest on. Raises BadName."""
    known = [(campaign_error_key(*place), load.error_etag, load.error_at)]
    known += [(progress_key(*place, row.content), row.progress_etag, row.progress_at) for row in rows]
    known += [(error_key(*place, row.content), row.error_etag, row.error_at) for row in rows]
    return {key: _version(etag, at) for key, etag, at in known if etag and at}


def _version(etag: str, at: datetime) -> ObjectVersion:
    return etag, int(at.timestamp())


def list_objects(status: Bucket, packed: PreparedArchive) -> dict[str, ObjectVersion]:
    """The load's objects as the bucket has them now; what is no report is passed over.

    Raises WorldError, NotArchivable.
    """
    found: dict[str, ObjectVersion] = {}
    archive = packed.archive
    prefix = load_prefix(archive.airline, archive.tail, archive.campaign)
    for count, info in enumerate(islice(status.list(prefix), OBJECTS_LIMIT + 1)):
        if count == OBJECTS_LIMIT:
            raise NotArchivable("it has too many objects")
        try:
            report = parse_status_key(info.key)
        except ContractError:
            continue  # The poll tells of it; nobody deletes it.
        if report is not None:
            found[info.key] = _version(info.etag, info.last_modified)
    return found


def upload(status: Bucket, packed: PreparedArchive) -> None:
    """Write the archive, over an older one of the same load, and read it back. Raises WorldError, NotArchivable."""
    key = _key(packed)
    try:
        put_if_unchanged(status, key, packed.body, None)
    except Overtaken:
        _replace(status, key, packed)
    if _read_archive(status, key) != packed.body:
        raise WorldError(
            Code.HASH_MISMATCH, f"GET {key}: this is not what was written a moment ago; nothing was deleted"
        )


def _replace(status: Bucket, key: str, packed: PreparedArchive) -> None:
    """Write over the archive of an earlier life of the load, but over nothing else."""
    there = status.get(key, ARCHIVE_LIMIT + 1)
    if there is None:
        raise WorldError(Code.OBJECT_GONE, f"GET {key}: there is no such object")
    if there.body == packed.body:
        return
    archive = packed.archive
    try:
        parse_archive(there.body, airline=archive.airline, tail=archive.tail, campaign=archive.campaign)
    except ContractError as error:
        raise NotArchivable(f"something else lies at {key}: {error}") from error
    try:
        put_if_unchanged(status, key, packed.body, there.etag)
    except Overtaken as error:
        raise NotArchivable("its archive was replaced meanwhile") from error


def _read_archive(status: Bucket, key: str) -> bytes | None:
    """The archive in the bucket; None if there is none. Raises WorldError."""
    there = status.get(key, ARCHIVE_LIMIT + 1)
    return there.body if there else None


def mark_archived(packed: PreparedArchive, now: datetime, lease: WorkLease) -> None:
    """Mark the load as archived, if its rows still are as they were packed. Raises NotArchivable."""
    with transaction.atomic():
        _lock_tail(packed)
        again = prepare(packed.load.pk)
        if again.load.archived_at is not None or not _is_same(again.archive, packed.archive):
            raise NotArchivable("there was news of it meanwhile")
        _set_archived(again.load, now, lease)


def delete_objects(status: Bucket, packed: PreparedArchive, lease: WorkLease) -> int:
    """Delete the objects of a marked load, if its archive is there and nothing new is; how many.

    Raises:
        NotArchivable: there was news, or no archive: the load lives on.
        WorldError: for good (then the load lives on), or for now.
    """
    try:
        body = _read_archive(status, _key(packed))
        if body is None or not _is_archive_of(body, packed):
            raise NotArchivable("its archive is not there, or of another state of it")
        left = list_objects(status, packed)
        if any(packed.objects.get(key) != version for key, version in left.items()):
            raise NotArchivable("its loader reported again")
        _delete(status, left, lease)
    except NotArchivable:
        _unarchive(packed, lease)
        raise
    except WorldError as error:
        if error.permanent:
            _unarchive(packed, lease)
        raise
    with transaction.atomic():
        Load.objects.filter(pk=packed.load.pk, archived_at__isnull=False).update(sweeping=False)
        lease.check_fence()
    return len(left)


def _delete(status: Bucket, objects: Mapping[str, ObjectVersion], lease: WorkLease) -> None:
    """Raises NotArchivable where one has been written anew since it was listed: many take minutes."""

    def drop(key: str) -> None:
        etag = objects[key][0]
        there = status.get_if_changed(key, 1, etag)
        if there is None:
            return
        if there is not NOT_MODIFIED and there.etag != etag:
            raise NotArchivable("its loader reported again")
        status.delete(key)

    keys = list(objects)
    with ThreadPoolExecutor(DELETES_AT_ONCE, "archive") as threads:
        for start in range(0, len(keys), 10 * DELETES_AT_ONCE):
            for _ in map_in_threads(threads, drop, keys[start : start + 10 * DELETES_AT_ONCE], lease):
                pass


def _unarchive(packed: PreparedArchive, lease: WorkLease) -> None:
    """The load lives on, with the objects it still has."""
    with transaction.atomic():
        _lock_tail(packed)
        load = Load.objects.select_related("tail__airline", "campaign").filter(pk=packed.load.pk).first()
        if load is not None and load.archived_at is not None:
            clear_object_versions([load.pk])
            _set_archived(load, None, lease)


def _lock_tail(packed: PreparedArchive) -> None:
    """Until the transaction ends. By id: ordered by names, its airline would be locked too, which all writers share."""
    Tail.objects.select_for_update().filter(pk=packed.load.tail_id).order_by("pk").first()


def _set_archived(load: Load, archived_at: datetime | None, lease: WorkLease) -> None:
    load.archived_at, load.sweeping = archived_at, archived_at is not None
    load.save(update_fields=["archived_at", "sweeping"])
    lease.check_fence()
    publish([load_change(load)])


def _is_same(one: Archive, other: Archive) -> bool:
    """Whether they say the same; samples may have been thinned between them, and a manifest may have got a title."""
    return (one.load, one.transfers) == (other.load, other.transfers)


def _is_archive_of(body: bytes, packed: PreparedArchive) -> bool:
    archive = packed.archive
    try:
        there = parse_archive(body, airline=archive.airline, tail=archive.tail, campaign=archive.campaign)
    except ContractError:
        return False
    return _is_same(there, archive)


def _key(packed: PreparedArchive) -> str:
    return archive_key(packed.archive.airline, packed.archive.tail, packed.archive.campaign)


def _outcome(pk: int, **more: Any) -> ArchiveOutcome:
    names = Load.objects.filter(pk=pk).values_list("tail__name", "campaign__name").first() or ("?", "?")
    return ArchiveOutcome(*names, **more)
