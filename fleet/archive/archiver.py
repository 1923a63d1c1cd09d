"""Pack the reports of a load that ended long ago into one object of the status bucket, and delete them.

The order of steps lets the work be stopped at any point and resumed without a loss. The rows are compared with the
bucket, packed, uploaded and read back. The load is marked as archived if nothing changed meanwhile. Only then its
objects are deleted, each only in the version that was packed. New reports make the load active again. Rows stay as they
are, so that pages show the same figures.
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
from fleet.attention import keeping
from fleet.choices import Status
from fleet.feed import load_change
from fleet.ingest.rows import clear_object_versions
from fleet.models import Load, ProgressSample, Tail, Transfer
from fleet.reconcile.diff import NEVER, ObjectVersion
from fleet.state.load import ARCHIVED_FIELDS
from fleet.state.transfer import TRANSFER_FIELDS
from ifeportal.live.feed import publish
from ifeportal.models import Airline
from ifeportal.storage.background import map_in_threads
from ifeportal.storage.conditional_writes import replace_object
from ifeportal.storage.object_versions import is_dated, is_same_version
from ifeportal.work_lease import NO_LEASE, WorkLease
from loader.contract.keys import campaign_error_key, error_key, load_prefix, parse_status_key, progress_key
from loader.errors import Code, ContractError, WorldError
from loader.s3.conditional import Overtaken
from loader.s3.interface import Bucket, GetResult, NotModified, ObjectInfo

OBJECTS_LIMIT: Final = 70_000  # of one load: 30,000 items with two objects each, and a margin
DELETES_AT_ONCE: Final = 8
LOADS_A_QUERY: Final = 500


class NotArchivable(Exception):
    """The load cannot be archived now; `str()` is the reason, without a full stop."""


@dataclass(frozen=True, slots=True)
class PreparedArchive:
    """A load and its archive: `body` is the archive's bytes, `objects` the versions of its small objects by key."""

    load: Load
    archive: Archive
    body: bytes
    objects: dict[str, ObjectVersion]


@dataclass(frozen=True, slots=True)
class ArchiveOutcome:
    """The result for a load: `objects` deleted and `bytes` of the archive, or the reason it was left alone."""

    tail: str
    campaign: str
    objects: int = 0
    bytes: int = 0
    left_alone: str = ""


def archive_after_days(airline: Airline) -> int | None:
    """Return after how many days the airline's loads are archived; None: never."""
    return settings.ARCHIVE_AFTER if airline.archive_after_days is None else airline.archive_after_days


