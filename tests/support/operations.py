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


def do_all(limit: int = 1_000) -> int:
    """Do slices until nothing is due. Return how many. Raises AssertionError after `limit`."""
    for number in range(limit):
        if do_slice() is None:
            return number
    raise AssertionError(f"something is still due after {limit} slices")
