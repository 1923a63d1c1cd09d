"""Requests for operations: submit, wake, cancel, retry. Touches the database only.

Each call publishes the operation in the feed and wakes workers when its transaction commits.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ifeportal.audit import Actor
from ifeportal.models import Airline
from ifeportal.operations.models import Operation


class RequestRejected(Exception):
    """The operation cannot be cancelled or retried; `str()` is a sentence that says why."""


def submit(
    kind: str,
    airline: Airline,
    actor: Actor,
    title: str,
    *,
    bytes_total: int | None = None,
    reserved_bytes: int = 0,
    priority: int = 0,
    stage: str = "",
    start_at: datetime | None = None,
    waiting_for: str = "",
    expires_at: datetime | None = None,
    checkpoint: dict[str, Any] | None = None,
) -> Operation:
    """Create an operation. Call it in the transaction that creates the row of its kind.

    With `start_at` it begins in the state WAITING. At `expires_at` it expires unless it has ended.
    """
    raise NotImplementedError


def wake(operation: Operation) -> None:
    """Make a waiting operation due now. Does nothing if it has ended or is not waiting."""
    raise NotImplementedError


def cancel(operation: Operation, actor: Actor) -> None:
    """Request that an open operation ends. A worker cleans up and ends it. Raises RequestRejected."""
    raise NotImplementedError


def retry(operation: Operation, actor: Actor) -> None:
    """Queue a failed, cancelled or expired operation again, from its checkpoint. Raises RequestRejected."""
    raise NotImplementedError
