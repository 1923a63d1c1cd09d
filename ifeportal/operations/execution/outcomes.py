"""Ends of slices: what follows is written in one transaction with the rows of the kind, and published.

Touches the operation's row, the feed and the audit log.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import Case, Value, When

from ifeportal import audit
from ifeportal.jobs.retries import NO_ATTEMPTS, WorkFailure
from ifeportal.operations.admission.queue import slice_due
from ifeportal.operations.execution.slices import WorkerSlice, progress_columns
from ifeportal.operations.feed import publish_operations
from ifeportal.operations.kinds import Continue, Done, Kind, Result, Wait, Write
from ifeportal.operations.models import Operation, OperationState
from loader.errors import Code
from loader.s3.auth.redaction import redact

REASON_LIMIT: Final = 300  # characters
NOT_CONTINUED: Final = WorkFailure(
    Code.EXPIRED, "The operation was not continued before it expired.", "Retry it, or start a new one."
)
logger = logging.getLogger(__name__)


def record_result(work: WorkerSlice, kind: Kind, result: Result) -> None:
    """Record what follows a slice that ended well. Raises LeaseLost and what the result's `write` raises."""
    now = work.now
    match result:
        case Continue():
            columns = {"state": OperationState.RUNNING, "next_try_at": slice_due(work.operation.lane, now)}
            _leave(work, {**NO_ATTEMPTS, **columns}, result.write)
        case Wait():
            due = now + timedelta(seconds=max(result.seconds, 0.0))
            columns = {"state": OperationState.WAITING, "waiting_for": result.reason[:REASON_LIMIT]}
            _leave(work, {**NO_ATTEMPTS, **columns, "next_try_at": _unless_woken(due, now)}, result.write)
        case Done():
            # The last stage may be one without bytes of its own, such as a copy inside the store.
            progress = work.progress()
            done = progress.done if progress.total is None else progress.total
            _end(work, kind, OperationState.SUCCEEDED, {**NO_ATTEMPTS, "bytes_done": done}, result.write)


def postpone_or_fail(work: WorkerSlice, kind: Kind, failure: WorkFailure, *, can_retry: bool = True) -> None:
    """Record a failed attempt: another follows if the retry policy has one left. Raises LeaseLost."""
    pause = kind.retry_policy.next_pause(work.operation.attempts, failure)
    if pause is None:
        fail(work, kind, failure, can_retry=can_retry)
        return
    logger.warning("operation %s: %s: %s; next attempt in %.0f s", work.operation, failure.code, failure.error, pause)
    reason = f"The last attempt failed; the next one follows after {pause:.0f} s."
    due = work.now + timedelta(seconds=pause)
    columns = {"state": OperationState.WAITING, "waiting_for": reason, "next_try_at": due, **_error_columns(failure)}
    _leave(work, columns)


def fail(work: WorkerSlice, kind: Kind, failure: WorkFailure, *, can_retry: bool = True) -> None:
    """End the operation as failed, unless someone has cancelled it. Raises LeaseLost."""
    logger.warning("operation %s failed: %s: %s", work.operation, failure.code, failure.error)
    _end(work, kind, OperationState.FAILED, {**_error_columns(failure), "can_retry": can_retry})


def leave_to_cleanup(work: WorkerSlice) -> None:
    """End the slice of an operation that someone has cancelled: another slice cleans up. Raises LeaseLost."""
    _leave(work, {})


def postpone_cleanup(work: WorkerSlice, kind: Kind, failure: WorkFailure) -> None:
    """Record that the clean-up failed. It is repeated as the retry policy says, then the operation ends without it."""
    pause = kind.retry_policy.next_pause(work.operation.attempts, failure)
    if pause is None:
        end_cancelled(work, kind, failure)
        return
    logger.warning("operation %s: clean-up: %s: %s; next attempt in %.0f s", work.operation, *_words(failure), pause)
    due = work.now + timedelta(seconds=pause)
    with transaction.atomic():
        work.lease.check_fence()
        work.lease.release(next_try_at=due, updated_at=work.now, **_error_columns(failure))
        publish_operations([work.operation.pk])


def end_cancelled(work: WorkerSlice, kind: Kind, failure: WorkFailure | None = None) -> None:
    """End a cancelled or expired operation. `failure`: why it was not cleaned up. Raises LeaseLost."""
    row = work.operation
    if failure is not None:
        logger.error("operation %s ends without clean-up: %s: %s", row, *_words(failure))
    is_expired = row.expires_at is not None and row.cancel_requested_at is not None
    is_expired = is_expired and row.expires_at <= row.cancel_requested_at  # type: ignore[operator]
    if failure is None and is_expired:
        failure = NOT_CONTINUED
    errors = NO_ATTEMPTS if failure is None else _error_columns(failure)
    _end(work, kind, OperationState.EXPIRED if is_expired else OperationState.CANCELLED, errors)


def _leave(work: WorkerSlice, columns: Mapping[str, Any], write: Write | None = None) -> None:
    """End the slice. If someone has cancelled the operation, a slice follows that cleans up."""
    with transaction.atomic():
        work.lease.check_fence()
        if work.lease.is_cancelled:
            columns = {"next_try_at": work.now, "attempts": 0}
        _release(work, {"waiting_for": "", **columns} if columns else {}, write)


def _end(
    work: WorkerSlice, kind: Kind, state: OperationState, columns: Mapping[str, Any], write: Write | None = None
) -> None:
    """End the operation. One that someone has cancelled ends after its clean-up, unless it has succeeded."""
    with transaction.atomic():
        work.lease.check_fence()
        if state == OperationState.FAILED and work.lease.is_cancelled:
            _release(work, {"next_try_at": work.now, "attempts": 0})
            return
        now = work.now
        ended = {"state": state, "finished_at": now, "next_try_at": None, "waiting_for": "", "rate_bps": None}
        _release(work, {**columns, **ended}, write, kind)


def _release(
    work: WorkerSlice, columns: Mapping[str, Any], write: Write | None = None, ended: Kind | None = None
) -> None:
    """Write the last progress and `columns`, and release the lease, in the open transaction that checked it."""
    row, progress = work.operation, work.progress()
    values = {**progress_columns(progress), "updated_at": work.now, **columns}
    for name, value in values.items():
        if not hasattr(value, "resolve_expression"):
            setattr(row, name, value)
    if write is not None:
        write()
    if ended is not None and row.state != OperationState.SUCCEEDED:
        ended.ended(row, OperationState(row.state))
    work.lease.release(**values)
    if ended is not None:
        _record_end(row, ended)
    publish_operations([row.pk])


def _record_end(row: Operation, kind: Kind) -> None:
    changes = {"error": ("", row.error_code)} if row.error_code else None
    actor = audit.Actor.job(row.user)
    audit.record(actor, f"operation.{row.kind}.{row.state}", kind.subject(row), airline=row.airline, changes=changes)


def _unless_woken(due: datetime, now: datetime) -> Case:
    """Return `due`, or now if `wake` was called since the slice began: it may not have seen the reason."""
    return Case(When(woken=True, then=Value(now)), default=Value(due))


def _error_columns(failure: WorkFailure) -> dict[str, Any]:
    return {"error_code": failure.code.value, "error": redact(failure.error), "advice": failure.advice}


def _words(failure: WorkFailure) -> tuple[str, str]:
    return failure.code.value, failure.error
