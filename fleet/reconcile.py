"""A listing of the status bucket against what is known: what is new, what is gone, what is odd. Pure.

`survey` reads a whole listing and says which objects differ from the version last read. `guess` tells what such an
object says from the listing alone, where it can; for the others `how_much` says what to fetch, and `understand` what
the bytes mean. No clock, no bucket, no database. A name that breaks the rules never gets further than a `Problem`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from fleet.state.observations import Again, ErrorSeen, ProgressSeen
from loader.contract import item_reports, manifest
from loader.contract.heartbeat import HEARTBEAT_LIMIT, Heartbeat, parse_heartbeat
from loader.contract.keys import StatusKey, parse_status_key
from loader.contract.names import check_name, fold
from loader.errors import ContractError
from loader.s3.interface import Fetched, ObjectInfo

ETAG_LIMIT: Final = 200  # characters the database holds; S3's own have 32 to 40
OLDER: Final = "OLDER_OBJECT"
Version = tuple[str, int]  # ETag, and LastModified in seconds since 1970; one that is gone has none
NEVER: Final[Version] = ("\0", 2**62)  # no object has that ETag
BAD_ARCHIVE: Final = "BAD_ARCHIVE"  # told of by the job that reads archives; polls let it stand
BODY_PROBLEMS: Final = frozenset({"BAD_PROGRESS", "BAD_HEARTBEAT", BAD_ARCHIVE})


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is made by itself from what strangers write; above it there is an anomaly instead of rows."""

    airlines: int = 1_000
    tails: int = 5_000  # of one airline
    tails_in_all: int = 300_000
    campaigns: int = 2_000  # of one airline
    campaigns_in_all: int = 50_000
    objects: int = 3 * manifest.ITEMS_LIMIT  # of one load: its rows, and the objects new in one poll
    held: int = 10_000  # objects seen that wait to be read and written: bounds the memory of a first poll
    keys: int = 200_000  # of one listing, which takes some seconds; twice what an airline has that is not cut
    anomalies: int = 500  # open ones of one part of an airline


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that could not be understood: where, a word for it, a sentence, and the version looked at."""

    key: str
    code: str
    detail: str
    etag: str = ""


class Problems:
    """At most `limit` problems, each key and code once; the rest is only counted."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._found: dict[tuple[str, str], Problem] = {}
        self.beyond = 0

    def add(self, problem: Problem) -> bool:
        """Keep the problem, or count it where there are too many; whether it was kept."""
        place = problem.key, problem.code
        if place in self._found or len(self._found) < self._limit:
            self._found[place] = problem
            return True
        self.beyond += 1
        return False

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found.values())

    def __len__(self) -> int:
        return len(self._found) + self.beyond


@dataclass(slots=True)
class Known:
    """What the rows say of one part of an airline (`fleet.ranges`). `versions` is used up by `survey`.

    These are the versions last read, by key. `tails` and `campaigns` are those of the whole airline. `rows` counts the
    transfers of each (tail, campaign); `settled` are objects that turned out to be `too_old`, by key.
    """

    airline: str
    part: str = ""
    versions: dict[str, Version] = field(default_factory=dict)
    tails: Collection[str] = ()
    campaigns: Collection[str] = ()
    rows: Mapping[tuple[str, str], int] = field(default_factory=dict)
    settled: Mapping[str, Problem] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sighting:
    """A listed object whose version is not the one last read. `etag` is safe to store.

    `same`: it was written anew with the bytes it had.
    """

    key: StatusKey
    name: str
    size: int
    etag: str
    at: datetime
    same: bool = False


@dataclass(slots=True)
class TailChanges:
    """What is new and what is gone of one tail; `gone` holds the ETag last read."""

    seen: list[Sighting] = field(default_factory=list)
    gone: list[tuple[StatusKey, str]] = field(default_factory=list)


