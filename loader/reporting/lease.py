"""Which machine loads a tail: the heartbeat as a lease, held by writing it again on condition that it is still ours.

Each content directory has a lasting random identity, and the heartbeat names the one of its writer. A write that meets
another heartbeat than our last one is judged: `judge` decides and is pure, `Lease` reads and writes `loader.json` and
notes on disk which ETags are ours. Ages are differences on the store's clock; no clock of ours is asked.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from loader.contract.heartbeat import HEARTBEAT_LIMIT, Heartbeat, parse_heartbeat
from loader.errors import BadHeartbeat, Unsupported, WorldError
from loader.failpoints import failpoint
from loader.s3.interface import Bucket
from loader.storage.content_store import ContentStore

Verdict = Literal["go on", "take", "lose"]
_ROUNDS: Final = 3  # of reading and writing, where others write in between
_KEPT: Final = 3  # ETags of writes whose fate is unknown
_EMPTY: Final = hashlib.md5(b"", usedforsecurity=False).hexdigest()
_IDENTITY: Final = re.compile(r"[0-9a-f]{32}")


class TakenError(Exception):
    """Another machine loads this tail; `str()` says who, since when, and what to do."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A heartbeat as it lies in the bucket.

    `holder` is empty where it names none (an older or another loader). `silent`: seconds since it was written, None
    where the store does not tell its time. `ended`: its loader ended in order and writes no more.
    """

    etag: str
    holder: str = ""
    started_at: datetime | None = None
    silent: float | None = None
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Us:
    """Who asks: the identities of our directories, when we started, and whether we have held the lease since."""

    identities: frozenset[str]
    started_at: datetime | None = None
    held: bool = False


def judge(seen: Seen, us: Us, patience: float) -> Verdict:
    """Whether we may write over a heartbeat that is not the last one we know to be ours.

    `patience`: seconds after which a silent loader is taken to be gone.
    """
    # Before we held it, our own identity means an earlier run of ours: its directory is locked by us now. Later on only
    # this very run can have written it; another one means that the directory was copied to another machine.
    if seen.holder in us.identities and (not us.held or seen.started_at == us.started_at):
        return "go on"
    if seen.ended or (seen.silent is not None and seen.silent >= patience):
        return "take"
    return "lose"


class Lease:
    """The lease of one tail. Used by one thread at a time; the first of `stores` keeps its notes."""

    def __init__(
        self,
        bucket: Bucket,
        key: str,
        stores: Sequence[ContentStore],
        *,
        patience: float,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Reads the identities and makes those that are missing. `say` hears what an operator should know."""
        self._bucket, self._key, self._patience, self._say = bucket, key, patience, say
        self._store = stores[0] if stores else None
        identities = [_identity(store) for store in stores] or [secrets.token_hex(16)]
        self.identity = identities[0]
        self._us = Us(frozenset(identities))
        self._etags = self._noted()
        self._conditional = True
        self.etag = ""  # of the last heartbeat that certainly arrived

    def know(self, etag: str) -> None:
        """This was our last heartbeat, too."""
        self._etags = [etag, *(other for other in self._etags if other != etag)]

    def signed(self, heartbeat: Heartbeat, *, ended: bool) -> Heartbeat:
        """The heartbeat with our name. `ended`: it is the last one, anybody may take the tail over."""
        self._us = replace(self._us, started_at=heartbeat.started_at)
        extra: dict[str, object] = {**heartbeat.extra, "holder": self.identity}
        return replace(heartbeat, extra={**extra, "ended": True} if ended else extra)

    def write(self, body: bytes) -> str:
        """Write a signed heartbeat. Returns the ETag of ours that it replaced, "" if it replaced none of ours.

        Raises:
            TakenError: the tail is another machine's, or nobody can tell whose.
            WorldError: the store could not be asked or told.
        """
        # SeaweedFS keeps an empty object of a write whose connection broke; if we wrote last, that was ours.
        conditions: list[str | None] = [*self._etags, _EMPTY, None] if self._etags else [None]
        digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
        # Noted before it is sent: after a kill in between, what lies there is still known to be ours.
        self._etags = list(dict.fromkeys([digest, *self._etags[:-1][:_KEPT], *self._etags[-1:]]))
        self._note()
        try:
            return self._write(body, conditions)
        except WorldError as error:
            # A connection that was left open too long breaks at the next use. Had the first try arrived after all, its
            # ETag would be met.
            if error.code != "NETWORK":
                raise
        return self._write(body, [*self._etags, _EMPTY, None])

    def _write(self, body: bytes, conditions: Sequence[str | None]) -> str:
        ours = set(self._etags)
        for _ in range(_ROUNDS):
            for etag in conditions:
                with contextlib.suppress(_NotMetError):
                    self._put(body, etag)
                    return etag if etag and etag in ours else ""
            seen = self._read()
            verdict = judge(seen, self._us, self._patience) if seen else "take"
            if seen and verdict == "lose":
                raise TakenError(_sentence(self._key, seen, self._us, self._patience))
            if seen and verdict == "take" and not seen.ended:
                self._say(f"Taking over {self._key.rpartition('/')[0]} from {_name(seen)}, {_heard(seen)}.")
            conditions = [seen.etag if seen else None]
        raise WorldError("THROTTLED", f"PUT {self._key}: others keep writing it")

    def _put(self, body: bytes, etag: str | None) -> None:
        """On condition that the object is still this one, or (None) that there is none. Raises _NotMetError."""
        try:
            if self._conditional:
                try:
                    self.etag = self._bucket.put(self._key, body, if_none_match=etag is None, if_match=etag)
                except Unsupported:
                    self._conditional = False
                    self._say(
                        "The store knows no conditional writes: two machines that load this tail would not notice."
                    )
            if not self._conditional:
                self.etag = self._bucket.put(self._key, body)
        except WorldError as error:
            # A bucket that is not there is no object that is not there.
            if self._conditional and (error.code == "OBJECT_CHANGED" or (etag and error.code == "OBJECT_GONE")):
                raise _NotMetError from error
            raise
        failpoint("heartbeat-sent")
        self._us = replace(self._us, held=True)
        noted, self._etags = self._etags[0], [self.etag]
        if noted != self.etag:  # a store whose ETags are no MD5 sums
            self._note()

    def _read(self) -> Seen | None:
        """What lies there. Raises TakenError if we may not know, WorldError."""
        try:
            fetched = self._bucket.get(self._key, HEARTBEAT_LIMIT)
        except WorldError as error:
            if error.code == "OBJECT_GONE":
                return None
            if error.code == "FORBIDDEN":
                raise TakenError(
                    f"{self._key} is there, is not known to be ours, and these credentials may not read it, so another "
                    f"machine may be loading this tail. Allow s3:GetObject on {self._key} of the status bucket, or, "
                    "if no other machine does, remove that object; then start again."
                ) from error
            raise
        if fetched is None:
            return None
        silent = (fetched.server_time - fetched.last_modified).total_seconds() if fetched.server_time else None
        try:
            heartbeat = parse_heartbeat(fetched.body)
        except BadHeartbeat:
            return Seen(fetched.etag, silent=silent)
        holder = heartbeat.extra.get("holder")
        return Seen(
            fetched.etag,
            holder if isinstance(holder, str) else "",
            heartbeat.started_at,
            silent,
            heartbeat.extra.get("ended") is True,
        )

    def _noted(self) -> list[str]:
        if self._store is None:
            return []
        with contextlib.suppress(WorldError):
            note = self._store.read_state("lease")
            etags = note.get("etags")
            if (note.get("bucket"), note.get("key")) == (self._bucket.name, self._key) and isinstance(etags, list):
                return [etag for etag in etags if isinstance(etag, str) and etag][: _KEPT + 2]
        return []

    def _note(self) -> None:
        """A disk that cannot be written to is told to the ground by whoever loads; here, reading will have to do."""
        if self._store is not None:
            note = {"bucket": self._bucket.name, "key": self._key, "etags": self._etags}
            with contextlib.suppress(WorldError):
                self._store.write_state("lease", note, durability="bytes")


class _NotMetError(Exception):
    """The object is not the one that the write was meant to replace."""


def _identity(store: ContentStore) -> str:
    try:
        return store.store_id()
    except WorldError:  # a disk that cannot be written to; for this run any name will do
        return secrets.token_hex(16)


def _sentence(key: str, seen: Seen, us: Us, patience: float) -> str:
    tail = key.rpartition("/")[0]
    since = f", running since {seen.started_at:%Y-%m-%d %H:%M:%S} UTC" if seen.started_at else ""
    if seen.holder in us.identities:
        return (
            f"Another machine loads {tail} from a copy of this content directory{since}, {_heard(seen)}. "
            "Stop one of the two, remove .loader/id from its content directory, and start again."
        )
    return (
        f"Another machine loads {tail}: {_name(seen)}{since}, {_heard(seen)}. Stop that one if this one is to load; "
        f"once it has ended, or has been silent for {patience:.0f} s, this one can be started."
    )


def _name(seen: Seen) -> str:
    return f"holder {seen.holder[:8]}" if _IDENTITY.fullmatch(seen.holder) else "a loader that gives no name"


def _heard(seen: Seen) -> str:
    return "heard lately" if seen.silent is None else f"last heard {max(0.0, seen.silent):.0f} s ago"
