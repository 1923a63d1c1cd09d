"""Requests for operations: submit, wake, cancel, retry. Touches the database only.

Each call publishes the operation in the feed and wakes workers when its transaction commits.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone

from ifeportal import audit
from ifeportal.audit import Actor
from ifeportal.formatting import size
from ifeportal.jobs.broker import request_worker
from ifeportal.models import Airline
from ifeportal.operations.admission import queue
from ifeportal.operations.feed import publish_operations
from ifeportal.operations.kinds import Kind, registered_kinds, related_rows
from ifeportal.operations.models import Operation, OperationState

TITLE_LIMIT = Operation._meta.get_field("title").max_length
RETRIABLE = (OperationState.FAILED, OperationState.CANCELLED, OperationState.EXPIRED)


class RequestRejected(Exception):
    """The operation cannot be requested, cancelled or retried; `str()` is a sentence that says why."""


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
    audited: bool = True,
) -> Operation:
    """Create an operation. Call it in the transaction that creates the row of its kind.

    With `start_at` it begins in the state WAITING. At `expires_at` it expires unless it has ended.
    `audited`: record the request in the audit log; False if the caller records its act itself.

    Raises RequestRejected if it needs more space than there is in all.
    """
    registered = registered_kinds()[kind]
    _check_space(registered, reserved_bytes)
    now = timezone.now()
    with transaction.atomic():
        operation = Operation.objects.create(
            kind=kind,
            airline=airline,
            user=actor.user,
            title=title[:TITLE_LIMIT],
            state=OperationState.QUEUED if start_at is None else OperationState.WAITING,
            stage=stage,
            bytes_total=bytes_total,
            lane=registered.lane,
            priority=priority,
            reserved_bytes=reserved_bytes,
            waiting_for=waiting_for,
            next_try_at=start_at,
            expires_at=expires_at,
            checkpoint=checkpoint or {},
            created_at=now,
            queued_at=now,
            updated_at=now,
        )
        if audited:
            audit.record(actor, f"operation.{kind}.requested", operation.title, airline=airline)
        _announce_at_commit(operation)
    return operation


def wake(operation: Operation) -> None:
    """Make a waiting operation due now. Does nothing if it has ended or waits for another attempt after a failure.

    If a worker does a slice of it, the slice that follows is due at once.
    """
    now = timezone.now()
    open_row = Operation.objects.open().filter(pk=operation.pk)
    with transaction.atomic():
        waiting = open_row.filter(state=OperationState.WAITING, attempts=0)
        if waiting.update(next_try_at=now) or open_row.filter(state=OperationState.RUNNING).update(woken=True):
            _announce_at_commit(operation)


def cancel(operation: Operation, actor: Actor, *, audited: bool = True) -> None:
    """Request that an open operation ends. A worker cleans up and ends it. Raises RequestRejected.

    `audited`: as in `submit`.
    """
    now = timezone.now()
    with transaction.atomic():
        row = _locked(operation)
        if not row.is_open:
            raise RequestRejected("The operation has already ended.")
        kind = registered_kinds()[row.kind]
        if not kind.can_cancel(row):
            raise RequestRejected("The operation cannot be cancelled any more: it is about to end.")
        if row.cancel_requested_at is None:
            Operation.objects.filter(pk=row.pk).update(
                cancel_requested_at=now, next_try_at=now, attempts=0, waiting_for="Is being cancelled.", updated_at=now
            )
            if audited:
                audit.record(actor, f"operation.{row.kind}.cancel", kind.subject(row), airline=row.airline)
            _announce_at_commit(row)
    operation.refresh_from_db()


def retry(operation: Operation, actor: Actor) -> None:
    """Queue a failed, cancelled or expired operation again, from its checkpoint. Raises RequestRejected."""
    now = timezone.now()
    with transaction.atomic():
        row = _locked(operation)
        if row.state not in RETRIABLE:
            raise RequestRejected("Only an operation that failed, was cancelled or expired can be retried.")
        kind = registered_kinds()[row.kind]
        if (row.state == OperationState.FAILED and not row.can_retry) or not kind.can_retry(row):
            raise RequestRejected("A retry of this operation cannot succeed. Start a new one.")
        _check_space(kind, row.reserved_bytes)
        if row.expires_at is not None and row.expires_at <= now:
            row.expires_at = now + (row.expires_at - row.queued_at)
        row.clear_attempts()
        row.state, row.queued_at, row.updated_at = OperationState.QUEUED, now, now
        row.cancel_requested_at = row.started_at = row.finished_at = None
        row.can_retry, row.woken, row.rate_bps, row.progress_at = False, False, None, None
        row.save()
        kind.restart(row)
        audit.record(actor, f"operation.{row.kind}.retry", kind.subject(row), airline=row.airline)
        _announce_at_commit(row)
    operation.refresh_from_db()


def _locked(operation: Operation) -> Operation:
    rows = Operation.objects.select_for_update(of=("self",)).select_related(*related_rows())
    return rows.get(pk=operation.pk)


def _check_space(kind: Kind, reserved_bytes: int) -> None:
    limit = kind.space.limit() if kind.space is not None else None
    if limit is not None and reserved_bytes > limit:
        raise RequestRejected(f"This needs {size(reserved_bytes)} of space, more than the limit of {size(limit)}.")


def _announce_at_commit(operation: Operation) -> None:
    # Workers also find the operation without a message, so an error here does no harm.
    transaction.on_commit(partial(_announce, operation.pk), robust=True)


def _announce(pk: int) -> None:
    with transaction.atomic():
        queue.request_admission()
        request_worker()
        publish_operations([pk])