@dataclass(slots=True)
class Survey:
    """What a listing showed: all of it, or as much as the limit (`cut`) or the time (`unfinished`) allowed.

    `keys` counts the objects by tail.
    """

    problems: Problems
    cut: bool = False
    unfinished: bool = False
    keys: dict[str, int] = field(default_factory=dict)
    objects: int = 0
    changed: int = 0
    waiting: int = 0
    tails: dict[str, TailChanges] = field(default_factory=dict)
    new_tails: list[str] = field(default_factory=list)
    new_campaigns: list[str] = field(default_factory=list)
    gone_keys: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether what it does not show is not there."""
        return not (self.cut or self.unfinished)

    def count(self, home: str, start: int, keys: int) -> None:
        """So many keys more below `home`, which names the tail from `start` on, up to a slash."""
        if keys:
            tail = home[start:].removesuffix("/")
            self.keys[tail] = self.keys.get(tail, 0) + keys

    def of(self, tail: str) -> TailChanges:
        """The changes of a tail, to be added to."""
        return self.tails.setdefault(tail, TailChanges())


def survey(
    objects: Iterable[ObjectInfo], known: Known, limits: Limits, relieve: Callable[[Survey], bool] | None = None
) -> Survey:
    """Hold a listing of one part of an airline against `known`.

    `relieve` is called whenever `limits.held` objects were seen; it takes `tails` away from the survey, and tells
    whether there is time to go on. Whatever it or `objects` raises goes through: what is missing from half a listing is
    not gone.
    """
    found = Survey(Problems(limits.anomalies))
    reader = _Reader(known, limits, found)
    versions, start = known.versions, len(known.airline) + 1
    seconds: dict[datetime, int] = {}  # a thousand objects of a page share a few moments
    home, count = "\0", 0
    for info in objects:
        if found.objects == limits.keys:
            found.cut = True
            break
        found.objects += 1
        key, listed_at = info.key, info.last_modified
        if not key.startswith(home):
            found.count(home, start, count)
            home, count = key[: key.find("/", start) + 1] or key, 0
        count += 1
        etag, at = versions.pop(key, NEVER)
        if etag != info.etag and etag != version(info.etag):
            reader.read(info)
        elif (seconds.get(listed_at) or seconds.setdefault(listed_at, int(listed_at.timestamp()))) > at:
            reader.read(info, same=True)
        if relieve is not None and found.waiting >= limits.held:
            found.waiting = 0
            if not relieve(found):
                found.unfinished = True
                break
    found.count(home, start, count)
    reader.conclude()
    if found.whole:
        _note_gone(found, versions)
    return found


def _note_gone(found: Survey, left: Mapping[str, Version]) -> None:
    for key, (etag, _) in left.items():
        place = parse_status_key(key)
        if place is not None:
            found.of(place.tail).gone.append((place, etag))
            found.gone_keys.append(key)


def moment(at: datetime) -> datetime:
    """The LastModified as it is stored: whole seconds. Some stores list fractions, but no answer to a GET has any."""
    return at.replace(microsecond=0) if at.microsecond else at


def version(etag: str) -> str:
    """The ETag as it is stored."""
    return etag if len(etag) <= ETAG_LIMIT and etag.isascii() and etag.isprintable() else storable(etag)[:ETAG_LIMIT]


def too_old(key: str, etag: str, at: datetime) -> Problem:
    """That this version of an object is older than the one read before.

    The moment belongs to it: the same bytes written anew are another version, and newer.
    """
    detail = f"It is of {at:%Y-%m-%d %H:%M:%S}, older than the version read before, and does not replace it."
    return Problem(key, OLDER, detail, etag)


def storable(text: str) -> str:
    """The text as every database takes it: NUL and unpaired surrogates written out."""
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


class Names:
    """Which names of a kind have a row, and which new ones may get one."""

    def __init__(self, known: Iterable[str], room: int) -> None:
        self._good = set(known)
        self._by_fold = {fold(name): name for name in self._good}
        self._room = room
        self.new: list[str] = []
        self.refused = 0

    def admit(self, name: str) -> str | None:
        """None if the name has or may get a row; a word for the reason otherwise (empty: no room)."""
        if name in self._good:
            return None
        taken = self._by_fold.get(fold(name))
        if taken is not None:
            return taken
        if self._room <= len(self.new):
            self.refused += 1
            return ""
        self._by_fold[fold(name)] = name
        self._good.add(name)
        self.new.append(name)
        return None


class _Reader:
    """Sorts the objects of a listing that are not as they were."""

    def __init__(self, known: Known, limits: Limits, found: Survey) -> None:
        self._known = known
        self._found = found
        self._limits = limits
        self._tails = Names(known.tails, limits.tails - len(known.tails))
        self._campaigns = Names(known.campaigns, limits.campaigns - len(known.campaigns))
        found.new_tails, found.new_campaigns = self._tails.new, self._campaigns.new
        self._objects: dict[tuple[str, str], int] = {}

    def read(self, info: ObjectInfo, *, same: bool = False) -> None:
        if not info.etag:
            self._odd(info.key, "NO_ETAG", "The store lists it without an ETag: whether it changed cannot be told.")
            return
        try:
            place = parse_status_key(info.key)
        except ContractError as error:
            self._odd(info.key, error.code, str(error), info.etag)
            return
        if place is None or not self._admitted(place) or not self._room_in_load(place):
            return
        etag, at = version(info.etag), moment(info.last_modified)
        settled = self._known.settled.get(info.key)
        if settled is not None and settled == too_old(info.key, etag, at):
            self._found.problems.add(settled)
            return
        self._found.changed += 1
        self._found.waiting += 1
        self._found.of(place.tail).seen.append(Sighting(place, info.key, info.size, etag, at, same))

    def _admitted(self, place: StatusKey) -> bool:
        prefix = f"{place.airline}/{place.tail}/"
        if not self._admit(self._tails, place.tail, prefix):
            return False
        return place.kind == "heartbeat" or self._admit(self._campaigns, place.campaign, f"{prefix}{place.campaign}/")

    def _admit(self, names: Names, name: str, prefix: str) -> bool:
        refusal = names.admit(name)
        if refusal:
            self._odd(prefix, "NAME_CONFLICT", f"{name!r} differs from {refusal!r} only in case or normalisation.")
        return refusal is None

    def _room_in_load(self, place: StatusKey) -> bool:
        load = place.tail, place.campaign
        count = self._objects[load] = self._objects.get(load, self._known.rows.get(load, 0)) + 1
        return count <= self._limits.objects

    def conclude(self) -> None:
        """Say what found no room, once for each kind."""
        home = f"{self._known.airline}/"
        if self._found.cut:
            detail = f"More than {self._limits.keys:,} keys; the rest is not read."
            self._odd(f"{home}{self._known.part}", "TOO_MANY_KEYS", detail)
        for names, kind in ((self._tails, "TAILS"), (self._campaigns, "CAMPAIGNS")):
            if names.refused:
                detail = f"There is no room for more {kind.lower()} than there are rows."
                self._odd(f"{home}{self._known.part}", f"TOO_MANY_{kind}", detail)
        for (tail, campaign), count in self._objects.items():
            if count > self._limits.objects:
                detail = f"More than {self._limits.objects:,} objects; the rest is not read."
                self._odd(f"{home}{tail}/{campaign}/", "TOO_MANY_OBJECTS", detail)

    def _odd(self, key: str, code: str, detail: str, etag: str = "") -> None:
        self._found.problems.add(Problem(key, code, detail, version(etag)))


@dataclass(frozen=True, slots=True)
class HeartbeatSeen:
    """A `loader.json` as it was read; `heartbeat` is None if it could not be understood."""

    etag: str
    at: datetime
    heartbeat: Heartbeat | None


Seen = ProgressSeen | ErrorSeen | HeartbeatSeen | Again
_FETCH: Final = {
    "progress": item_reports.PROGRESS_LIMIT,
    "error": item_reports.ERROR_LIMIT,
    "campaign_error": item_reports.ERROR_LIMIT,
    "heartbeat": HEARTBEAT_LIMIT,
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What an object says, and what is wrong with it."""

    seen: Seen
    problem: Problem | None = None


