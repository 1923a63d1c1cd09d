"""The JSON of an operation: the same in the API, in the feed, on pages and in files. Pure.

Sizes are in bytes, rates in bytes per second, `eta_seconds` in seconds, times in UTC (ISO 8601 with Z).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from ifeportal import formatting
from ifeportal.operations.kinds import Kind, registered_kinds
from ifeportal.operations.models import Operation, OperationState

SHORT_WAIT: Final = timedelta(seconds=10)  # within which a rate stays current
RESTARTABLE: Final = (OperationState.CANCELLED, OperationState.EXPIRED)


def operation_state(operation: Operation, position: int | None = None) -> dict[str, Any]:
    """Return the operation with its airline and user by name, and the further fields of its kind.

    `position` is its place in the queue: 1 starts next. By default it is that of `queries.set_positions`. It is None
    for an operation that is not queued.
    """
    kind = registered_kinds().get(operation.kind)
    position = operation.queue_position if position is None else position
    details = kind.details(operation) if kind else {}
    return {
        **details,
        "id": str(operation.uuid),
        "kind": operation.kind,
        "airline": operation.airline.name,
        "user": operation.user.get_username() if operation.user else None,
        "title": operation.title,
        "status": kind.status(operation) if kind else operation.state,
        "state": operation.state,
        "stage": "" if operation.state == OperationState.SUCCEEDED else operation.stage,
        "bytes_done": operation.bytes_done,
        "bytes_total": operation.bytes_total,
        "percent": percent(operation),
        "rate_bps": operation.rate_bps if _is_measured(operation) else None,
        "eta_seconds": eta_seconds(operation),
        "position": position if operation.state == OperationState.QUEUED else None,
        "waiting_for": operation.waiting_for if operation.is_open else "",
        "error_code": operation.error_code,
        "error": operation.error,
        "advice": operation.advice,
        "can_cancel": can_cancel(operation, kind),
        "can_retry": can_retry(operation, kind),
        "page": kind.page(operation) if kind else "",
        **_times(operation),
    }


def percent(operation: Operation) -> int | None:
    """Return whole percent of the bytes, rounded down; 100 only once the operation has succeeded, None if unknown."""
    if operation.state == OperationState.SUCCEEDED:
        return 100
    if operation.bytes_total is None:
        return None
    return min(99, operation.bytes_done * 100 // operation.bytes_total) if operation.bytes_total else 0


def eta_seconds(operation: Operation) -> int | None:
    """Return seconds until the last byte at the current rate; None if unknown."""
    if not _is_measured(operation) or not operation.rate_bps or operation.bytes_total is None:
        return None
    return -int(-(operation.bytes_total - operation.bytes_done) // operation.rate_bps)


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
