"""Remembers failures that a retry would only repeat, until manifest, object or time changes.

Stored in memory only: after a restart everything is tried again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from loader.errors import Cause, Code
from loader.frozen import frozen
from loader.storage.inventory import ItemKey

# A retry would only repeat failures with these causes. All other ones are retried after every poll.
_BLOCKING_CAUSES: Final = frozenset({Cause.OBJECT, Cause.DISK, Cause.MANIFEST, Cause.ACCESS, Cause.LOADER})
BLOCK_TIME: Final = 600.0  # seconds


@frozen
class _Failure:
    """A failure, of this version of the manifest and this object; it blocks the item until `until`."""

    code: Code
    digest: str
    etag: str
    until: float


class FailureHistory:
    """Remembers the last blocking failure of each item."""

    def __init__(self) -> None:
        self._failures: dict[ItemKey, _Failure] = {}

    @property
    def with_object_failures(self) -> set[str]:
        """Campaigns with an item that failed because of its object; a listing shows whether that was replaced."""
        # The polling thread reads this while other threads record results. A copy of the dictionary is atomic; a list
        # of its items is not: creating the tuples may start a garbage collection, and with it another thread.
        return {
            campaign for (campaign, _), failure in self._failures.copy().items() if failure.code.cause is Cause.OBJECT
        }

    def record(self, key: ItemKey, code: Code | None, digest: str, etag: str, now: float) -> None:
        """Record a failure with `code`, or a success (None).

        `digest`: of the manifest. `etag`: of the object (`loader.transfer.task.TransferOutcome`). `now`: monotonic
        seconds.
        """
        self._failures.pop(key, None)
        # Every plan checks the space again.
        if code and code.cause in _BLOCKING_CAUSES and code is not Code.NO_SPACE:
            self._failures[key] = _Failure(code, digest, etag, now + BLOCK_TIME)

    def blocked_items(
        self, digests: Mapping[str, str], etags: Mapping[ItemKey, str], now: float
    ) -> dict[ItemKey, Code]:
        """Return the codes of items that would only fail again.

        Forgets failures whose manifest or object has changed, and those that are older than BLOCK_TIME.
        """
        for key, failure in list(self._failures.items()):
            other_object = failure.code.cause is Cause.OBJECT and etags.get(key, failure.etag) != failure.etag
            # A retry after HASH_MISMATCH downloads the complete item again; after other failures it costs one request.
            waited = failure.code is not Code.HASH_MISMATCH and now >= failure.until
            if digests.get(key.campaign) != failure.digest or other_object or waited:
                del self._failures[key]
        return {key: failure.code for key, failure in self._failures.items()}
