"""JSON of an operation, as the API, the feed and the pages show it. Reads only what the kind's details read."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ifeportal.operations.kinds import registered_kinds
from ifeportal.operations.models import Operation, OperationState


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
        "stage": operation.stage,
        "bytes_done": operation.bytes_done,
        "bytes_total": operation.bytes_total,
        "percent": percent(operation),
        "rate_bps": operation.rate_bps,
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
    """Return the seconds until all bytes of the stage are done, at the current rate; None if it is unknown."""
    if operation.state != OperationState.RUNNING or not operation.rate_bps or operation.bytes_total is None:
        return None
    return (operation.bytes_total - operation.bytes_done) // operation.rate_bps


def _time(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
