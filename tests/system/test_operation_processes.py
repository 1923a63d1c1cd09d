"""Real processes: workers are killed in the middle of an operation, and others complete it."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from ifeportal.audit import Actor
from ifeportal.embedded.processes import Process, Supervisor
from ifeportal.live.models import Change
from ifeportal.models import AuditEntry
from ifeportal.operations import kinds
from ifeportal.operations.models import Operation, OperationState
from ifeportal.operations.requests import submit
from tests.conftest import Cast
from tests.ifeportal.live.test_across_processes import environment
from tests.support.operation_process import START, STEPS, STEPS_KIND
from tests.support.portal_forks import popen
from tests.support.portal_system import wait_for

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def supervisor(transactional_db: None) -> Iterator[Supervisor]:
    kinds.register(STEPS_KIND)
    try:
        with Supervisor() as supervisor:
            yield supervisor
    finally:
        del kinds._kinds[STEPS_KIND.name]


def start(supervisor: Supervisor, command: str, folder: Path, name: str = "") -> Process:
    process = Process(
        name or command,
        [sys.executable, "-c", START, command],
        log=folder / f"{name or command}.log",
        environment=environment() | {"POLL_INTERVAL": "60s", "POLL_CEILING": "60s"},
        folder=ROOT,
        stop_timeout=60,
        popen=popen,
    )
    supervisor.start(process)
    return process


def wait_for_step(number: int) -> Operation:
    """Wait until a worker does a slice and has committed this step."""

    def reached() -> Operation | None:
        row = Operation.objects.get()
        return row if row.holder and row.checkpoint.get("at", 0) >= number else None

    return wait_for(f"step {number}", reached)


def end_lease() -> None:
    """The worker is dead: its lease need not run out in real time."""
    Operation.objects.exclude(lease_until=None).update(lease_until=timezone.now() - timedelta(seconds=1))


@pytest.mark.slow("real workers start, are killed and are replaced")
def test_killed_workers_are_replaced_and_no_step_is_lost_or_repeated(
    cast: Cast, supervisor: Supervisor, tmp_path: Path
) -> None:
    start(supervisor, "pacemaker", tmp_path)
    cluster = start(supervisor, "qcluster", tmp_path)
    submit("steps", cast.acme, Actor.job(cast.mona), "Film.tgz")

    worker = int(wait_for_step(10).holder.split("/")[1].split(":")[1])
    os.kill(worker, signal.SIGKILL)
    end_lease()
    killed_at = Operation.objects.get().checkpoint["at"]
    assert wait_for_step(killed_at + 10).fence >= 2

    assert cluster.pid is not None
    os.killpg(cluster.pid, signal.SIGKILL)
    end_lease()
    killed_at = Operation.objects.get().checkpoint["at"]
    second = start(supervisor, "qcluster", tmp_path, "second qcluster")
    wait_for_step(killed_at + 10)
    assert second.stop() == 0, "SIGTERM ends the slice at its next boundary"
    stopped = Operation.objects.get()
    assert (stopped.state, stopped.holder, stopped.attempts) == (OperationState.RUNNING, "", 0)

    start(supervisor, "qcluster", tmp_path, "third qcluster")
    wait_for("the end", lambda: Operation.objects.filter(state=OperationState.SUCCEEDED).first())
    steps = Counter(AuditEntry.objects.filter(action__startswith="step.").values_list("action", flat=True))
    assert steps == {f"step.{at}": 1 for at in range(STEPS)}
    published = Change.objects.get(topic="operation").state
    assert (published["status"], published["percent"], published["bytes_done"]) == ("succeeded", 100, STEPS)