def is_archivable(limit: datetime) -> Q:
    """Return the condition for loads that had ended by `limit` and reported nothing since then.

    Ended are: loads complete with every listed item, loads deleted on the aircraft, and loads whose exhibition is over.
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
    """Archive the loads that ended `days` ago (None: only resume those already marked), and yield each outcome.

    Raises WorldError.
    """
    for pk in _begun_or_due(airline, now, days):
        lease.heartbeat()
        yield archive_load(pk, status, now, lease=lease)


def preview(airline: Airline, now: datetime, days: int | None) -> Iterator[ArchiveOutcome]:
    """Yield what `archive_due` would do, from the rows alone."""
    for pk in _begun_or_due(airline, now, days):
        try:
            prepared = prepare(pk)
        except NotArchivable as reason:
            yield _outcome(pk, left_alone=str(reason))
        else:
            yield _outcome(pk, objects=len(prepared.objects), bytes=len(prepared.body))


def _begun_or_due(airline: Airline, now: datetime, days: int | None) -> Iterator[int]:
    wanted = Q(sweeping=True, archived_at__isnull=False)
    if days is not None:
        wanted |= Q(is_archivable(now - timedelta(days=days)), archived_at=None)
    rows, last = Load.objects.filter(wanted, tail__airline=airline).order_by("pk"), 0
    while found := list(rows.filter(pk__gt=last).values_list("pk", flat=True)[:LOADS_A_QUERY]):
        yield from found
        last = found[-1]


def archive_load(pk: int, status: Bucket, now: datetime, *, lease: WorkLease = NO_LEASE) -> ArchiveOutcome:
    """Archive one load, or resume an earlier attempt. Raises WorldError."""
    try:
        prepared = prepare(pk)
        if prepared.load.archived_at is None:
            there = list_objects(status, prepared)
            if there.keys() != prepared.objects.keys() or not _are_known(there, prepared):
                raise NotArchivable("its objects differ from those last read")
            upload(status, prepared)
            mark_archived(prepared, now, lease)
            lease.heartbeat()
        deleted = delete_objects(status, prepared, lease)
    except NotArchivable as reason:
        return _outcome(pk, left_alone=str(reason))
    return _outcome(pk, objects=deleted, bytes=len(prepared.body))


def prepare(pk: int) -> PreparedArchive:
    """Return the archive of a load as its rows are now. Raises NotArchivable."""
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
    """Return the versions of the objects the rows were read from. Raises BadName."""
    known = [(campaign_error_key(*place), load.error_etag, load.error_at)]
    known += [(progress_key(*place, row.content), row.progress_etag, row.progress_at) for row in rows]
    known += [(error_key(*place, row.content), row.error_etag, row.error_at) for row in rows]
    return {key: (etag, _second(at)) for key, etag, at in known if etag and at}


def _second(at: datetime) -> int:
    return int(at.timestamp())


def _are_known(listed: Mapping[str, ObjectInfo], prepared: PreparedArchive) -> bool:
    """Return whether these objects are the versions that the rows were read from."""
    for key, info in listed.items():
        etag, at = prepared.objects.get(key, NEVER)
        if not is_same_version(etag, info) or (is_dated(info.last_modified) and _second(info.last_modified) != at):
            return False
    return True


def list_objects(status: Bucket, prepared: PreparedArchive) -> dict[str, ObjectInfo]:
    """Return the load's objects in the bucket; objects that are no report are ignored.

    Raises WorldError, NotArchivable.
    """
    found: dict[str, ObjectInfo] = {}
    archive = prepared.archive
    prefix = load_prefix(archive.airline, archive.tail, archive.campaign)
    for count, info in enumerate(islice(status.list(prefix), OBJECTS_LIMIT + 1)):
        if count == OBJECTS_LIMIT:
            raise NotArchivable("it has too many objects")
        try:
            report = parse_status_key(info.key)
        except ContractError:
            continue  # the poll reports it as an anomaly; it is never deleted
        if report is not None:
            found[info.key] = info
    return found


def upload(status: Bucket, prepared: PreparedArchive) -> None:
    """Write the archive, replacing an older one of the same load, and read it back.

    Raises WorldError, NotArchivable.
    """
    key = _key(prepared)
    try:
        replace_object(status, key, prepared.body, None, _note_unconditional)
    except Overtaken:
        _replace(status, key, prepared)
    if _read_archive(status, key) != prepared.body:
        raise WorldError(
            Code.HASH_MISMATCH, f"GET {key}: the archive read back differs from the one written; nothing was deleted"
        )


def _replace(status: Bucket, key: str, prepared: PreparedArchive) -> None:
    """Replace the archive from an earlier archiving of the load, but no other object."""
    there = status.get(key, ARCHIVE_LIMIT + 1)
    if there is None:
        raise WorldError(Code.OBJECT_GONE, f"GET {key}: no such object")
    if there.body == prepared.body:
        return
    archive = prepared.archive
    try:
        parse_archive(there.body, airline=archive.airline, tail=archive.tail, campaign=archive.campaign)
    except ContractError as error:
        raise NotArchivable(f"another object is at {key}: {error}") from error
    try:
        replace_object(status, key, prepared.body, there, _note_unconditional)
    except Overtaken as error:
        raise NotArchivable("its archive was replaced meanwhile") from error


def _note_unconditional(text: str) -> None:
    """Ignore the advice for publishers: the archive that was just read is replaced, and read back afterwards."""


def _read_archive(status: Bucket, key: str) -> bytes | None:
    """Return the archive's bytes; None if there is none. Raises WorldError."""
    there = status.get(key, ARCHIVE_LIMIT + 1)
    return there.body if there else None


def mark_archived(prepared: PreparedArchive, now: datetime, lease: WorkLease) -> None:
    """Mark the load as archived if its rows are still those that were packed. Raises NotArchivable."""
    with transaction.atomic():
        _lock_tail(prepared)
        again = prepare(prepared.load.pk)
        if again.load.archived_at is not None or not _is_same(again.archive, prepared.archive):
            raise NotArchivable("it changed meanwhile")
        _set_archived(again.load, now, lease)


