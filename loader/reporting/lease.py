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
from dataclasses import field, replace
from datetime import datetime
from typing import Final, Literal

from loader.contract.heartbeat import HEARTBEAT_LIMIT, Heartbeat, parse_heartbeat
from loader.errors import BadHeartbeat, Code, WorldError
from loader.failpoints import failpoint
from loader.frozen import frozen
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


@frozen
class CurrentHolder:
    """The heartbeat in the bucket.

    `holder` is empty if it has none (an older or another loader). `silent`: seconds since it was written, None if the
    store does not send its time. `ended`: the loader shut down in order and writes no more. `digest`: MD5 of its bytes.
    """

    etag: str
    holder: str = ""
    started_at: datetime | None = None
    silent: float | None = field(default=None, compare=False)
    ended: bool = False
    digest: str = ""


_NOT_READ: Final = CurrentHolder("\0")


@frozen
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
        self._conditional = True  # until the store refuses a condition that is fulfilled
        self.last_digest = ""  # MD5 of the last heartbeat that arrived in this run
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
        digest = _md5(body)
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
        if not self._conditional:
            return self._write_unconditionally(body, self._read_if_allowed())
        ours: set[str] = set(self._etags)
        before: CurrentHolder | None = _NOT_READ
        for _ in range(_MAX_ROUNDS):
            try:
                written, etag = self._put_if_ours(body, conditions)
            except WorldError as error:
                if error.code != Code.INTERNAL:
                    raise
                # The reason may be the condition: a store that does not know it answers 501, 400 or anything else.
                return self._write_unconditionally(body, self._read_if_allowed())
            if written:
                return etag if etag in ours else ""
            current = self._read()
            if current == before:  # so that the last condition was fulfilled
                return self._write_unconditionally(body, current)
            self._check_holder(current)
            before, conditions = current, [current.etag if current else None]
        raise WorldError(Code.THROTTLED, f"PUT {self._key}: other loaders write it at the same time")

    def _put_if_ours(self, body: bytes, conditions: Sequence[str | None]) -> tuple[bool, str]:
        """Write if the object still has one of these ETags (None: does not exist).

        Returns whether it was written, and the ETag that it replaced. Raises WorldError.
        """
        for etag in conditions:
            with contextlib.suppress(Overtaken):
                self._record_arrival(put_if_unchanged(self._bucket, self._key, body, etag))
                return True, etag or ""
        return False, ""

    def _write_unconditionally(self, body: bytes, current: CurrentHolder | None) -> str:
        """Write after a look at what would be replaced. Returns and raises the same as `write`."""
        self._check_holder(current)
        is_last = current is not None and (current.digest == self.last_digest or current.etag in self._etags)
        replaced = (self.etag or current.etag) if current and is_last else ""
        self._record_arrival(self._bucket.put(self._key, body))
        if self._conditional:
            self._conditional = False
            self._say(
                "The store does not support conditional writes. The heartbeat is read before each write instead, so "
                "that two machines that begin to load this tail at the same moment may notice each other late."
            )
        return replaced

    def _check_holder(self, current: CurrentHolder | None) -> None:
        """Raise TailLeaseLost if the heartbeat may not be replaced."""
        if current is None:
            return
        decision = decide(current, self._own, self._takeover_after)
        if decision == "yield":
            raise TailLeaseLost(_lost_text(self._key, current, self._own, self._takeover_after))
        if decision == "take_over" and not current.ended:
            tail = self._key.rpartition("/")[0]
            self._say(f"Taking over {tail} from {_holder_name(current)}, {_last_seen_text(current)}.")

    def _record_arrival(self, etag: str) -> None:
        """Record that the heartbeat arrived."""
        self.etag = etag
        failpoint("heartbeat-sent")
        self._own = replace(self._own, held=True)
        self.last_digest, self._etags = self._etags[0], [self.etag]
        if self.last_digest != self.etag:  # a store whose ETags are not MD5 sums
            self._save_etags()

    def _read_if_allowed(self) -> CurrentHolder | None:
        """Read the current heartbeat; None if it does not exist or may not be read. Raises WorldError."""
        with contextlib.suppress(TailLeaseLost):
            return self._read()
        return None

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
        digest = _md5(fetched.body)
        try:
            heartbeat = parse_heartbeat(fetched.body)
        except BadHeartbeat:
            return CurrentHolder(fetched.etag, silent=silent, digest=digest)
        holder = heartbeat.extra.get("holder")
        return CurrentHolder(
            fetched.etag,
            holder if isinstance(holder, str) else "",
            heartbeat.started_at,
            silent,
            heartbeat.extra.get("ended") is True,
            digest,
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


def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


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
