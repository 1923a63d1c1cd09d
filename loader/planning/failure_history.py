"""Remembers failures that a retry would only repeat, until manifest, object or time changes.

Pure but for its memory, which lasts as long as the process: after a restart everything is tried again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from loader.errors import Cause, Code
from loader.storage.inventory import ItemKey

# Trying again would only repeat these; everything else is tried again after every poll.
_BLOCKING_CAUSES: Final = frozenset({Cause.OBJECT, Cause.DISK, Cause.ACCESS, Cause.LOADER})
BLOCK_TIME: Final = 600.0  # seconds


@dataclass(frozen=True, slots=True)
class _Failure:
    code: Code
    digest: str
    etag: str
    until: float


class FailureHistory:
    """Remembers by (campaign, content)."""

    def __init__(self) -> None:
        self._failures: dict[ItemKey, _Failure] = {}

    @property
    def with_object_failures(self) -> set[str]:
        """Those with an item that failed because of its object: listing them tells whether it is another one now."""
        # The thread that looks asks while results come in. A list of the items would not do: making its tuples may
        # start a garbage collection, and with it another thread.
        return {
            campaign for (campaign, _), failure in self._failures.copy().items() if failure.code.cause is Cause.OBJECT
        }

    def record(self, key: ItemKey, code: Code | None, digest: str, etag: str, now: float) -> None:
        """It was tried and failed with `code`, or is well (None). `digest` is the manifest's, `etag` the object's."""
        self._failures.pop(key, None)
        # Each plan decides anew whether there is space.
        if code and code.cause in _BLOCKING_CAUSES and code is not Code.NO_SPACE:
            self._failures[key] = _Failure(code, digest, etag, now + BLOCK_TIME)

    def blocked_items(
        self, digests: Mapping[str, str], etags: Mapping[ItemKey, str], now: float
    ) -> dict[ItemKey, Code]:
        """The codes of what would only fail again. Forgets what has a new manifest or object, or had time enough."""
        for key, failure in list(self._failures.items()):
            other_object = failure.code.cause is Cause.OBJECT and etags.get(key, failure.etag) != failure.etag
            # To find wrong bytes again would cost the whole item each time; the rest costs a request.
            waited = failure.code is not Code.HASH_MISMATCH and now >= failure.until
            if digests.get(key.campaign) != failure.digest or other_object or waited:
                del self._failures[key]
        return {key: failure.code for key, failure in self._failures.items()}
