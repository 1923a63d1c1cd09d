"""Replaces an object of the media bucket unless another client did, on stores with and without conditional writes.

Stores differ: some reject `If-Match` or `If-None-Match` (501, 400), some compare ETags only without quotes and answer
412 for an object that did not change. So a refused write is followed by a read, which decides. Touches the bucket only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from loader.errors import Cause, Code, Unsupported, WorldError
from loader.s3.conditional import Overtaken, put_if_unchanged
from loader.s3.interface import Bucket, GetResult

logger = logging.getLogger(__name__)
OnNotice = Callable[[str], None]

UNCONDITIONAL: Final = (
    "The store does not support conditional writes as S3 does, so it was written without a condition. Do not publish "
    "or sign the same campaign from two places at the same time: the later write replaces the earlier one."
)
_NOT_ABOUT_THE_CONDITION: Final = frozenset({Cause.AUTHENTICATION, Cause.ACCESS})


def replace_object(
    bucket: Bucket, key: str, body: bytes, before: GetResult | None, notice: OnNotice = logger.warning
) -> str:
    """Write `key` if it is still the complete object `before` (None: absent), and return its new ETag.

    If the store refuses the condition although the object did not change, `notice` gets a sentence, and the object is
    written without a condition.

    Raises:
        Overtaken: another client created, replaced or deleted the object; nothing was written.
        WorldError: the store failed.
    """
    try:
        return put_if_unchanged(bucket, key, body, before.etag if before else None)
    except Overtaken as error:
        refusal: Overtaken | WorldError = error
    except WorldError as error:
        if error.permanent and error.cause in _NOT_ABOUT_THE_CONDITION:
            raise
        refusal = error
    current = bucket.get(key, max(len(body), len(before.body) if before else 0) + 1)
    if current is not None and current.body == body:
        return current.etag  # the write arrived; only its response was wrong or lost
    if isinstance(refusal, WorldError) and not _may_reject_the_condition(refusal):
        raise refusal
    if not _is_same(current, before):
        raise Overtaken(str(refusal)) from refusal
    logger.warning("%s: the conditional write was refused although the object is unchanged: %s", key, refusal)
    etag = bucket.put(key, body)
    notice(UNCONDITIONAL)
    return etag


def _may_reject_the_condition(error: WorldError) -> bool:
    """Return whether the store may have refused the condition rather than the write: 501, 400 and the like."""
    return isinstance(error, Unsupported) or (error.permanent and error.code != Code.OBJECT_GONE)


def _is_same(current: GetResult | None, before: GetResult | None) -> bool:
    if current is None or before is None:
        return current is before
    return current.size == before.size and current.body[: len(before.body)] == before.body
