"""Differences between a listing of the status bucket and the known objects: changed, deleted, invalid. Pure.

`diff_listing` compares a listing with the versions last read. No clock, no bucket, no database. A name that breaks the
rules becomes a `Problem` and goes no further.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from fleet.reconcile.limits import Limits
from fleet.reconcile.names import AdmittedNames
from fleet.reconcile.objects import ChangedObject, truncate_to_second
from fleet.reconcile.pending import PendingChanges, TailChanges
from fleet.reconcile.problems import Problem, Problems, stale_object_problem
from ifeportal.storage.object_versions import is_confirmed, is_same_version, listed_version, storable_etag
from loader.contract.keys import StatusKey, parse_status_key
from loader.errors import ContractError
from loader.s3.interface import ObjectInfo

# Version as in `ifeportal.storage.object_versions`, and LastModified in whole seconds since 1970: a listing may have
# fractions that a GET lacks.
ObjectVersion = tuple[str, int]
NO_ETAG: Final = "The store lists this object with neither an ETag nor a date, so changes cannot be detected."
NEVER: Final[ObjectVersion] = ("\0", 2**62)  # the version of an unknown object; no real one has that ETag


@dataclass(slots=True)
class KnownObjects:
    """The objects of one partition of an airline (`fleet.reconcile.partitions`) as the rows have them.

    `versions` are the versions last read, by key; `diff_listing` removes those it has seen. `tails` and `campaigns` are
    those of the whole airline. `transfer_counts` are the transfers of each (tail, campaign). `known_stale` are objects
    with a `stale_object_problem`, by key.
    """

    airline: str
    partition: str = ""
    versions: dict[str, ObjectVersion] = field(default_factory=dict)
    tails: Collection[str] = ()
    campaigns: Collection[str] = ()
    transfer_counts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    known_stale: Mapping[str, Problem] = field(default_factory=dict)


@dataclass(slots=True)
class ListingDiff:
    """The result of a comparison: of a complete listing, or cut by a limit (`truncated`) or by time (`unfinished`).

    `changes` are those not taken yet. `keys` counts the objects of each tail.
    """

    problems: Problems
    changes: PendingChanges = field(default_factory=lambda: PendingChanges(Limits()))
    truncated: bool = False
    unfinished: bool = False
    keys: dict[str, int] = field(default_factory=dict)
    objects: int = 0
    changed: int = 0
    new_tails: list[str] = field(default_factory=list)
    new_campaigns: list[str] = field(default_factory=list)
    deleted_keys: list[str] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Return whether objects missing from the listing do not exist."""
        return not (self.truncated or self.unfinished)

    def count(self, home: str, start: int, keys: int) -> None:
        """Add `keys` to the tail named in `home` from `start` on, up to a slash."""
        if keys:
            tail = home[start:].removesuffix("/")
            self.keys[tail] = self.keys.get(tail, 0) + keys

    @property
    def tails(self) -> dict[str, TailChanges]:
        """The changes of each tail that are to be written next."""
        return self.changes.turns


def diff_listing(
    objects: Iterable[ObjectInfo], known: KnownObjects, limits: Limits, found: ListingDiff
) -> Iterator[dict[str, TailChanges]]:
    """Compare a listing of one partition of an airline with `known`, into `found`.

    Yields the changes of tails, taken out of `found.changes`, whenever they are due; the rest stays there. To stop
    early, the caller sets `found.unfinished`. Errors raised by `objects` pass through; `found` must not be used then,
    as objects missing from a partial listing are not deleted.
    """
    reader = _ListingReader(known, limits, found)
    versions, start = known.versions, len(known.airline) + 1
    seconds: dict[datetime, int] = {}  # the objects of a page share few timestamps
    home, count = "\0", 0
    for info in objects:
        if found.objects == limits.keys:
            found.truncated = True
            break
        found.objects += 1
        key, listed_at = info.key, info.last_modified
        if not key.startswith(home):
            found.count(home, start, count)
            home, count = key[: key.find("/", start) + 1] or key, 0
        count += 1
        etag, at = versions.pop(key, NEVER)
        if etag != info.etag and not is_same_version(etag, info):
            reader.read(info)
        elif (seconds.get(listed_at) or seconds.setdefault(listed_at, int(listed_at.timestamp()))) > at:
            reader.read(info, same=is_confirmed(etag))
        if found.changes.is_due:
            yield found.changes.take_turns()
            if found.unfinished:
                break
    found.count(home, start, count)
    reader.conclude()
    if found.is_complete:
        _add_deleted(found, versions)


