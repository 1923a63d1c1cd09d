"""Workers that die at any moment lose nothing: another resumes from the checkpoint once the lease has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from ifeportal import audit
from ifeportal.audit import Actor
from ifeportal.jobs.retries import RetryPolicy
from ifeportal.live.models import Change
from ifeportal.models import AuditEntry
from ifeportal.operations.execution.runner import perform, take_slice
from ifeportal.operations.kinds import Continue, Done, Result, Slice, Wait
from ifeportal.operations.models import Operation, OperationState
from ifeportal.operations.requests import cancel
from ifeportal.work_lease import LeaseLost
from tests.conftest import Cast
from tests.support.operations import do_all, do_slice, kind, request
from tests.support.profiles import PROFILE, THOROUGH

pytestmark = pytest.mark.django_db
STEPS = 4


class Killed(BaseException):
    """The worker is killed: no handler runs but the rollback of its transaction."""


@contextmanager
def killed_at(number: int) -> Iterator[Callable[[], bool]]:
    """Kill the worker before its transaction with this number. Yield whether that has happened.

    Within a transaction a kill has the same effect. The thorough profile tries every statement.
    """
    seen = 0

    def count(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        nonlocal seen
        begins = sql.startswith("SAVEPOINT")  # a transaction, because the test itself runs in one
        seen += begins or (PROFILE == THOROUGH and not sql.startswith(("RELEASE", "ROLLBACK")))
        if seen == number:
            seen += 1
            raise Killed
        return execute(sql, *rest)

    with connection.execute_wrapper(count), suppress(Killed):
        yield lambda: seen > number


def end_leases() -> None:
    Operation.objects.exclude(lease_until=None).update(lease_until=timezone.now() - timedelta(seconds=1))


def steps(work: Slice) -> Result:
    """Two steps in a slice, each with a row that must be written once."""
    for _ in range(2):
        at = work.operation.checkpoint.get("at", 0)
        if at == STEPS:
            return Done(lambda: audit.record(Actor.job(None), "end", "test"))
        work.report(at + 1, STEPS, stage="working")
        work.commit(lambda at=at: audit.record(Actor.job(None), f"step.{at}", "test"), at=at + 1)  # type: ignore[misc]
    return Wait(0) if work.operation.checkpoint["at"] == 2 else Continue()


def test_a_worker_killed_at_any_statement_loses_nothing_and_repeats_nothing(cast: Cast) -> None:
    wanted = {*(f"step.{at}" for at in range(STEPS)), "end", "operation.test.requested", "operation.test.succeeded"}
    number, was_killed = 0, True
    while was_killed:
        number += 1
        with transaction.atomic(), kind(steps):
            operation = request(cast.acme)
            with killed_at(number) as has_happened:
                do_all()
            was_killed = has_happened()
            before = Operation.objects.get()
            end_leases()
            do_all()
            after = Operation.objects.get()
            assert after.state == OperationState.SUCCEEDED
            assert sorted(AuditEntry.objects.values_list("action", flat=True)) == sorted(wanted)
            assert before.bytes_done <= after.bytes_done == STEPS
            assert (after.holder, after.attempts) == ("", 0)
            published = Change.objects.get(topic="operation", object=operation.pk).state
            assert (published["status"], published["percent"]) == ("succeeded", 100)
            transaction.set_rollback(True)
    assert number > 12, "admission and claim, progress, commits and the end of each slice"


def test_a_cancelled_operation_whose_worker_is_killed_is_still_cleaned_up(cast: Cast) -> None:
    number, was_killed = 0, True
    while was_killed:
        number += 1
        cleaned: list[int] = []
        clean_up = partial(lambda cleaned, work: cleaned.append(work.operation.pk), cleaned)
        with transaction.atomic(), kind(lambda work: Wait(60), clean_up=clean_up):
            operation = request(cast.acme, cast.mona)
            do_slice()
            cancel(operation, Actor.job(cast.mona))
            with killed_at(number) as has_happened:
                do_all()
            was_killed = has_happened()
            end_leases()
            do_all()
            assert Operation.objects.get().state == OperationState.CANCELLED
            assert AuditEntry.objects.filter(action="operation.test.cancelled").count() == 1
            assert cleaned
            transaction.set_rollback(True)
    assert number > 2


def test_a_slice_that_kills_its_worker_each_time_is_not_repeated_for_ever(cast: Cast) -> None:
    def run(work: Slice) -> Result:
        raise Killed

    with kind(run, retry_policy=RetryPolicy(max_attempts=3)):
        operation = request(cast.acme)
        for _ in range(3):
            with pytest.raises(Killed):
                do_slice()
            end_leases()
        do_all()
    operation.refresh_from_db()
    assert (operation.state, operation.error_code, operation.can_retry) == (OperationState.FAILED, "INTERNAL", True)
    assert operation.error == "None of 3 attempts ended with a result."


def test_a_worker_that_was_taken_for_dead_commits_nothing_more(cast: Cast) -> None:
    with kind(lambda work: Done()):
        operation = request(cast.acme)
        slow = take_slice(after_slice=True)
        assert slow is not None
        assert take_slice(after_slice=True) is None, "no other worker does it while the lease lasts"
        end_leases()
        assert do_slice() is not None
        for late in (slow.lease.check_fence, slow.lease.renew, slow.commit, lambda: slow.report(1, stage="late")):
            with pytest.raises(LeaseLost), transaction.atomic():
                late()
        perform(slow)
    operation.refresh_from_db()
    assert (operation.state, operation.fence, operation.stage) == (OperationState.SUCCEEDED, 2, "")
    assert AuditEntry.objects.filter(action="operation.test.succeeded").count() == 1
