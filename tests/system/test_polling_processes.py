"""Real processes: a pacemaker wakes the workers, they poll, and an aircraft's report is soon in the database."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone
from django_q.models import OrmQ, Task
from websockets.sync.client import connect

from fleet.models import Transfer
from fleet.simulation.faults import Hang, Rule
from fleet.simulation.proxy import FaultProxy
from ifeportal.embedded.processes import Process, Supervisor
from ifeportal.embedded.seaweedfs import SeaweedFS
from ifeportal.models import PACEMAKER, Airline, Job
from loader.s3.client import S3Bucket
from tests.conftest import Cast
from tests.ifeportal.live.test_across_processes import Web, environment
from tests.support.live_sockets import sign_in
from tests.support.portal_forks import popen
from tests.support.portal_system import wait_for

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

ROOT = Path(__file__).resolve().parents[2]
INTERVAL = 0.5  # seconds
POLL = "poll:ACME"


class Portal:
    """The processes around the database of the test, with a separate store."""

    def __init__(self, folder: Path, seaweed: SeaweedFS, media: S3Bucket, status: S3Bucket) -> None:
        self.folder, self.media, self.status = folder, media, status
        self.environment = {
            **environment(),
            "MEDIA_BUCKET": media.name,
            "STATUS_BUCKET": status.name,
            "POLL_INTERVAL": f"{INTERVAL}s",
            "POLL_CEILING": "60s",
            **seaweed.environment(),
        }
        self.supervisor = Supervisor()
        self.qcluster = self.process("qcluster")
        self.pacemaker = self.process("pacemaker", stage=1)

    def process(self, command: str, *, name: str = "", stage: int = 0, **more: str) -> Process:
        return Process(
            name or command,
            [sys.executable, ROOT / "manage.py", command],
            log=self.folder / f"{name or command}.log",
            environment=self.environment | more,
            folder=ROOT,
            stage=stage,
            stop_timeout=60,
            popen=popen,
        )

    def start(self) -> None:
        for process in (self.qcluster, self.pacemaker):
            self.supervisor.start(process)


@pytest.fixture
def portal(
    transactional_db: None, tmp_path: Path, seaweed: SeaweedFS, media: S3Bucket, status: S3Bucket
) -> Iterator[Portal]:
    portal = Portal(tmp_path, seaweed, media, status)
    with portal.supervisor:
        yield portal


def bytes_done() -> int | None:
    return Transfer.objects.values_list("bytes_done", flat=True).first()


def job(name: str = POLL) -> Job:
    return Job.objects.get(name=name)


def over(fence: int) -> bool:
    """Return whether the poll with this number, or a later one, has succeeded."""
    row = job()
    return row.fence >= fence and not row.holder and not row.failures


def pause() -> float:
    """Return the seconds from the start of the last poll to the next, which counts from when the last was due."""
    row = job()
    return (row.due_at - row.started_at).total_seconds() if row.started_at and not row.holder else 0.0


@pytest.mark.slow("real workers wait for real intervals")
def test_reports_of_an_aircraft_are_in_the_database_after_the_next_poll(portal: Portal) -> None:
    portal.start()
    portal.media.put("ACME/2026-12/campaign.json", b'[{"name": "a", "size": 1000}]')
    portal.status.put("ACME/N1/2026-12/a.tgz.progress", b"0")
    wait_for("discovery, then the first poll", lambda: bytes_done() == 0)

    for value in range(1, 7):
        time.sleep(0.037 * value)  # at a random moment of the interval
        portal.status.put("ACME/N1/2026-12/a.tgz.progress", b"%d" % value)
        begun = job().fence
        # If that poll has already listed the bucket, the next one reads the object.
        # `benchmarks.latency` measures the delay.
        wait_for("the new value", lambda value=value, begun=begun: bytes_done() == value or over(begun + 1))  # type: ignore[misc]
        assert bytes_done() == value

    assert not Task.objects.exists(), "successes are not stored"
    names = set(Job.objects.values_list("name", flat=True))
    assert names == {*settings.JOBS, POLL, PACEMAKER}
    assert OrmQ.objects.filter(lock__lte=timezone.now()).count() <= len(names)
    assert (job().failures, job().error) == (0, "")
    for process in (portal.pacemaker, portal.qcluster):
        for _ in range(5):  # repeated signals are allowed
            process.signal()
        assert process.stop() == 0
    assert (job().holder, job(PACEMAKER).holder) == ("", "")


@pytest.mark.slow("real workers wait for real intervals")
def test_the_queue_does_not_pile_up_without_workers_and_they_go_on_when_they_return(portal: Portal) -> None:
    portal.status.put("ACME/N1/2026-12/a.tgz.progress", b"1")
    portal.supervisor.start(portal.pacemaker)
    Airline.objects.create(name="ACME")
    jobs = len(settings.JOBS) + 1
    wait_for("a call for each job", lambda: OrmQ.objects.count() == jobs)
    before = job(PACEMAKER).lease_until
    assert before is not None
    wait_for(
        "more rounds of the pacemaker", lambda: (job(PACEMAKER).lease_until or before) > before + timedelta(seconds=1)
    )
    assert OrmQ.objects.count() == jobs, "no more calls than jobs"
    portal.supervisor.start(portal.qcluster)
    wait_for("the first poll", lambda: bytes_done() == 1)


@pytest.mark.slow("real workers wait for real intervals")
def test_an_open_page_raises_the_poll_rate_of_an_idle_airline_until_it_closes(
    portal: Portal, cast: Cast, tmp_path: Path
) -> None:
    portal.start()
    wait_for("the first poll", lambda: Job.objects.filter(name=POLL, succeeded_at__isnull=False).exists())
    Job.objects.update(found_at=timezone.now() - timedelta(days=1))
    wait_for("a pause", lambda: 59 <= pause() <= 60)
    resting = job()

    web = Web(tmp_path)
    portal.supervisor.processes.append(web.process)
    web.start()
    page: dict[str, Any] = {
        "origin": f"http://127.0.0.1:{web.port}",
        "additional_headers": {"Cookie": f"sessionid={sign_in(cast.alice)}"},
        "open_timeout": 60,
    }
    with connect(f"ws://127.0.0.1:{web.port}/ws/live/", **page) as socket:
        socket.send('{"watch": {"airline": "ACME"}}')
        wait_for("polls at the interval", lambda: job().fence >= resting.fence + 3)
        assert job(POLL).watched_until is not None
        assert job("poll:BETA").watched_until is None
        wait_for("the interval", lambda: 0 < pause() < 59)

    # A page's watch is valid for 45 s: here it has expired.
    Job.objects.update(watched_until=timezone.now() - timedelta(seconds=1))
    wait_for("a pause", lambda: 59 <= pause() <= 60)


@pytest.mark.slow("real workers wait for real intervals")
def test_when_a_machine_dies_in_the_middle_of_a_poll_another_goes_on(portal: Portal, seaweed: SeaweedFS) -> None:
    """Its workers and its pacemaker die at once."""
    portal.status.put("ACME/N1/2026-12/a.tgz.progress", b"7")
    Airline.objects.create(name="ACME")
    with FaultProxy(seaweed.endpoint) as link:
        slow = link.add(Rule(Hang(), key=f"{portal.status.name}/ACME/*"))
        dying = [
            portal.process("pacemaker", name="dying pacemaker", stage=1),
            portal.process("qcluster", name="dying workers", AWS_ENDPOINT_URL_S3=link.endpoint),
        ]
        for process in dying:
            portal.supervisor.start(process)
        wait_for("a poll that hangs", lambda: slow.hits == 1)
        for process in dying:
            assert process.pid is not None
            os.killpg(process.pid, signal.SIGKILL)
        left, led, killed_at = job(), job(PACEMAKER), timezone.now()
    assert left.holder
    assert left.lease_until is not None
    assert left.succeeded_at is None

    portal.start()
    wait_for("another to take over", lambda: bytes_done() == 7)
    taken = job()
    assert taken.fence > left.fence
    assert taken.started_at is not None
    assert taken.started_at > left.lease_until, "not before the lease ended"
    assert taken.holder != left.holder
    assert job(PACEMAKER).fence > led.fence
    # Messages of the killed workers remain locked for minutes. No job waited for them.
    assert OrmQ.objects.filter(lock__gt=killed_at + timedelta(minutes=1)).exists()