def guess(sighting: Sighting, item_size: int | None) -> Reading | None:
    """What the object says, as far as the listing tells it: too large, empty, or a number its ETag gives away."""
    kind, etag, at = sighting.key.kind, sighting.etag, sighting.at
    if sighting.same:
        return Reading(Again(etag, at))
    if kind == "progress":
        if not 0 < sighting.size <= item_reports.PROGRESS_LIMIT:
            return _unreadable(
                sighting, f"A progress has 1 to {item_reports.PROGRESS_LIMIT} bytes, not {sighting.size:,}."
            )
        value = item_reports.recognise_progress(etag, item_size)
        if value is not None and len(str(value)) == sighting.size:
            return Reading(ProgressSeen(etag, at, value))
    if kind == "heartbeat" and sighting.size > HEARTBEAT_LIMIT:
        return _unreadable(sighting, f"A heartbeat has at most {HEARTBEAT_LIMIT:,} bytes.")
    return None


def how_much(key: StatusKey) -> int:
    """How many bytes of the object to fetch, at most."""
    return _FETCH[key.kind]


def understand(sighting: Sighting, fetched: Fetched) -> Reading:
    """What the bytes of the object say."""
    etag, at = version(fetched.etag), moment(fetched.last_modified)
    now = Sighting(sighting.key, sighting.name, fetched.size, etag, at)
    try:
        if sighting.key.kind == "progress":
            return Reading(ProgressSeen(etag, at, item_reports.parse_progress(_whole(fetched))))
        if sighting.key.kind == "heartbeat":
            return Reading(HeartbeatSeen(etag, at, parse_heartbeat(_whole(fetched))))
    except ContractError as error:
        return _unreadable(now, str(error))
    report = item_reports.parse_error(fetched.body, cut=fetched.cut)
    return Reading(ErrorSeen(etag, at, report.code or "", report.text, report.cut))


