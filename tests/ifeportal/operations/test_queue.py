"""The queue in the database: admission within the caps by any worker; positions; few statements."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import OrmQ
from pytest_django import DjangoCaptureOnCommitCallbacks

from ifeportal.jobs.broker import count_due, wake_workers
from ifeportal.live.models import Change
from ifeportal.models import Airline
from ifeportal.operations.admission import due_work, queue
from ifeportal.operations.execution.runner import perform, run_due_operations, take_slice
from ifeportal.operations.feed import positions_of
from ifeportal.operations.kinds import Caps, Continue, Done, Result, Slice, Space, Wait
from ifeportal.operations.models import Lane, Operation, OperationQueue, OperationState
from ifeportal.operations.requests import RequestRejected
from tests.conftest import Cast
from tests.support.operations import do_all, do_slice, kind, request

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
GB = 10**9
PATIENCE = 60.0  # seconds, reached only if something is broken


def admit() -> list[int]:
    with transaction.atomic():
        queue.lock_queue(timezone.now())
        return queue.admit(timezone.now())


def statements(queries: CaptureQueriesContext) -> list[str]:
    control = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK")
    return [query["sql"] for query in queries if not query["sql"].startswith(control)]


def states() -> Counter[str]:
    return Counter(Operation.objects.values_list("state", flat=True))


def test_caps_of_a_kind_hold_and_the_rest_waits_with_a_reason_and_a_position(cast: Cast) -> None:
    with kind(caps=Caps(total=3, per_airline=2)):
        for airline in [cast.acme] * 4 + [cast.beta] * 2:
            request(airline)
        assert len(admit()) == 3
        assert states() == {"running": 3, "queued": 3}
        queue.publish_queue_if_changed(timezone.now())
        waiting = list(Operation.objects.in_queue())
        assert waiting[0].waiting_for == "Waits until one of 3 running operations of this kind ends."
        assert positions_of(waiting) == {row.pk: position for position, row in enumerate(waiting, 1)}
        published = Change.objects.filter(topic="operation").values_list("object", "state__position")
        assert dict(published) == positions_of(waiting)
        admit()
        queue.publish_queue_if_changed(timezone.now())
        assert not OperationQueue.objects.get().is_changed, "nothing has changed since"
        assert do_all() == 6


def test_space_is_reserved_until_the_end_and_given_back(cast: Cast) -> None:
    space = Space("tickets", lambda: 10 * GB, lambda: 1 * GB)
    with kind(lambda work: Wait(60) if work.operation.fence == 1 else Done(), space=space):
        first = request(cast.acme, reserved_bytes=6 * GB)
        second = request(cast.acme, reserved_bytes=4 * GB)
        third = request(cast.acme, reserved_bytes=3 * GB)
        with pytest.raises(RequestRejected):
            request(cast.acme, reserved_bytes=11 * GB)
        do_all()
        queue.publish_queue_if_changed(timezone.now())
        second.refresh_from_db()
        third.refresh_from_db()
        assert second.waiting_for == "Waits for 4.00 GB of space: needs 4.00 GB, 0 B are free."
        assert third.state == OperationState.WAITING
        Operation.objects.filter(pk=first.pk).update(next_try_at=timezone.now())
        do_all()
        second.refresh_from_db()
        assert second.state == OperationState.WAITING


def test_the_total_holds_and_urgent_lanes_come_first(cast: Cast, settings: LazySettings) -> None:
    settings.OPERATIONS_AT_ONCE = 2
    begun: list[str] = []

    def run(work: Slice) -> Result:
        begun.append(work.operation.kind)
        return Done()

    with kind(run, "slow", lane=Lane.BACKGROUND), kind(run, "fast", lane=Lane.INTERACTIVE):
        for name in ("slow", "slow", "slow", "fast", "fast"):
            request(cast.acme, kind=name)
        assert len(admit()) == 2
        assert do_all() == 5
    assert begun == ["fast", "fast", "slow", "slow", "slow"]


def test_slices_take_turns_and_a_lower_lane_comes_more_often_but_starves_none(cast: Cast) -> None:
    begun: list[str] = []

    def run(work: Slice) -> Result:
        begun.append(work.operation.kind)
        return Done() if len(begun) > 30 else Continue()

    with kind(run, "slow", lane=Lane.DELETION), kind(run, "fast", lane=Lane.INTERACTIVE):
        request(cast.acme, kind="slow")
        request(cast.acme, kind="fast")
        for _ in range(24):
            do_slice()
            # Time passes: three seconds for each slice.
            Operation.objects.update(next_try_at=F("next_try_at") - timedelta(seconds=3))
    assert begun.count("fast") > begun.count("slow") >= 2


def test_background_operations_leave_a_slice_to_others(cast: Cast, settings: LazySettings) -> None:
    settings.OPERATION_SLICES = 2
    with kind(name="slow", lane=Lane.BACKGROUND), kind(name="fast"):
        for name in ("slow", "slow"):
            request(cast.acme, kind=name)
        first = take_slice(after_slice=True)
        assert first is not None
        assert first.operation.kind == "slow"
        assert take_slice(after_slice=True) is None
        request(cast.acme, kind="fast")
        other = take_slice(after_slice=True)
        assert other is not None
        assert other.operation.kind == "fast"


def test_operations_of_a_kind_that_this_version_does_not_know_are_left_alone(cast: Cast) -> None:
    with kind(name="newer"):
        request(cast.acme, kind="newer")
    with kind():
        assert do_all() == 0
        assert due_work.count_due(timezone.now(), 64) == 0
    assert states() == {"queued": 1}


def test_workers_are_woken_for_what_they_may_do_at_once_and_one_more(cast: Cast, settings: LazySettings) -> None:
    settings.JOBS, settings.JOBS_PER_AIRLINE, settings.OPERATION_SLICES = {}, {}, 2
    with kind():
        for _ in range(5):
            request(cast.acme)
        admit()
        assert wake_workers(timezone.now()) == 2
        assert take_slice(after_slice=True) is not None
        assert take_slice(after_slice=True) is not None
        assert take_slice(after_slice=True) is None, "as many slices as this qcluster may do"
        assert count_due(timezone.now()) == 1


def test_a_request_wakes_a_worker_when_it_commits(
    cast: Cast, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with kind():
        with django_capture_on_commit_callbacks(execute=True):
            operation = request(cast.acme, cast.mona)
        assert OrmQ.objects.count() == 1
        published = Change.objects.get(topic="operation", object=operation.pk)
        assert (published.airline_id, published.state["position"]) == (cast.acme.pk, 1)
        run_due_operations()
    assert states() == {"succeeded": 1}


def test_admission_takes_six_statements_however_many_wait(cast: Cast) -> None:
    space = Space("tickets", lambda: 100 * GB, lambda: Airline.objects.count())
    with kind(caps=Caps(total=3, per_airline=2, per_user=1), space=space), kind(name="removal", frees_space=True):
        now = timezone.now()
        rows = [
            Operation(
                kind="test",
                airline=[cast.acme, cast.beta][number % 2],
                user=[cast.mona, cast.bruno, None][number % 3],
                queued_at=now - timedelta(seconds=number),
                created_at=now,
                updated_at=now,
                reserved_bytes=number * GB,
            )
            for number in range(400)
        ]
        Operation.objects.bulk_create(rows)
        admit()
        Operation.objects.filter(state="running").update(state="succeeded", finished_at=now)
        with CaptureQueriesContext(connection) as queries:
            assert admit()
        assert len(statements(queries)) <= 6
        with CaptureQueriesContext(connection) as queries:
            due_work.count_due(timezone.now(), 64)
        assert len(statements(queries)) == 1


def test_a_claim_and_a_slice_take_few_statements(cast: Cast) -> None:
    def run(work: Slice) -> Result:
        for done in range(1_000):
            work.report(done, 1_000)
        return Continue()

    with kind(run):
        request(cast.acme)
        do_slice()
        with CaptureQueriesContext(connection) as queries:
            work = take_slice(after_slice=True)
        assert work is not None
        assert len(statements(queries)) <= 6  # lock, slices here, what runs, candidates, next, claim
        with CaptureQueriesContext(connection) as queries:
            perform(work)
        assert len(statements(queries)) <= 11  # one report and the end: lease, row; each publishes with four


@pytest.mark.django_db(transaction=True)
def test_no_operation_runs_twice_at_once_and_caps_hold_with_several_workers(cast: Cast, settings: LazySettings) -> None:
    settings.OPERATION_SLICES = 3
    under_way: Counter[int] = Counter()
    together: list[str] = []
    most = 0
    guard = threading.Lock()

    def run(work: Slice) -> Result:
        nonlocal most
        with guard:
            under_way[work.operation.pk] += 1
            most = max(most, sum(under_way.values()))
            together.extend([str(work.operation)] * (under_way[work.operation.pk] > 1))
        work.commit(at=work.operation.checkpoint.get("at", 0) + 1)
        with guard:
            under_way[work.operation.pk] -= 1
        return Done() if work.operation.checkpoint["at"] == 2 else Continue()

    def worker() -> None:
        try:
            while Operation.objects.open().exists():
                run_due_operations()
        finally:
            connection.close()

    with kind(run, caps=Caps(total=4)), ThreadPoolExecutor(4) as threads:
        for _ in range(8):
            request(cast.acme)
        for future in [threads.submit(worker) for _ in range(4)]:
            future.result(PATIENCE)
    assert together == []
    assert most <= 3
    assert states() == {"succeeded": 8}
    assert set(Operation.objects.values_list("fence", flat=True)) == {2}
