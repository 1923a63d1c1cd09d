"""Operations in tests: kinds with scripted slices, and workers that do them in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ifeportal.audit import Actor
from ifeportal.models import Airline, User
from ifeportal.operations import kinds
from ifeportal.operations.execution.runner import perform, take_slice
from ifeportal.operations.kinds import Done, Kind, Result, Slice
from ifeportal.operations.models import Operation
from ifeportal.operations.requests import submit

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


def do_slice() -> Operation | None:
    """Do one slice as a worker does. Return its operation; None if nothing is due."""
    work = take_slice(after_slice=True)
    if work is None:
        return None
    perform(work)
    return work.operation


def cancel(operation: Operation, actor: Actor) -> None:
    """Record the request, as `requests.cancel` does, without a worker that ends the operation."""
    if not operation.is_open or operation.cancel_requested_at is not None:
        raise RequestRejected("The operation has already ended.")
    audit.record(actor, f"operation.{operation.kind}.cancel", operation.title, airline=operation.airline)
    tell(operation, cancel_requested_at=timezone.now())


def retry(operation: Operation, actor: Actor) -> None:
    """Queue the operation again, as `requests.retry` does."""
    if operation.is_open or operation.state == OperationState.SUCCEEDED:
        raise RequestRejected("The operation has not failed.")
    audit.record(actor, f"operation.{operation.kind}.retry", operation.title, airline=operation.airline)
    tell(operation, state=OperationState.QUEUED, finished_at=None, error="", error_code="")


def without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the requests by those of this module."""
    monkeypatch.setattr("ifeportal.operations.requests.cancel", cancel)
    monkeypatch.setattr("ifeportal.operations.requests.retry", retry)
