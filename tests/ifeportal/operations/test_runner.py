"""Slices of operations: what a kind reports, commits and returns, and what becomes of the operation."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from ifeportal.audit import Actor
from ifeportal.jobs.retries import RetryPolicy, WorkFailure
from ifeportal.models import AuditEntry
from ifeportal.operations.kinds import Continue, Done, OperationFailed, Result, Slice, Wait
from ifeportal.operations.models import Operation, OperationState
from ifeportal.operations.requests import RequestRejected, cancel, retry, wake
from loader.errors import BadName, Code, WorldError
from tests.conftest import Cast
from tests.support.operations import do_all, do_slice, kind, request

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def test_an_operation_runs_slice_after_slice_and_resumes_from_its_checkpoint(cast: Cast) -> None:
    def run(work: Slice) -> Result:
        at = work.operation.checkpoint.get("at", 0) + 40
        work.report(min(at, 100), 100, stage="reading")
        work.commit(at=at)
        return Done() if at >= 100 else Continue()

    with kind(run):
        operation = request(cast.acme, cast.mona)
        assert do_all() == 3
    operation.refresh_from_db()
    assert (operation.state, operation.bytes_done, operation.bytes_total) == (OperationState.SUCCEEDED, 100, 100)
    assert (operation.checkpoint, operation.stage, operation.fence) == ({"at": 120}, "reading", 3)
    assert (operation.holder, operation.lease_until, operation.attempts) == ("", None, 0)
    entries = AuditEntry.objects.order_by("pk").values_list("action", "target", "who")
    assert list(entries) == [
        ("operation.test.requested", "Film.tgz", "mona"),
        ("operation.test.succeeded", "Film.tgz", "mona"),
    ]


def test_an_operation_that_succeeded_has_done_all_bytes(cast: Cast) -> None:
    def run(work: Slice) -> Result:
        work.report(0, 100, stage="copying inside the store")
        return Done()

    with kind(run):
        operation = request(cast.acme, bytes_total=100)
        do_all()
    operation.refresh_from_db()
    assert (operation.bytes_done, operation.bytes_total) == (100, 100)


def test_a_wait_is_a_due_time_and_a_call_of_wake_ends_it(cast: Cast) -> None:
    with kind(lambda work: Wait(60, "Waits for the client.") if work.operation.fence == 1 else Done()):
        operation = request(cast.acme)
        assert do_all() == 1
        operation.refresh_from_db()
        assert (operation.state, operation.waiting_for) == (OperationState.WAITING, "Waits for the client.")
        wake(operation)
        assert do_all() == 1
    operation.refresh_from_db()
    assert operation.state == OperationState.SUCCEEDED


def test_wake_during_a_slice_ends_the_wait_that_follows(cast: Cast) -> None:
    def run(work: Slice) -> Result:
        if work.operation.fence == 1:
            wake(work.operation)
            return Wait(3600)
        return Done()

    with kind(run):
        request(cast.acme)
        assert do_all() == 2


def test_a_failure_of_the_world_is_retried_as_the_policy_says(cast: Cast) -> None:
    def run(work: Slice) -> Result:
        raise WorldError(Code.NETWORK, "The store is away.", retry_after=30)

    with kind(run, retry_policy=RetryPolicy(max_attempts=2)):
        operation = request(cast.acme)
        assert do_all() == 1
        operation.refresh_from_db()
        assert (operation.state, operation.error_code, operation.attempts) == (OperationState.WAITING, "NETWORK", 1)
        assert operation.next_try_at is not None
        assert operation.next_try_at > timezone.now() + timedelta(seconds=20)
        Operation.objects.update(next_try_at=timezone.now())
        assert do_all() == 1
    operation.refresh_from_db()
    assert (operation.state, operation.error, operation.can_retry) == (
        OperationState.FAILED,
        "The store is away.",
        True,
    )


@pytest.mark.parametrize(
    ("error", "code", "can_retry"),
    [
        (OperationFailed(WorkFailure(Code.HASH_MISMATCH, "The sum differs.")), "HASH_MISMATCH", True),
        (OperationFailed(WorkFailure(Code.HASH_MISMATCH, "It differs."), can_retry=False), "HASH_MISMATCH", False),
        (BadName("The name has a slash."), "BAD_NAME", False),
        (WorldError(Code.FORBIDDEN), "FORBIDDEN", True),
    ],
)
def test_a_permanent_failure_ends_the_operation(cast: Cast, error: Exception, code: str, can_retry: bool) -> None:
    ended: list[OperationState] = []

    def run(work: Slice) -> Result:
        raise error

    with kind(run, ended=lambda operation, state: ended.append(state)):
        operation = request(cast.acme)
        assert do_all() == 1
    operation.refresh_from_db()
    assert (operation.state, operation.error_code, operation.can_retry) == (OperationState.FAILED, code, can_retry)
    assert ended == [OperationState.FAILED]


def test_an_unexpected_error_is_logged_and_retried(cast: Cast, caplog: pytest.LogCaptureFixture) -> None:
    def run(work: Slice) -> Result:
        raise ValueError("secret details")

    with kind(run):
        operation = request(cast.acme)
        assert do_all() == 1
    operation.refresh_from_db()
    assert (operation.state, operation.error_code) == (OperationState.WAITING, "INTERNAL")
    assert "secret" not in operation.error
    assert "unexpected error" in caplog.text


@pytest.fixture
def cleaned() -> list[int]:
    return []


@pytest.mark.parametrize("state", ["queued", "waiting", "running"])
def test_a_cancelled_operation_is_cleaned_up_and_ends(cast: Cast, cleaned: list[int], state: str) -> None:
    def run(work: Slice) -> Result:
        if state == "waiting":
            return Wait(60)
        if state == "running":
            cancel(work.operation, Actor.job(cast.mona))
        work.commit()
        raise AssertionError("the commit raises CancelRequested")

    with kind(run, clean_up=lambda work: cleaned.append(work.operation.pk)):
        operation = request(cast.acme, cast.mona)
        if state != "queued":
            do_slice()
        if state != "running":
            cancel(operation, Actor.job(cast.mona))
        do_all()
    operation.refresh_from_db()
    assert operation.state == OperationState.CANCELLED
    assert cleaned == [operation.pk]
    with kind(), pytest.raises(RequestRejected):
        cancel(operation, Actor.job(cast.mona))


def test_a_cancelled_operation_can_be_retried(cast: Cast) -> None:
    with kind():
        operation = request(cast.acme, cast.mona)
        with pytest.raises(RequestRejected):
            retry(operation, Actor.job(cast.mona))
        cancel(operation, Actor.job(cast.mona))
        do_all()
        retry(operation, Actor.job(cast.mona))
        do_all()
    operation.refresh_from_db()
    assert (operation.state, operation.cancel_requested_at) == (OperationState.SUCCEEDED, None)


def test_an_operation_that_cannot_be_cancelled_any_more_goes_on(cast: Cast) -> None:
    with kind(can_cancel=lambda operation: False):
        operation = request(cast.acme)
        with pytest.raises(RequestRejected):
            cancel(operation, Actor.job(None))
        do_all()
    operation.refresh_from_db()
    assert operation.state == OperationState.SUCCEEDED


def test_an_operation_expires_after_its_clean_up(cast: Cast, cleaned: list[int]) -> None:
    with kind(lambda work: Wait(3600), clean_up=lambda work: cleaned.append(work.operation.pk)):
        operation = request(cast.acme, expires_at=timezone.now() + timedelta(hours=1))
        do_all()
        Operation.objects.update(expires_at=timezone.now())
        do_all()
    operation.refresh_from_db()
    assert operation.state == OperationState.EXPIRED
    assert cleaned == [operation.pk]
