"""Reads the signed transfer queue of a tail. Pure."""

from __future__ import annotations

from loader.contract.transfer_queue import TransferQueue, parse_transfer_queue
from loader.signatures.dsse import BadEnvelope


def read_signed_queue(payload: bytes, airline: str, tail: str) -> TransferQueue:
    """Return the queue in a payload that has enough signatures, found at the key of this airline and tail.

    Without the fields `airline` and `tail`, a queue is valid at the key of any tail whose keys have signed it.

    Raises:
        BadTransferQueue: it breaks the contract.
        BadEnvelope: it names another airline or tail.
    """
    queue = parse_transfer_queue(payload)
    for name, expected in (("airline", airline), ("tail", tail)):
        actual = queue.extra.get(name)
        if actual is not None and actual != expected:
            raise BadEnvelope(f"it was signed for another {name}: {str(actual)[:80]!a}, not {expected!a}")
    return queue
