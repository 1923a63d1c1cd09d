"""`run_loader --check` as a process: exit codes, the rights of a tail, signals, and no secret in what it prints."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.iam_policy import seaweedfs_identity
from fleet.simulation.faults import Hang, Rule
from fleet.simulation.proxy import FaultProxy
from ifeportal.embedded.seaweedfs import SeaweedFS
from tests.support.aircraft import AIRLINE, TAIL, Aircraft, publish
from tests.support.fork_server import ForkServer
from tests.support.portal_system import wait_until

pytestmark = pytest.mark.processes

MEDIA, STATUS = "ife-media", "ife-status"


def check(fork_server: ForkServer, aircraft: Aircraft, *options: str, **more: str) -> tuple[int, str, str]:
    """Run the check. Return its exit code and what it printed to stdout and stderr."""
    process = fork_server.start(aircraft.environment(LOADER_JSON="0", **more), "--check", *options)
    ended = process.end()
    return ended.code, process.printed.read_text(), ended.stderr


def test_the_check_reports_results_and_changes_neither_disk_nor_reports(
    aircraft: Aircraft, fork_server: ForkServer
) -> None:
    publish(aircraft.media, "c", {"a": b"content"})
    code, printed, _ = check(fork_server, aircraft)
    assert code == 0, printed
    assert "ok       media   get          Objects can be read in ranges." in printed
    assert printed.endswith("The stores have everything that the loader needs.\n")
    assert not aircraft.folder.exists()
    assert aircraft.reports() == {}


def test_the_json_output_is_one_object_and_the_exit_code_identifies_the_failed_check(
    aircraft: Aircraft, fork_server: ForkServer
) -> None:
    code, printed, errors = check(fork_server, aircraft, "--json", AWS_SECRET_ACCESS_KEY="a wrong secret")
    report = json.loads(printed)
    assert (code, report["ok"]) == (1, False)
    missing = [row for row in report["findings"] if row["outcome"] == "missing"]
    assert {row["bucket"] for row in missing} == {"media", "status"}
    assert "Correct the access key and its secret." in missing[0]["text"]
    assert "a wrong secret" not in printed + errors


def test_an_invalid_endpoint_is_a_setting_to_correct(aircraft: Aircraft, fork_server: ForkServer) -> None:
    code, printed, errors = check(fork_server, aircraft, AWS_ENDPOINT_URL_S3="store.example.org")
    assert (code, printed) == (2, "")
    assert "AWS_ENDPOINT_URL_S3 is not an http:// or https:// address" in errors


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """Start a store that grants this tail exactly the policy of `tail_policy`."""
    identity = seaweedfs_identity(AIRLINE, TAIL, MEDIA, STATUS)
    with SeaweedFS(tmp_path_factory.mktemp("strict"), identities=[identity]) as server:
        for name in (MEDIA, STATUS):
            server.create_bucket(name)
        yield server


def test_the_rights_of_a_tail_are_enough(strict: SeaweedFS, fork_server: ForkServer, tmp_path: Path) -> None:
    media, status = strict.bucket(MEDIA), strict.bucket(STATUS)
    publish(media, "c", {"a": b"content"})
    media.put(f"{AIRLINE}/.fleet/OTHER.json", b"{}")  # smaller, but not to be read
    aircraft = Aircraft(tmp_path / "content", strict.endpoint, strict.environment(TAIL), media, status)
    code, printed, _ = check(fork_server, aircraft)
    assert code == 0, printed
    assert "read-back    Not tested: the credentials may not read test objects." in printed
    assert "warning" not in printed
    assert [info.key for info in status.list()] == []


def test_a_signal_ends_it_and_nothing_is_left_behind(
    aircraft: Aircraft, fork_server: ForkServer, seaweed: SeaweedFS
) -> None:
    with FaultProxy(seaweed.endpoint) as link:
        hung = link.add(Rule(Hang(), "PUT", "*/replaced", times=None))
        aircraft.endpoint = link.endpoint
        environment = aircraft.environment(LOADER_JSON="0", LOADER_READ_TIMEOUT="3s")
        process = fork_server.start(environment, "--check")
        wait_until(lambda: hung.hits > 0)
        process.send(signal.SIGTERM)
        wait_until(lambda: process.ended)
    assert process.code == 75
    assert "Not tested: the check was stopped." in process.printed.read_text()
    assert [info.key for info in aircraft.status.list()] == []
