"""The lease of a tail: the heartbeat object, renewed by conditional writes that replace only our own.

Each content directory has a permanent random id, which heartbeats written from it contain. If the object is not our
last heartbeat, `decide` decides (pure). `TailLease` reads and writes `loader.json` and saves our ETags on disk. Ages
are differences on the store's clock; the local clock is not used.
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
_MAX_ROUNDS: Final = 3  # of reading and writing while others write, too
_MAX_ETAGS: Final = 3  # ETags of writes whose outcome is unknown
_EMPTY: Final = hashlib.md5(b"", usedforsecurity=False).hexdigest()
_HOLDER_ID: Final = re.compile(r"[0-9a-f]{32}")


class TailLeaseLost(Exception):
    """Another machine loads this tail. `str()` names it and says since when and what to do."""


@dataclass(frozen=True, slots=True)
class CurrentHolder:
    """The heartbeat in the bucket.

    `holder` is empty if it has none (an older or another loader). `silent`: seconds since it was written, None if the
    store does not send its time. `ended`: the loader shut down in order and writes no more.
    """

    etag: str
    holder: str = ""
    started_at: datetime | None = None
    silent: float | None = None
    ended: bool = False


@dataclass(frozen=True, slots=True)
class OwnIdentity:
    """The ids of our directories, when we started, and whether we have held the lease since."""

    identities: frozenset[str]
    started_at: datetime | None = None
    held: bool = False


def decide(holder: CurrentHolder, own: OwnIdentity, takeover_after: float) -> Decision:
    """Decide whether to replace a heartbeat that is not our last known one.

    `takeover_after`: seconds after which a silent loader is considered gone.
    """
    # Before we have held the lease, our id means an earlier run: we have its directory locked now. After that, only
    # this run can have written it; another start time means that the directory was copied to another machine.
    if holder.holder in own.identities and (not own.held or holder.started_at == own.started_at):
        return "renew"
    if holder.ended or (holder.silent is not None and holder.silent >= takeover_after):
        return "take_over"
    return "yield"


class TailLease:
    """The lease of one tail, for one thread at a time. The ETags are saved in the first of `stores`."""

    def __init__(
        self,
        bucket: Bucket,
        key: str,
        stores: Sequence[ContentStore],
        *,
        takeover_after: float,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Read the ids of the stores, creating missing ones. `say` gets sentences for the operator."""
        self._bucket, self._key, self._takeover_after, self._say = bucket, key, takeover_after, say
        self._store = stores[0] if stores else None
        identities = [_store_id(store) for store in stores] or [secrets.token_hex(16)]
        self.holder_id = identities[0]
        self._own = OwnIdentity(frozenset(identities))
        self._etags = self._load_etags()
        self._conditional = True
        self.etag = ""  # of the last heartbeat that certainly arrived

    def add_own_etag(self, etag: str) -> None:
        """Accept this ETag as our last heartbeat, too."""
        self._etags = [etag, *(other for other in self._etags if other != etag)]

    def with_holder(self, heartbeat: Heartbeat, *, ended: bool) -> Heartbeat:
        """Return the heartbeat with our id. `ended`: it is the last one, and any loader may take the tail over."""
        self._own = replace(self._own, started_at=heartbeat.started_at)
        extra: dict[str, object] = {**heartbeat.extra, "holder": self.holder_id}
        return replace(heartbeat, extra={**extra, "ended": True} if ended else extra)

    def write(self, body: bytes) -> str:
        """Write a heartbeat. Returns the ETag of our heartbeat that it replaced, "" if there was none.

        Raises:
            TailLeaseLost: another machine holds the tail, or the holder cannot be read.
            WorldError: the store could not be read or written.
        """
        # SeaweedFS stores an empty object if the connection of a write breaks; after a write of ours, it is ours.
        conditions: list[str | None] = [*self._etags, _EMPTY, None] if self._etags else [None]
        digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
        # Saved before it is sent: after a kill in between, the object is still recognized as ours.
        self._etags = list(dict.fromkeys([digest, *self._etags[:-1][:_MAX_ETAGS], *self._etags[-1:]]))
        self._save_etags()
        try:
            return self._write(body, conditions)
        except WorldError as error:
            # An idle connection may be closed by the store and fail at its next use. If the first attempt did arrive,
            # its ETag is among the conditions.
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
            current = self._read()
            decision = decide(current, self._own, self._takeover_after) if current else "take_over"
            if current and decision == "yield":
                raise TailLeaseLost(_lost_text(self._key, current, self._own, self._takeover_after))
            if current and decision == "take_over" and not current.ended:
                tail = self._key.rpartition("/")[0]
                self._say(f"Taking over {tail} from {_holder_name(current)}, {_last_seen_text(current)}.")
            conditions = [current.etag if current else None]
        raise WorldError(Code.THROTTLED, f"PUT {self._key}: other loaders write it at the same time")

    def _put(self, body: bytes, etag: str | None) -> None:
        """Write if the object still has this ETag (None: does not exist). Raises Overtaken, WorldError."""
        if self._conditional:
            try:
                self.etag = put_if_unchanged(self._bucket, self._key, body, etag)
            except Unsupported:
                self._conditional = False
                self._say(
                    "The store does not support conditional writes, so two machines that load this tail would not "
                    "detect each other."
                )
        if not self._conditional:
            self.etag = self._bucket.put(self._key, body)
        failpoint("heartbeat-sent")
        self._own = replace(self._own, held=True)
        saved, self._etags = self._etags[0], [self.etag]
        if saved != self.etag:  # a store whose ETags are not MD5 sums
            self._save_etags()

    def _read(self) -> CurrentHolder | None:
        """Read the current heartbeat. Raises TailLeaseLost if access is denied, WorldError."""
        try:
            fetched = self._bucket.get(self._key, HEARTBEAT_LIMIT)
        except WorldError as error:
            if error.code == Code.FORBIDDEN:
                raise TailLeaseLost(
                    f"{self._key} exists and these credentials may not read it, so another machine may be loading this "
                    f"tail. Allow s3:GetObject on {self._key} in the status bucket, or delete that object if no other "
                    "machine loads this tail. Then start again."
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
            state = self._store.read_state("lease")
            etags = state.get("etags")
            if (state.get("bucket"), state.get("key")) == (self._bucket.name, self._key) and isinstance(etags, list):
                return [etag for etag in etags if isinstance(etag, str) and etag][: _MAX_ETAGS + 2]
        return []

    def _save_etags(self) -> None:
        if self._store is not None:
            state = {"bucket": self._bucket.name, "key": self._key, "etags": self._etags}
            # Transfers report a disk that cannot be written. Without saved ETags, `decide` recognizes our id.
            with contextlib.suppress(WorldError):
                self._store.write_state("lease", state, durability="bytes")


def _store_id(store: ContentStore) -> str:
    try:
        return store.store_id()
    except WorldError:  # the disk cannot be written; for this run any id will do
        return secrets.token_hex(16)


def _lost_text(key: str, current: CurrentHolder, own: OwnIdentity, takeover_after: float) -> str:
    tail = key.rpartition("/")[0]
    since = f", running since {current.started_at:%Y-%m-%d %H:%M:%S} UTC" if current.started_at else ""
    if current.holder in own.identities:
        return (
            f"Another machine loads {tail} from a copy of this content directory{since}, {_last_seen_text(current)}. "
            "Stop one of the two, remove .loader/id from its content directory, and start again."
        )
    return (
        f"Another machine loads {tail}: {_holder_name(current)}{since}, {_last_seen_text(current)}. "
        "To load on this machine, stop the other loader. "
        f"This one can start once the other has ended or has been silent for {takeover_after:.0f} s."
    )


def _holder_name(current: CurrentHolder) -> str:
    return f"holder {current.holder[:8]}" if _HOLDER_ID.fullmatch(current.holder) else "a loader without an id"


def _last_seen_text(current: CurrentHolder) -> str:
    return (
        "last seen at an unknown time" if current.silent is None else f"last seen {max(0.0, current.silent):.0f} s ago"
    )