def _add_deleted(found: ListingDiff, left: Mapping[str, ObjectVersion]) -> None:
    for key, (etag, _) in left.items():
        place = parse_status_key(key)
        if place is not None:
            found.changes.tail(place.tail).deleted.append((place, etag))
            found.deleted_keys.append(key)


class _ListingReader:
    """Checks the objects of a listing that differ from the known versions, and adds them to the diff."""

    def __init__(self, known: KnownObjects, limits: Limits, found: ListingDiff) -> None:
        self._known = known
        self._found = found
        self._limits = limits
        self._tails = AdmittedNames(known.tails, limits.tails - len(known.tails))
        self._campaigns = AdmittedNames(known.campaigns, limits.campaigns - len(known.campaigns))
        found.new_tails, found.new_campaigns = self._tails.new, self._campaigns.new
        self._objects: dict[tuple[str, str], int] = {}

    def read(self, info: ObjectInfo, *, same: bool = False) -> None:
        try:
            place = parse_status_key(info.key)
        except ContractError as error:
            self._add_problem(info.key, error.code, str(error), info.etag)
            return
        if place is None:
            return
        etag, at = listed_version(info), truncate_to_second(info.last_modified)
        if not etag:
            self._add_problem(info.key, "NO_ETAG", NO_ETAG)
            return
        if not self._admitted(place) or not self._fits_load(place):
            return
        stale = self._known.known_stale.get(info.key)
        if stale is not None and stale == stale_object_problem(info.key, etag, at):
            self._found.problems.add(stale)
            return
        self._found.changed += 1
        self._found.changes.add(place.tail, ChangedObject(place, info.key, info.size, etag, at, same, info))

    def _admitted(self, place: StatusKey) -> bool:
        prefix = f"{place.airline}/{place.tail}/"
        if not self._admit(self._tails, place.tail, prefix):
            return False
        return place.kind == "heartbeat" or self._admit(self._campaigns, place.campaign, f"{prefix}{place.campaign}/")

    def _admit(self, names: AdmittedNames, name: str, prefix: str) -> bool:
        conflict = names.admit(name)
        if conflict:
            self._add_problem(
                prefix, "NAME_CONFLICT", f"{name!r} differs from {conflict!r} only in case or normalisation."
            )
        return conflict is None

    def _fits_load(self, place: StatusKey) -> bool:
        load = place.tail, place.campaign
        count = self._objects[load] = self._objects.get(load, self._known.transfer_counts.get(load, 0)) + 1
        return count <= self._limits.objects

    def conclude(self) -> None:
        """Report the limits that were reached, one problem for each."""
        home = f"{self._known.airline}/"
        if self._found.truncated:
            detail = f"More than {self._limits.keys:,} keys; the rest was not read."
            self._add_problem(f"{home}{self._known.partition}", "TOO_MANY_KEYS", detail)
        for names, kind in ((self._tails, "TAILS"), (self._campaigns, "CAMPAIGNS")):
            if names.refused:
                detail = f"The limit of {kind.lower()} is reached; new ones are not created."
                self._add_problem(f"{home}{self._known.partition}", f"TOO_MANY_{kind}", detail)
        for (tail, campaign), count in self._objects.items():
            if count > self._limits.objects:
                detail = f"More than {self._limits.objects:,} objects; the rest was not read."
                self._add_problem(f"{home}{tail}/{campaign}/", "TOO_MANY_OBJECTS", detail)

    def _add_problem(self, key: str, code: str, detail: str, etag: str = "") -> None:
        self._found.problems.add(Problem(key, code, detail, storable_etag(etag)))
