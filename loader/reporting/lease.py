"""The lease of a tail: the heartbeat object, renewed by writing it on condition that it is still ours.

Each content directory has a permanent random id, and the heartbeat names that of its writer. If another heartbeat
than our last one is found, `decide` decides (pure); `TailLease` reads and writes `loader.json` and records our ETags on
disk. Ages are differences on the store's clock; the local clock is not used.
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
from loader.errors import BadHeartbeat, Code, Unsupported, WorldError
from loader.failpoints import failpoint
from loader.s3.conditional import Overtaken, put_if_unchanged
from loader.s3.interface import Bucket
from loader.storage.content_store import ContentStore

Decision = Literal["renew", "take_over", "yield"]
_MAX_ROUNDS: Final = 3  # of reading and writing, where others write in between
_MAX_ETAGS: Final = 3  # ETags of writes whose fate is unknown
_EMPTY: Final = hashlib.md5(b"", usedforsecurity=False).hexdigest()
_HOLDER_ID: Final = re.compile(r"[0-9a-f]{32}")


class TailLeaseLost(Exception):
    """Another machine loads this tail; `str()` says who, since when, and what to do."""


@dataclass(frozen=True, slots=True)
class CurrentHolder:
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
class OwnIdentity:
    """Who asks: the identities of our directories, when we started, and whether we have held the lease since."""

    identities: frozenset[str]
    started_at: datetime | None = None
    held: bool = False


def decide(holder: CurrentHolder, own: OwnIdentity, takeover_after: float) -> Decision:
    """Whether we may write over a heartbeat that is not the last one we know to be ours.

    `takeover_after`: seconds after which a silent loader is taken to be gone.
    """
    # Before we held it, our own identity means an earlier run of ours: its directory is locked by us now. Later on only
    # this very run can have written it; another one means that the directory was copied to another machine.
    if holder.holder in own.identities and (not own.held or holder.started_at == own.started_at):
        return "renew"
    if holder.ended or (holder.silent is not None and holder.silent >= takeover_after):
        return "take_over"
    return "yield"


class TailLease:
    """The lease of one tail. Used by one thread at a time; the first of `stores` keeps its notes."""

    def __init__(
        self,
        bucket: Bucket,
        key: str,
        stores: Sequence[ContentStore],
        *,
        takeover_after: float,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Reads the identities and makes those that are missing. `say` hears what an operator should know."""
        self._bucket, self._key, self._takeover_after, self._say = bucket, key, takeover_after, say
        self._store = stores[0] if stores else None
        identities = [_store_id(store) for store in stores] or [secrets.token_hex(16)]
        self.holder_id = identities[0]
        self._own = OwnIdentity(frozenset(identities))
        self._etags = self._load_etags()
        self._conditional = True
        self.etag = ""  # of the last heartbeat that certainly arrived

    def add_own_etag(self, etag: str) -> None:
        """This was our last heartbeat, too."""
        self._etags = [etag, *(other for other in self._etags if other != etag)]

    def with_holder(self, heartbeat: Heartbeat, *, ended: bool) -> Heartbeat:
        """The heartbeat with our name. `ended`: it is the last one, anybody may take the tail over."""
        self._own = replace(self._own, started_at=heartbeat.started_at)
        extra: dict[str, object] = {**heartbeat.extra, "holder": self.holder_id}
        return replace(heartbeat, extra={**extra, "ended": True} if ended else extra)

    def write(self, body: bytes) -> str:
        """Write a signed heartbeat. Returns the ETag of ours that it replaced, "" if it replaced none of ours.

        Raises:
            TailLeaseLost: the tail is another machine's, or nobody can tell whose.
            WorldError: the store could not be asked or told.
        """
        # SeaweedFS keeps an empty object of a write whose connection broke; if we wrote last, that was ours.
        conditions: list[str | None] = [*self._etags, _EMPTY, None] if self._etags else [None]
        digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
        # Noted before it is sent: after a kill in between, what lies there is still known to be ours.
        self._etags = list(dict.fromkeys([digest, *self._etags[:-1][:_MAX_ETAGS], *self._etags[-1:]]))
        self._save_etags()
        try:
            return self._write(body, conditions)
        except WorldError as error:
            # A connection that was left open too long breaks at the next use. Had the first try arrived after all, its
            # ETag would be met.
            if error.code != Code.NETWORK:
                raise
        return self._write(body, [*self._etags, _EMPTY, None])

    def _write(self, body: bytes, conditions: Sequence[str | None]) -> str:
        ours = set(self._etags)
        for _ in range(_MAX_ROUNDS):
            for etag in conditions:
                with contextlib.suppress(Overtaken):
                    self._put(body, etag)
                    return etag if etag and etag in ours else ""
            seen = self._read()
            verdict = decide(seen, self._own, self._takeover_after) if seen else "take_over"
            if seen and verdict == "yield":
                raise TailLeaseLost(_lost_text(self._key, seen, self._own, self._takeover_after))
            if seen and verdict == "take_over" and not seen.ended:
                self._say(
                    f"Taking over {self._key.rpartition('/')[0]} from {_holder_name(seen)}, {_last_seen_text(seen)}."
                )
            conditions = [seen.etag if seen else None]
        raise WorldError(Code.THROTTLED, f"PUT {self._key}: others keep writing it")

    def _put(self, body: bytes, etag: str | None) -> None:
        """On condition that the object is still this one, or (None) that there is none. Raises Overtaken."""
        if self._conditional:
            try:
                self.etag = put_if_unchanged(self._bucket, self._key, body, etag)
            except Unsupported:
                self._conditional = False
                self._say("The store knows no conditional writes: two machines that load this tail would not notice.")
        if not self._conditional:
            self.etag = self._bucket.put(self._key, body)
        failpoint("heartbeat-sent")
        self._own = replace(self._own, held=True)
        noted, self._etags = self._etags[0], [self.etag]
        if noted != self.etag:  # a store whose ETags are no MD5 sums
            self._save_etags()

    def _read(self) -> CurrentHolder | None:
        """What lies there. Raises TailLeaseLost if we may not know, WorldError."""
        try:
            fetched = self._bucket.get(self._key, HEARTBEAT_LIMIT)
        except WorldError as error:
            if error.code == Code.FORBIDDEN:
                raise TailLeaseLost(
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
            return CurrentHolder(fetched.etag, silent=silent)
        holder = heartbeat.extra.get("holder")
        return CurrentHolder(
            fetched.etag,
            holder if isinstance(holder, str) else "",
            heartbeat.started_at,
            silent,
            heartbeat.extra.get("ended") is True,
        )

    def _load_etags(self) -> list[str]:
        if self._store is None:
            return []
        with contextlib.suppress(WorldError):
            note = self._store.read_state("lease")
            etags = note.get("etags")
            if (note.get("bucket"), note.get("key")) == (self._bucket.name, self._key) and isinstance(etags, list):
                return [etag for etag in etags if isinstance(etag, str) and etag][: _MAX_ETAGS + 2]
        return []

    def _save_etags(self) -> None:
        """A disk that cannot be written to is told to the ground by whoever loads; here, reading will have to do."""
        if self._store is not None:
            note = {"bucket": self._bucket.name, "key": self._key, "etags": self._etags}
            with contextlib.suppress(WorldError):
                self._store.write_state("lease", note, durability="bytes")


def _store_id(store: ContentStore) -> str:
    try:
        return store.store_id()
    except WorldError:  # a disk that cannot be written to; for this run any name will do
        return secrets.token_hex(16)


def _lost_text(key: str, seen: CurrentHolder, us: OwnIdentity, patience: float) -> str:
    tail = key.rpartition("/")[0]
    since = f", running since {seen.started_at:%Y-%m-%d %H:%M:%S} UTC" if seen.started_at else ""
    if seen.holder in us.identities:
        return (
            f"Another machine loads {tail} from a copy of this content directory{since}, {_last_seen_text(seen)}. "
            "Stop one of the two, remove .loader/id from its content directory, and start again."
        )
    return (
        f"Another machine loads {tail}: {_holder_name(seen)}{since}, {_last_seen_text(seen)}. "
        "Stop that one if this one is to load; "
        f"once it has ended, or has been silent for {patience:.0f} s, this one can be started."
    )


def _holder_name(seen: CurrentHolder) -> str:
    return f"holder {seen.holder[:8]}" if _HOLDER_ID.fullmatch(seen.holder) else "a loader that gives no name"


def _last_seen_text(seen: CurrentHolder) -> str:
    return "heard lately" if seen.silent is None else f"last heard {max(0.0, seen.silent):.0f} s ago"
