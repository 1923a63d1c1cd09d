"""Operations of a kind for tests: rows in any state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from ifeportal.access import Role
from ifeportal.live.feed import FeedChange, publish
from ifeportal.models import Airline, User
from ifeportal.operations import kinds
from ifeportal.operations.kinds import Done, Kind, Result, Slice, register
from ifeportal.operations.models import OPEN_STATES, Operation, OperationState
from ifeportal.operations.notices import end_notices
from ifeportal.operations.queries import set_positions
from ifeportal.operations.serialization import operation_state

MEBIBYTE = 2**20
WORDS = {"half": Q(bytes_done__gt=0, state__in=OPEN_STATES)}


def _run(slice: Slice) -> Result:
    return Done()


def _status(operation: Operation) -> str:
    return "half" if operation.is_open and operation.bytes_done else operation.state


CHORE = Kind("chore", "Chore", _run, role=Role.OPERATOR, statuses=WORDS, status=_status)


@contextmanager
def chores() -> Iterator[None]:
    """Register the kind for a while."""
    register(CHORE)
    try:
        yield
    finally:
        kinds._kinds.pop(CHORE.name)


def create_operation(airline: Airline, user: User | None = None, **columns: Any) -> Operation:
    """Create an operation; by default a running one that is at 40%."""
    state = columns.setdefault("state", OperationState.RUNNING)
    now = timezone.now()
    values = {
        "kind": CHORE.name,
        "title": "Film of the month",
        "bytes_done": 40 * MEBIBYTE,
        "bytes_total": 100 * MEBIBYTE,
        "created_at": now,
        "queued_at": now,
        "updated_at": now,
    }
    if state == OperationState.RUNNING:
        values |= {"rate_bps": 4 * MEBIBYTE, "stage": "copying", "started_at": now}
    if state not in OPEN_STATES:
        values |= {"finished_at": now, "started_at": now - timedelta(minutes=1)}
    return Operation.objects.create(airline=airline, user=user, **(values | columns))


def tell(operation: Operation, **columns: Any) -> int:
    """Change the operation and publish it, as a worker does. Return the revision."""
    with transaction.atomic():
        Operation.objects.filter(pk=operation.pk).update(updated_at=timezone.now(), **columns)
        row = Operation.objects.select_related("airline", "user").get(pk=operation.pk)
        set_positions([row])
        change = FeedChange("operation", row.pk, row.airline_id, state=operation_state(row))
        rev = publish([*end_notices([row]), change])
    assert rev is not None
    return rev
