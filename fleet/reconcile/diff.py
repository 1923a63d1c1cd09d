"""Differences between a listing of the status bucket and the known objects: changed, deleted, invalid. Pure.

`diff_listing` reads a whole listing and returns the objects that differ from the version last read. No clock, no
bucket, no database. A name that breaks the rules never gets further than a `Problem`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from fleet.reconcile.limits import Limits
from fleet.reconcile.names import AdmittedNames
from fleet.reconcile.objects import ChangedObject, storable_etag, truncate_to_second
from fleet.reconcile.problems import Problem, Problems, stale_object_problem
from loader.contract.keys import StatusKey, parse_status_key
from loader.errors import ContractError
from loader.s3.interface import ObjectInfo

# ETag, and LastModified in whole seconds since 1970, below which a listing and a GET may differ; one that is gone has
# none.
ObjectVersion = tuple[str, int]
NEVER: Final[ObjectVersion] = ("\0", 2**62)  # no object has that ETag


@dataclass(slots=True)
class KnownObjects:
    """What the rows say of one part of an airline (`fleet.reconcile.partitions`). `versions` is used up by
    `diff_listing`.

    These are the versions last read, by key. `tails` and `campaigns` are those of the whole airline. `rows` counts the
    transfers of each (tail, campaign); `settled` are objects that turned out to be `stale_object_problem`, by key.
    """

    airline: str
    partition: str = ""
    versions: dict[str, ObjectVersion] = field(default_factory=dict)
    tails: Collection[str] = ()
    campaigns: Collection[str] = ()
    transfer_counts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    known_stale: Mapping[str, Problem] = field(default_factory=dict)


@dataclass(slots=True)
class TailChanges:
    """What is new and what is gone of one tail; `deleted` holds the ETag last read."""

    changed: list[ChangedObject] = field(default_factory=list)
    deleted: list[tuple[StatusKey, str]] = field(default_factory=list)


@dataclass(slots=True)
class ListingDiff:
    """What a listing showed: all of it, or as much as the limit (`truncated`) or the time (`unfinished`) allowed.

    `keys` counts the objects by tail.
    """

    problems: Problems
    truncated: bool = False
    unfinished: bool = False
    keys: dict[str, int] = field(default_factory=dict)
    objects: int = 0
    changed: int = 0
    pending: int = 0
    tails: dict[str, TailChanges] = field(default_factory=dict)
    new_tails: list[str] = field(default_factory=list)
    new_campaigns: list[str] = field(default_factory=list)
    deleted_keys: list[str] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether what it does not show is not there."""
        return not (self.truncated or self.unfinished)

    def count(self, home: str, start: int, keys: int) -> None:
        """So many keys more below `home`, which names the tail from `start` on, up to a slash."""
        if keys:
            tail = home[start:].removesuffix("/")
            self.keys[tail] = self.keys.get(tail, 0) + keys

    def tail(self, tail: str) -> TailChanges:
        """Return the changes of a tail, to be added to."""
        return self.tails.setdefault(tail, TailChanges())

    def take_tails(self) -> dict[str, TailChanges]:
        """Return the changes of all tails and forget them."""
        taken, self.tails, self.pending = self.tails, {}, 0
        return taken


def diff_listing(
    objects: Iterable[ObjectInfo], known: KnownObjects, limits: Limits, found: ListingDiff
) -> Iterator[dict[str, TailChanges]]:
    """Compare a listing of one part of an airline with `known`, into `found`.

    Yields the changes of tails, taken out of `found`, whenever `limits.pending_objects` objects changed; the rest stays
    in `found`. A caller that has no more time sets `found.unfinished`, and nothing more is listed. What `objects`
    raises goes through; `found` is of no use then, as objects missing from half a listing are not deleted.
    """
    reader = _ListingReader(known, limits, found)
    versions, start = known.versions, len(known.airline) + 1
    seconds: dict[datetime, int] = {}  # a thousand objects of a page share a few moments
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
        if etag != info.etag and etag != storable_etag(info.etag):
            reader.read(info)
        elif (seconds.get(listed_at) or seconds.setdefault(listed_at, int(listed_at.timestamp()))) > at:
            reader.read(info, same=True)
        if found.pending >= limits.pending_objects:
            yield found.take_tails()
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
            found.tail(place.tail).deleted.append((place, etag))
            found.deleted_keys.append(key)


class _ListingReader:
    """Sorts the objects of a listing that are not as they were."""

    def __init__(self, known: KnownObjects, limits: Limits, found: ListingDiff) -> None:
        self._known = known
        self._found = found
        self._limits = limits
        self._tails = AdmittedNames(known.tails, limits.tails - len(known.tails))
        self._campaigns = AdmittedNames(known.campaigns, limits.campaigns - len(known.campaigns))
        found.new_tails, found.new_campaigns = self._tails.new, self._campaigns.new
        self._objects: dict[tuple[str, str], int] = {}

    def read(self, info: ObjectInfo, *, same: bool = False) -> None:
        if not info.etag:
            self._add_problem(
                info.key, "NO_ETAG", "The store lists it without an ETag: whether it changed cannot be told."
            )
            return
        try:
            place = parse_status_key(info.key)
        except ContractError as error:
            self._add_problem(info.key, error.code, str(error), info.etag)
            return
        if place is None or not self._admitted(place) or not self._room_in_load(place):
            return
        etag, at = storable_etag(info.etag), truncate_to_second(info.last_modified)
        settled = self._known.known_stale.get(info.key)
        if settled is not None and settled == stale_object_problem(info.key, etag, at):
            self._found.problems.add(settled)
            return
        self._found.changed += 1
        self._found.pending += 1
        self._found.tail(place.tail).changed.append(ChangedObject(place, info.key, info.size, etag, at, same))

    def _admitted(self, place: StatusKey) -> bool:
        prefix = f"{place.airline}/{place.tail}/"
        if not self._admit(self._tails, place.tail, prefix):
            return False
        return place.kind == "heartbeat" or self._admit(self._campaigns, place.campaign, f"{prefix}{place.campaign}/")

    def _admit(self, names: AdmittedNames, name: str, prefix: str) -> bool:
        refusal = names.admit(name)
        if refusal:
            self._add_problem(
                prefix, "NAME_CONFLICT", f"{name!r} differs from {refusal!r} only in case or normalisation."
            )
        return refusal is None

    def _room_in_load(self, place: StatusKey) -> bool:
        load = place.tail, place.campaign
        count = self._objects[load] = self._objects.get(load, self._known.transfer_counts.get(load, 0)) + 1
        return count <= self._limits.objects

    def conclude(self) -> None:
        """Say what found no room, once for each kind."""
        home = f"{self._known.airline}/"
        if self._found.truncated:
            detail = f"More than {self._limits.keys:,} keys; the rest is not read."
            self._add_problem(f"{home}{self._known.partition}", "TOO_MANY_KEYS", detail)
        for names, kind in ((self._tails, "TAILS"), (self._campaigns, "CAMPAIGNS")):
            if names.refused:
                detail = f"There is no room for more {kind.lower()} than there are rows."
                self._add_problem(f"{home}{self._known.partition}", f"TOO_MANY_{kind}", detail)
        for (tail, campaign), count in self._objects.items():
            if count > self._limits.objects:
                detail = f"More than {self._limits.objects:,} objects; the rest is not read."
                self._add_problem(f"{home}{tail}/{campaign}/", "TOO_MANY_OBJECTS", detail)

    def _add_problem(self, key: str, code: str, detail: str, etag: str = "") -> None:
        self._found.problems.add(Problem(key, code, detail, storable_etag(etag)))