def delete_objects(status: Bucket, prepared: PreparedArchive, lease: WorkLease) -> int:
    """Delete the objects of an archived load and return how many, if the archive is there and no report is new.

    Raises:
        NotArchivable: a report is new, or the archive is missing; the load was made active again.
        WorldError: permanent (the load was made active again), or temporary.
    """
    try:
        body = _read_archive(status, _key(prepared))
        if body is None or not _is_archive_of(body, prepared):
            raise NotArchivable("its archive is missing, or of another state")
        left = list_objects(status, prepared)
        if not _are_known(left, prepared):
            raise NotArchivable("its loader reported again")
        _delete(status, left, lease)
    except NotArchivable:
        _unarchive(prepared, lease)
        raise
    except WorldError as error:
        if error.permanent:
            _unarchive(prepared, lease)
        raise
    with transaction.atomic():
        Load.objects.filter(pk=prepared.load.pk, archived_at__isnull=False).update(sweeping=False)
        lease.check_fence()
    return len(left)


def _delete(status: Bucket, objects: Mapping[str, ObjectInfo], lease: WorkLease) -> None:
    """Delete objects, each only if it is unchanged: deleting many takes minutes.

    Raises NotArchivable if an object was rewritten since the listing.
    """

    def delete_unchanged(key: str) -> None:
        listed = objects[key]
        there = status.get_if_changed(key, 1, listed.etag) if listed.etag else status.get(key, 1)
        if there is None:
            return
        if not isinstance(there, NotModified) and not _is_listed(there, listed):
            raise NotArchivable("its loader reported again")
        status.delete(key)

    keys = list(objects)
    with ThreadPoolExecutor(DELETES_AT_ONCE, "archive") as threads:
        for start in range(0, len(keys), 10 * DELETES_AT_ONCE):
            for _ in map_in_threads(threads, delete_unchanged, keys[start : start + 10 * DELETES_AT_ONCE], lease):
                pass


def _is_listed(there: GetResult, listed: ObjectInfo) -> bool:
    """Return whether an object is still the listed version. Some stores list another ETag than a GET gives."""
    if there.etag == listed.etag:
        return True
    same_date = is_dated(there.last_modified) and _second(there.last_modified) == _second(listed.last_modified)
    return same_date and there.size == listed.size


def _unarchive(prepared: PreparedArchive, lease: WorkLease) -> None:
    """Make the load active again, with the objects it still has."""
    with transaction.atomic():
        _lock_tail(prepared)
        load = Load.objects.select_related("tail__airline", "campaign").filter(pk=prepared.load.pk).first()
        if load is not None and load.archived_at is not None:
            clear_object_versions([load.pk])
            _set_archived(load, None, lease)


def _lock_tail(prepared: PreparedArchive) -> None:
    """Lock the tail until the transaction ends.

    By id: ordered by name, the query would also lock the airline, which all writers share.
    """
    Tail.objects.select_for_update().filter(pk=prepared.load.tail_id).order_by("pk").first()


def _set_archived(load: Load, archived_at: datetime | None, lease: WorkLease) -> None:
    load.archived_at, load.sweeping = archived_at, archived_at is not None
    load.save(update_fields=["archived_at", "sweeping"])
    keeping.keep(load.tail.airline_id, [load.tail_id])
    lease.check_fence()
    publish([load_change(load)])


def _is_same(one: Archive, other: Archive) -> bool:
    """Return whether rows are the same. Samples may have been thinned meanwhile, and a title may have been added."""
    return (one.load, one.transfers) == (other.load, other.transfers)


def _is_archive_of(body: bytes, prepared: PreparedArchive) -> bool:
    archive = prepared.archive
    try:
        there = parse_archive(body, airline=archive.airline, tail=archive.tail, campaign=archive.campaign)
    except ContractError:
        return False
    return _is_same(there, archive)


def _key(prepared: PreparedArchive) -> str:
    return archive_key(prepared.archive.airline, prepared.archive.tail, prepared.archive.campaign)


def _outcome(pk: int, **more: Any) -> ArchiveOutcome:
    names = Load.objects.filter(pk=pk).values_list("tail__name", "campaign__name").first() or ("?", "?")
    return ArchiveOutcome(*names, **more)
