"""Signs the transfer queue of a tail: the exact bytes of `<tail>.json`, in `<tail>.json.dsse` beside it.

A queue that the aircraft would refuse is not signed. Touches the media bucket only.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from campaigns.signing.envelopes import SigningError, add_signatures, read_envelope
from ifeportal.storage.conditional_writes import OnNotice
from loader.contract.keys import queue_key, queue_signature_key
from loader.contract.transfer_queue import QUEUE_LIMIT, TransferQueue, check_version_step
from loader.errors import BadName, Code, ContractError
from loader.s3.interface import Bucket, GetResult
from loader.signatures.dsse import QUEUE_TYPE, Envelope
from loader.signatures.signed_queue import read_signed_queue

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class QueueSignResult:
    """A signed queue. `keys`: ids of the keys that signed now; `others`: ids of the earlier signatures.

    `names_its_tail`: the queue has the fields `airline` and `tail`, so that its signature is valid for no other tail.
    """

    airline: str
    tail: str
    version: int
    sha256: str
    names_its_tail: bool
    keys: tuple[str, ...]
    others: tuple[str, ...]


def sign_queue(
    airline: str,
    tail: str,
    media: Bucket,
    keys: Sequence[Ed25519PrivateKey],
    *,
    sha256: str | None = None,
    notice: OnNotice = logger.warning,
) -> QueueSignResult:
    """Sign the queue in the bucket with each of `keys`. Existing signatures of the same bytes are preserved.

    `sha256`: hash of the queue to sign. One with another hash is not signed. `notice` gets sentences about the store.

    Raises:
        SigningError: the queue is missing or has another hash, or the aircraft would refuse it; nothing was written.
        WorldError: the bucket failed.
    """
    fetched = _read_queue(airline, tail, media)
    digest = hashlib.sha256(fetched.body).hexdigest()
    if sha256 is not None and sha256 != digest:
        raise SigningError(f"expected SHA-256 {sha256}, but the queue has {digest}", code=Code.OBJECT_CHANGED)
    queue = _parse(fetched.body, airline, tail)
    stored = read_envelope(media, queue_signature_key(airline, tail), kind=QUEUE_TYPE, limit=QUEUE_LIMIT)
    present = stored.envelope
    if present is not None and present.payload != fetched.body:
        _require_next_version(present.payload, queue, airline, tail)
        present = None
    signers = add_signatures(media, stored, present or Envelope(fetched.body, QUEUE_TYPE), keys, notice)
    names_its_tail = {"airline", "tail"} <= queue.extra.keys()
    return QueueSignResult(airline, tail, queue.version, digest, names_its_tail, signers.keys, signers.others)


def format_queue_summary(result: QueueSignResult) -> str:
    """Return the result as lines of text."""
    lines = [
        f"Signed the transfer queue of {result.airline}/{result.tail}, version {result.version}",
        f"SHA-256 of the queue: {result.sha256}",
        *(f"Signed by key {keyid}" for keyid in result.keys),
        *(f"Already signed by key {keyid}" for keyid in result.others),
    ]
    if not result.names_its_tail:
        lines.append(
            'The queue has no fields "airline" and "tail", so this signature is valid for every tail that trusts the '
            "key. Add both fields, and sign again."
        )
    return "\n".join(lines)


def _read_queue(airline: str, tail: str, media: Bucket) -> GetResult:
    try:
        fetched = media.get(queue_key(airline, tail), QUEUE_LIMIT)
    except BadName as error:
        raise SigningError(str(error)) from error
    if fetched is None:
        raise SigningError(f"{airline}/{tail} has no transfer queue")
    if fetched.truncated:
        raise SigningError(f"the transfer queue is longer than {QUEUE_LIMIT:,} bytes")
    return fetched


def _parse(body: bytes, airline: str, tail: str) -> TransferQueue:
    try:
        return read_signed_queue(body, airline, tail)
    except ContractError as error:
        raise SigningError(f"the aircraft would refuse the queue: {error}") from error


def _require_next_version(payload: bytes, queue: TransferQueue, airline: str, tail: str) -> None:
    try:
        signed = read_signed_queue(payload, airline, tail).version
    except ContractError:  # nothing that an aircraft can have accepted
        return
    if signed == queue.version:
        raise SigningError(f"another queue with version {signed} is already signed: write a higher version")
    try:
        check_version_step(queue, signed)
    except ContractError as error:
        raise SigningError(f"the aircraft would refuse the queue: {error}") from error
