"""Operations of a kind for tests: rows in any state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
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

Run = Callable[[Slice], Result]


def done(work: Slice) -> Result:
    return Done()


@contextmanager
def kind(run: Run = done, name: str = "test", **fields: Any) -> Iterator[Kind]:
    """Register a kind whose slices are `run`, and remove it at the end."""
    made = replace(Kind(name, name.capitalize(), run), **fields)
    kinds.register(made)
    try:
        yield made
    finally:
        del kinds._kinds[name]


def request(airline: Airline, user: User | None = None, kind: str = "test", **options: Any) -> Operation:
    """Submit an operation."""
    return submit(kind, airline, Actor.job(user), options.pop("title", "Film.tgz"), **options)


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
