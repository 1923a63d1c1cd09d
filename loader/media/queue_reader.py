"""Reads this tail's transfer queue from the media bucket and stores the last valid one on disk.

A queue that is unreadable, invalid or older than the current one changes nothing; `problem` says why. Only deleting the
object removes the queue. Where signatures are checked, the signed queue comes first; one without a valid signature has
no privileges where a signature is required (`loader.contract.transfer_queue.without_privileges`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from loader.contract.keys import queue_key, queue_signature_key
from loader.contract.transfer_queue import (
    QUEUE_LIMIT,
    TransferQueue,
    check_version_step,
    parse_transfer_queue,
    without_privileges,
)
from loader.errors import BadTransferQueue, Code, ContractError, WorldError
from loader.frozen import frozen
from loader.media.manifest_verifier import ManifestVerifier
from loader.s3.interface import NOT_MODIFIED, Bucket, GetResult
from loader.signatures.dsse import envelope_limit
from loader.storage.content_store import ContentStore

log = logging.getLogger("loader")
QUEUE_STATE: Final = "queue"
_STATE_LIMIT: Final = 2 * QUEUE_LIMIT + 1024  # bytes: in a JSON string a line break or a quote takes two


@dataclass(slots=True)
class _CachedObject:
    """An object of the media bucket, fetched again only if its ETag changed."""

    media: Bucket
    key: str
    limit: int
    last: GetResult | None = None

    def fetch(self) -> GetResult | None:
        """Return the object, None if absent; the same value while it is unchanged. Raises WorldError."""
        if self.last is None:
            self.last = self.media.get(self.key, self.limit)
            return self.last
        found = self.media.get_if_changed(self.key, self.limit, self.last.etag)
        if found is not NOT_MODIFIED:
            self.last = found
        return self.last


@frozen
class _Signed:
    """The signed queue and its bytes; without a queue, a clause that says why there is none.

    `refused`: there is a signature, and it is not valid.
    """

    queue: TransferQueue | None = None
    payload: bytes = b""
    why: str = ""
    refused: bool = False


class TransferQueueReader:
    """Reads the queue that the portal wrote for this tail. For one thread."""

    def __init__(
        self, airline: str, tail: str, media: Bucket, store: ContentStore, verifier: ManifestVerifier | None = None
    ) -> None:
        """Load the queue that was current when the loader last ran. Without `verifier`, no signature is checked."""
        self._object = _CachedObject(media, queue_key(airline, tail), QUEUE_LIMIT)
        self._envelope = _CachedObject(media, queue_signature_key(airline, tail), envelope_limit(QUEUE_LIMIT))
        self._store, self._verifier = store, verifier or ManifestVerifier("off", airline, tail)
        self._verified: tuple[object, _Signed] = (None, _Signed())  # with the inputs of the verification
        self._decided: object = None  # the inputs of the last decision
        self._fault = self.problem = ""
        self.queue = self._load_last()

    def _load_last(self) -> TransferQueue | None:
        try:
            state = self._store.read_state(QUEUE_STATE, _STATE_LIMIT)
            body = state.get("body")
            queue = parse_transfer_queue(body.encode()) if isinstance(body, str) else None
        except (WorldError, BadTransferQueue):  # planning reports a disk that cannot be read
            return None
        if queue is None or state.get("signed") is True or not self._verifier.queue_signature_required:
            return queue
        return without_privileges(queue)[0]

    def read(self) -> None:
        """Read the queue. Never raises."""
        try:
            self._read()
        except WorldError as error:
            self.problem = f"The transfer queue cannot be read: {error.code}: {error}"

    def _read(self) -> None:
        signed = self._read_signed()
        # With a signature that is enforced, the other object decides nothing.
        is_needed = signed.queue is None or self._verifier.policy == "warn"
        found = self._fetch_object() if is_needed else None
        if (signed, found) != self._decided:
            self._fault = self._decide(signed, found)
            self._decided = (signed, found)
        self.problem = self._fault

    def _read_signed(self) -> _Signed:
        """Read and verify the signed queue, unless nothing changed. Raises WorldError."""
        if self._verifier.policy == "off":
            return _Signed()
        self._verifier.refresh()
        try:
            envelope = self._envelope.fetch()
        except WorldError as error:
            if error.code != Code.FORBIDDEN:
                raise
            return _Signed(why=f"its signature cannot be read ({error})")
        if envelope is None:
            return _Signed(why="it is not signed")
        inputs = (envelope, self._verifier.keys_version)
        if inputs != self._verified[0]:
            self._verified = (inputs, self._verify(envelope))
        return self._verified[1]

    def _verify(self, envelope: GetResult) -> _Signed:
        try:
            if envelope.truncated:
                raise BadTransferQueue(
                    f"it is longer than {envelope_limit(QUEUE_LIMIT)} bytes", code=Code.BAD_SIGNATURE
                )
            return _Signed(*self._verifier.accept_queue(envelope.body))
        except ContractError as error:
            return _Signed(why=f"its signature is refused ({error.code}: {error})", refused=True)

    def _fetch_object(self) -> GetResult | None:
        try:
            return self._object.fetch()
        except WorldError as error:
            # If ListBucket is granted for a prefix only, AWS answers 403 for an object that does not exist.
            if error.code != Code.FORBIDDEN or self.queue is not None:
                raise
            return None

    def _decide(self, signed: _Signed, found: GetResult | None) -> str:
        """Make the signed queue, or else the other one, the current one. Return what is wrong with them."""
        if signed.queue is not None:
            self._set_current(signed.queue, signed.payload, signed=True)
            is_other = found is not None and found.body != signed.payload
            return "The transfer queue differs from the signed one, which is used" if is_other else ""
        if found is not None:
            return self._accept(found, signed)
        if signed.refused:
            return f"The signed transfer queue is not used: {signed.why}{self._consequence}"
        self._set_current(None, b"")
        return ""

    @property
    def _consequence(self) -> str:
        return f"; version {self.queue.version} remains current" if self.queue else "; there is no current version"

    def _accept(self, found: GetResult, signed: _Signed) -> str:
        """Make a valid queue without a valid signature the current one. Return what is wrong with it."""
        if found.truncated:
            return f"The transfer queue is longer than {QUEUE_LIMIT} bytes{self._consequence}"
        try:
            queue = parse_transfer_queue(found.body)
            check_version_step(queue, self.queue.version if self.queue else None)
        except BadTransferQueue as error:
            return f"The transfer queue is refused: {error}{self._consequence}"
        restricted, ignored = without_privileges(queue)
        is_restricted = self._verifier.queue_signature_required
        self._set_current(restricted if is_restricted else queue, found.body)
        return _problem(signed, ignored, is_restricted=is_restricted)

    def _set_current(self, queue: TransferQueue | None, body: bytes, *, signed: bool = False) -> None:
        if queue == self.queue:
            return
        self.queue = queue
        try:
            self._store.write_state(QUEUE_STATE, {} if queue is None else {"body": body.decode(), "signed": signed})
        except WorldError:  # transfers report a disk that cannot be written; the next run reads the bucket again
            log.warning("The transfer queue could not be stored on disk", exc_info=True)


def _problem(signed: _Signed, ignored: tuple[str, ...], *, is_restricted: bool) -> str:
    """Return what is wrong with a queue without a valid signature; `ignored`: what it may not decide without one."""
    names = ignored[0] if len(ignored) == 1 else f"{', '.join(ignored[:-1])} and {ignored[-1]}" if ignored else ""
    if is_restricted and names:
        return f"The transfer queue is obeyed without {names}: {signed.why}"
    if signed.refused:
        return f"The transfer queue is obeyed as an unsigned one: {signed.why}"
    if names and signed.why:
        return f"The transfer queue is obeyed, but where signatures are enforced {names} would not be: {signed.why}"
    return ""
