"""Pollers that die, run at once, have a wrong clock or lose the database: real processes with a real store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone
from moto.server import ThreadedMotoServer

from fleet.models import Load
from fleet.polling.batches import TAILS_A_BATCH
from fleet.simulation.faults import Rule
from fleet.simulation.proxy import FaultProxy
from ifeportal.models import Job
from loader.s3.client import S3Bucket
from tests.support.browser_portal import database_url
from tests.support.polling_world import transfer
from tests.support.portal_forks import popen
from tests.support.portal_system import PATIENCE, ROOT, wait_for, wait_until
from tests.support.postgresql_proxy import DatabaseProxy
from tests.support.proxied_buckets import (
    HeldRequest,
    ProxiedBuckets,
    StoreCredentials,
    row_snapshot,
    snapshot_of_one_poll,
)

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

ITEMS = ("a", "b")
BATCH = [f"N{number:03d}" for number in range(TAILS_A_BATCH)]
NEXT = ["P000", "P001"]  # in the second batch: batches are in the order of names


def poller(
    proxied: ProxiedBuckets, *options: str, under: tuple[str, ...] = (), **environment: str
) -> subprocess.Popen[str]:
    """Start `poll_buckets` with this test's database and buckets, through the proxy."""
    child_environment = {
        **os.environ,
        "DEBUG": "1",
        "DATABASE_URL": database_url(),
        "MEDIA_BUCKET": proxied.media.name,
        "STATUS_BUCKET": proxied.status.name,
        "AWS_ENDPOINT_URL_S3": proxied.link.endpoint,
        "AWS_ACCESS_KEY_ID": proxied.keys.access_key,
        "AWS_SECRET_ACCESS_KEY": proxied.keys.secret_key,
        "AWS_REGION": proxied.status.region,
        **environment,
    }
    command = [*under, sys.executable, "manage.py", "poll_buckets", "--json", *options]
    return popen(command, cwd=ROOT, env=child_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextmanager
def running(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Stop the process at the end, even if the test fails."""
    with process:
        try:
            yield process
        finally:
            process.kill()


def finished(process: subprocess.Popen[str]) -> None:
    out, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors or out


def a_fleet(proxied: ProxiedBuckets) -> None:
    """Create two batches of tails, with values that must be fetched."""
    proxied.manifest(items=dict.fromkeys(ITEMS, 100))
    tails = [*BATCH, *NEXT]
    proxied.write_all({f"{tail}/2026-12/{item}.tgz.progress": b"61" for tail in tails for item in ITEMS})


def whole_tails() -> int:
    """Return how many tails were written; each must have all its items or none.

    Loads and transfers are read by one statement, because a poller may be writing.
    """
    tails = Load.objects.values_list("tail__name", "transfers__content", "transfers__bytes_done")
    written: dict[str, set[str]] = {}
    for tail, content, value in tails:
        assert value == 61
        written.setdefault(tail, set()).add(content)
    assert all(found == set(ITEMS) for found in written.values())
    return len(written)


@pytest.mark.slow("a real worker is killed and replaced")
def test_a_worker_killed_in_the_middle_of_a_cycle_leaves_whole_tails_and_the_next_cycle_ends_it(
    proxied: ProxiedBuckets,
) -> None:
    a_fleet(proxied)
    fault = proxied.breaks(HeldRequest(), key="/ACME/P000/*")
    with running(poller(proxied, "--once")) as worker:
        wait_until(lambda: fault.hits >= 1)
        assert whole_tails() == len(BATCH), "the first batch is written, the second is being fetched"
        worker.kill()
        worker.wait(PATIENCE)
        assert worker.returncode == -9
    assert whole_tails() == len(BATCH)
    proxied.link.rules.clear()
    assert proxied.poll().failures == ()
    assert whole_tails() == len(BATCH) + len(NEXT)
    rows = row_snapshot()
    assert rows == snapshot_of_one_poll(proxied)


def test_two_workers_at_once_end_in_the_rows_of_one(proxied: ProxiedBuckets) -> None:
    proxied.manifest(items=dict.fromkeys(ITEMS, 100))
    for tail in NEXT:
        for item in ITEMS:
            proxied.progress(f"{tail}/2026-12/{item}", 61)
    gate = HeldRequest()
    fault = proxied.breaks(gate, key="/ACME/P000/2026-12/a*")
    with running(poller(proxied, "--once")) as one, running(poller(proxied, "--once")) as other:
        wait_until(lambda: fault.hits == 2)  # both have listed, neither has written
        gate.release.set()
        finished(one)
        finished(other)
    assert whole_tails() == len(NEXT)
    rows = row_snapshot()
    assert rows == snapshot_of_one_poll(proxied)


@pytest.mark.slow("starts two pollers under faketime, which cannot be forked")
def test_a_portal_with_a_wrong_clock_writes_the_same_rows() -> None:
    """With moto, which accepts signatures of any age; the clock is faketime's."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    try:
        with FaultProxy(endpoint) as link:
            media, status = (S3Bucket(n, endpoint=endpoint, access_key="a", secret_key="b") for n in ("m-m", "s-s"))
            media.create_bucket()
            status.create_bucket()
            _skewed(ProxiedBuckets(media, status, link, StoreCredentials("a", "b")))
    finally:
        server.stop()


def _skewed(proxied: ProxiedBuckets) -> None:
    proxied.manifest(items={"a": 100, "b": 100, "c": 100})
    proxied.progress("N1/2026-12/a", 100)
    for hours, value in ((5, 20), (-5, 40)):
        proxied.progress("N1/2026-12/b", value)
        proxied.error("N1/2026-12/c", f"IO_ERROR: {value}")
        clock = ("faketime", "-f", f"{hours:+d}h")
        with running(poller(proxied, "--once", under=clock, FAKETIME_DONT_FAKE_MONOTONIC="1")) as process:
            finished(process)
        row = transfer("b")
        assert (row.bytes_done, row.stalled, transfer("c").error) == (value, False, str(value)), hours
    rows = row_snapshot()
    assert rows == snapshot_of_one_poll(proxied)


@contextmanager
def database_away(database_proxy: DatabaseProxy | None) -> Iterator[None]:
    """Make the database unavailable: PostgreSQL refuses, or SQLite's file is moved and cannot be created."""
    if database_proxy is not None:
        database_proxy.refuse()
        yield
        database_proxy.restore()
        return
    path = Path(str(connection.settings_dict["NAME"]))
    connection.close()
    away = path.with_name("away")
    path.rename(away)
    path.mkdir()
    yield
    path.rmdir()
    away.rename(path)


@pytest.mark.slow("a real poller waits and retries")
def test_a_poller_survives_a_lost_database_backs_off_and_writes_complete_tails(
    proxied: ProxiedBuckets, tmp_path: Path
) -> None:
    a_fleet(proxied)
    gate = HeldRequest()
    fault = proxied.breaks(gate, key="/ACME/P000/*")
    log = tmp_path / "log"
    if connection.vendor == "sqlite":
        _without_database(proxied, fault, gate, log, None, database_url())
    else:
        with DatabaseProxy(database_url()) as database_proxy:
            _without_database(proxied, fault, gate, log, database_proxy, database_proxy.url)
    rows = row_snapshot()
    assert rows == snapshot_of_one_poll(proxied)


def _without_database(
    proxied: ProxiedBuckets, fault: Rule, gate: HeldRequest, log: Path, database_proxy: DatabaseProxy | None, url: str
) -> None:
    process = poller(proxied, "--interval", "0.1s", DATABASE_URL=url)
    with running(process):
        wait_until(lambda: fault.hits >= 1)
        assert whole_tails() == len(BATCH)
        with database_away(database_proxy):
            gate.release.set()  # the fetched values cannot be written now
            assert process.stderr is not None
            for line in process.stderr:
                if "database is not responding" in line:
                    break
            assert process.poll() is None
        Job.objects.update(lease_until=timezone.now())  # the lease that it could not release expires
        wait_for("it goes on", lambda: whole_tails() == len(BATCH) + len(NEXT))
        process.terminate()
        out, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
        assert [json.loads(line) for line in out.splitlines()]
