"""Stores that send slowly or accept no connection, and credentials that expire during a load."""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path

import pytest

from fleet.simulation.faults import ErrorResponse, Rule, SlowBody, Truncate
from fleet.simulation.proxy import FaultProxy
from tests.support.aircraft import Aircraft, publish
from tests.support.invariants import Invariants

pytestmark = pytest.mark.processes

CONTENTS = {"bad": os.urandom(900_000), "good": b"nothing is wrong with this one"}
SENT_BYTES = 400_000


@pytest.fixture(autouse=True)
def _campaign(aircraft: Aircraft, invariants: Invariants) -> None:
    invariants.publishes("c", CONTENTS)
    publish(aircraft.media, "c", CONTENTS)


def assert_only_bad_failed(aircraft: Aircraft, invariants: Invariants, code: str) -> None:
    invariants.check()
    assert invariants.broken == []
    assert aircraft.path("c", "good").read_bytes() == CONTENTS["good"]
    assert {name: text.partition(":")[0] for name, text in aircraft.errors().items()} == {"bad": code}


def assert_heals(aircraft: Aircraft, invariants: Invariants) -> None:
    assert aircraft.load().code == 0
    invariants.check()
    assert invariants.broken == []
    assert aircraft.path("c", "bad").read_bytes() == CONTENTS["bad"]
    assert (aircraft.errors(), aircraft.left_over()) == ({}, [])


def test_a_trickling_store_is_dropped_several_times_then_reported(
    aircraft: Aircraft, link: FaultProxy, invariants: Invariants
) -> None:
    first = link.add(Rule(SlowBody(50, after=SENT_BYTES), key="*/bad.tgz"))
    others = link.add(Rule(SlowBody(50), key="*/bad.tgz", nth=2, times=None))
    run = aircraft.load(LOADER_TRIES="2", LOADER_MIN_RATE="4KiB", LOADER_MIN_RATE_TIME="1s")
    assert run.code == 1
    assert first.hits == 1
    assert others.hits >= 1
    assert_only_bad_failed(aircraft, invariants, "TOO_SLOW")
    assert aircraft.part("c", "bad").stat().st_size >= SENT_BYTES
    link.rules.clear()
    assert_heals(aircraft, invariants)
    assert link.requests("GET", "*/bad.tgz")[-1].range != ""


def test_a_store_that_takes_no_connection_is_given_up_in_time(aircraft: Aircraft, invariants: Invariants) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:  # nothing accepts them: the next connection gets no response
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        more = {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}", "LOADER_CONNECT_TIMEOUT": "200ms"}
        run = aircraft.load(LOADER_REPORT_TIMEOUT="500ms", **more)
        for one in waiting:
            one.close()
    assert (run.code, run.stderr) == (75, "")
    assert "TIMEOUT" in str(run.events)
    assert not (aircraft.folder / "c").exists()
    invariants.check()
    assert invariants.broken == []
    assert_heals(aircraft, invariants)


@pytest.fixture
def provider(aircraft: Aircraft, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the aircraft its credentials by a command that records each call."""
    folder = tmp_path_factory.mktemp("provider")
    asked, script = folder / "asked", folder / "provider.py"
    script.write_text(
        "import json, sys\n"
        f"open({str(asked)!r}, 'a').write('asked\\n')\n"
        f"print(json.dumps({{'Version': 1, 'AccessKeyId': {aircraft.keys['AWS_ACCESS_KEY_ID']!r},"
        f" 'SecretAccessKey': {aircraft.keys['AWS_SECRET_ACCESS_KEY']!r}, 'Expiration': '2999-01-01T00:00:00Z'}}))\n"
    )
    config = folder / "config"
    config.write_text(f"[default]\ncredential_process = {sys.executable} {script}\n")
    aircraft.extra |= {"AWS_CONFIG_FILE": str(config), "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    asked.touch()
    return asked


def test_credentials_that_expire_midway_are_asked_for_once_more(
    aircraft: Aircraft, link: FaultProxy, provider: Path, invariants: Invariants
) -> None:
    link.add(Rule(Truncate(after=SENT_BYTES), key="*/bad.tgz"))
    expired = link.add(Rule(ErrorResponse(400, "ExpiredToken"), key="*/bad.tgz", nth=2))
    run = aircraft.load()
    assert (run.code, run.stderr, expired.hits) == (0, "", 1)
    assert len(provider.read_text().splitlines()) >= 2
    assert aircraft.path("c", "bad").read_bytes() == CONTENTS["bad"]
    assert link.requests("GET", "*/bad.tgz")[-1].range == f"bytes={SENT_BYTES}-"
    invariants.check()
    assert (aircraft.errors(), invariants.broken) == ({}, [])


def test_expired_credentials_fail_the_item_and_preserve_its_bytes(
    aircraft: Aircraft, link: FaultProxy, provider: Path, invariants: Invariants
) -> None:
    link.add(Rule(Truncate(after=SENT_BYTES), key="*/bad.tgz"))
    expired = link.add(Rule(ErrorResponse(400, "ExpiredToken"), key="*/bad.tgz", nth=2, times=None))
    process = aircraft.start("--once")
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert 1 <= expired.hits <= 2
    assert_only_bad_failed(aircraft, invariants, "CREDENTIALS")
    assert aircraft.part("c", "bad").stat().st_size == SENT_BYTES
    everything = stdout + stderr + str(aircraft.reports())
    assert aircraft.keys["AWS_SECRET_ACCESS_KEY"] not in everything
    assert not re.search(r"Signature=|X-Amz|AWS4", everything)
    link.rules.clear()
    assert_heals(aircraft, invariants)
    assert link.requests("GET", "*/bad.tgz")[-1].range == f"bytes={SENT_BYTES}-"
