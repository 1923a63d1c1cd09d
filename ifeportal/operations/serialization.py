"""JSON of an operation, as the API, the feed and the pages show it. Reads only what the kind's details read."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from ifeportal.operations.kinds import registered_kinds
from ifeportal.operations.models import Operation, OperationState

SHORT_WAIT: Final = timedelta(seconds=10)  # within which a rate stays current
RESTARTABLE: Final = (OperationState.CANCELLED, OperationState.EXPIRED)

def operation_state(operation: Operation, position: int | None = None, now: datetime | None = None) -> dict[str, Any]:
    """Return the fields common to all kinds, and those of its kind. `position`: in the queue, 1 is next.

    Of the operation, its airline and its user are read. Times are ISO 8601 in UTC, sizes in bytes.
    """
    kind = registered_kinds().get(operation.kind)
    return {
        "id": str(operation.uuid),
        "kind": operation.kind,
        "airline": operation.airline.name,
        "user": operation.user.get_username() if operation.user else "",
        "title": operation.title,
        "status": kind.status(operation) if kind else operation.state,
        "state": operation.state,
        "stage": "" if operation.state == OperationState.SUCCEEDED else operation.stage,
        "bytes_done": operation.bytes_done,
        "bytes_total": operation.bytes_total,
        "percent": percent(operation),
        "rate_bps": operation.rate_bps if _is_measured(operation) else None,
        "eta_seconds": eta_seconds(operation),
        "position": position,
        "waiting_for": operation.waiting_for,
        "error_code": operation.error_code,
        "error": operation.error,
        "advice": operation.advice,
        "created_at": _time(operation.created_at),
        "started_at": _time(operation.started_at),
        "finished_at": _time(operation.finished_at),
        "expires_at": _time(operation.expires_at),
        "as_of": _time(now or operation.updated_at),
        **(kind.details(operation) if kind else {}),
    }


def percent(operation: Operation) -> int | None:
    """Return the whole percent of the current stage, rounded down: 100 only after success. None while unknown."""
    if operation.state == OperationState.SUCCEEDED:
        return 100
    if not operation.bytes_total:
        return None
    return min(99, operation.bytes_done * 100 // operation.bytes_total)


def eta_seconds(operation: Operation) -> int | None:
    """Return seconds until the last byte at the current rate; None if unknown."""
    if not _is_measured(operation) or not operation.rate_bps or operation.bytes_total is None:
        return None
    return (operation.bytes_total - operation.bytes_done) // operation.rate_bps


def _is_measured(operation: Operation) -> bool:
    """Return whether the rate is a current one: of an operation that runs, or is looked at again in a moment."""
    if operation.state == OperationState.RUNNING:
        return True
    if operation.state != OperationState.WAITING or operation.attempts or operation.next_try_at is None:
        return False
    return operation.next_try_at - operation.updated_at <= SHORT_WAIT


def can_cancel(operation: Operation, kind: Kind | None) -> bool:
    """Return whether the operation can be cancelled now, by a user with the kind's role."""
    if kind is None or not operation.is_open or operation.cancel_requested_at is not None:
        return False
    return kind.can_cancel(operation)


def can_retry(operation: Operation, kind: Kind | None) -> bool:
    """Return whether the operation can be queued again, by a user with the kind's role."""
    if kind is None or not kind.can_retry(operation):
        return False
    return operation.state in RESTARTABLE or (operation.state == OperationState.FAILED and operation.can_retry)


def _times(operation: Operation) -> dict[str, str | None]:
    times = {
        "created_at": operation.created_at,
        "started_at": operation.started_at,
        "finished_at": operation.finished_at,
        "expires_at": operation.expires_at,
        "as_of": operation.updated_at,
    }
    return {name: _iso(value) for name, value in times.items()}


def _iso(value: datetime | None) -> str | None:
    return None if value is None else formatting.iso(value)