def _whole(fetched: Fetched) -> bytes:
    """The body; of one that was cut, more than any parser takes."""
    return fetched.body + b"?" if fetched.cut else fetched.body


def _unreadable(sighting: Sighting, detail: str) -> Reading:
    if sighting.key.kind == "heartbeat":
        seen: Seen = HeartbeatSeen(sighting.etag, sighting.at, None)
    else:
        seen = ProgressSeen(sighting.etag, sighting.at, None)
    code = "BAD_HEARTBEAT" if sighting.key.kind == "heartbeat" else "BAD_PROGRESS"
    return Reading(seen, Problem(sighting.name, code, detail, sighting.etag))


@dataclass(frozen=True, slots=True)
class NewAirlines:
    """Which prefixes of the two buckets become airlines."""

    names: list[str]
    problems: Problems


def find_airlines(prefixes: Iterable[str], known: Iterable[str], limits: Limits) -> NewAirlines:
    """The prefixes that are airlines without a row. `known` are the names of all rows."""
    rows = list(known)
    names, problems = Names(rows, limits.airlines - len(rows)), Problems(limits.anomalies)
    for prefix in sorted(set(prefixes)):
        if prefix.startswith(".") and prefix.strip("."):
            continue
        try:
            refusal = names.admit(check_name(prefix))
        except ContractError as error:
            problems.add(Problem(f"{prefix}/", error.code, str(error)))
            continue
        if refusal:
            detail = f"{prefix!r} differs from {refusal!r} only in case or normalisation."
            problems.add(Problem(f"{prefix}/", "NAME_CONFLICT", detail))
    if names.refused:
        problems.add(Problem("/", "TOO_MANY_AIRLINES", "There is no room for more airlines than there are rows."))
    return NewAirlines(names.new, problems)
