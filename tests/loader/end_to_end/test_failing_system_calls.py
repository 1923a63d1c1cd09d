"""System calls that fail (fsync, write, fsync of a folder), and the order of those that make an item durable.

strace injects the errors into the real process, for one file; the trace proves that they occurred. A short write is a
real one: the kernel's, at the process's limit for file sizes.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fleet.simulation.proxy import FaultProxy
from tests.support.aircraft import Aircraft, publish, wait_for_exit
from tests.support.invariants import Invariants
from tests.support.strace import SystemCall, read_trace, run_traced, start_under

pytestmark = pytest.mark.processes

SYNCS = "fsync,fdatasync,sync_file_range"
CONTENTS = {"bad": os.urandom(900_000), "good": os.urandom(100_000)}


@pytest.fixture(autouse=True)
def _campaign(aircraft: Aircraft, invariants: Invariants) -> None:
    invariants.publishes("c", CONTENTS)
    publish(aircraft.media, "c", CONTENTS)


@pytest.fixture
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trace") / "trace"


def assert_only_bad_failed(aircraft: Aircraft, invariants: Invariants, code: str) -> None:
    invariants.check()
    assert invariants.broken == []
    assert aircraft.path("c", "good").read_bytes() == CONTENTS["good"]
    assert list(aircraft.errors()) == ["bad"]
    assert aircraft.errors()["bad"].startswith(f"{code}: ")
    assert aircraft.progress("c")["good"] == len(CONTENTS["good"])
    assert aircraft.progress("c")["bad"] < len(CONTENTS["bad"])


def assert_heals(aircraft: Aircraft, invariants: Invariants) -> None:
    run = aircraft.load()
    invariants.check()
    assert (run.code, run.stderr, invariants.broken) == (0, "", [])
    assert {path.stem: path.read_bytes() for path in (aircraft.folder / "c").iterdir()} == CONTENTS
    assert aircraft.progress("c") == {name: len(body) for name, body in CONTENTS.items()}
    assert (aircraft.errors(), aircraft.left_over()) == ({}, [])


def injected(trace: Path) -> list[SystemCall]:
    return [call for call in read_trace(trace) if call.injected]


def test_after_a_failed_sync_the_bytes_are_fetched_again_from_the_first(
    aircraft: Aircraft, link: FaultProxy, invariants: Invariants, trace: Path
) -> None:
    part = aircraft.part("c", "bad")
    run = run_traced(aircraft, trace, SYNCS, inject="error=EIO:when=1", path=part)
    assert run.code == 1
    assert len(injected(trace)) == 1
    # The sync is not repeated: the kernel may have dropped the pages.
    assert [call for call in read_trace(trace) if not call.injected] == []
    assert_only_bad_failed(aircraft, invariants, "IO_ERROR")
    assert not part.exists()
    asked = len(link.requests("GET", "*/bad.tgz"))
    assert_heals(aircraft, invariants)
    again = link.requests("GET", "*/bad.tgz")[asked:]
    assert sum(request.sent for request in again) == len(CONTENTS["bad"])


def test_a_folder_that_cannot_be_synced_makes_no_item_whole(
    aircraft: Aircraft, invariants: Invariants, trace: Path
) -> None:
    run = run_traced(aircraft, trace, "fsync", inject="error=EIO", path=aircraft.folder / "c")
    assert run.code == 1
    assert injected(trace)
    invariants.check()
    assert invariants.broken == []
    assert {name: text.partition(":")[0] for name, text in aircraft.errors().items()} == dict.fromkeys(
        CONTENTS, "IO_ERROR"
    )
    assert all(done < len(CONTENTS[name]) for name, done in aircraft.progress("c").items())
    assert_heals(aircraft, invariants)


@pytest.mark.parametrize("error", ["EINVAL", "ENOSYS", "EOPNOTSUPP"])
def test_a_file_system_that_cannot_sync_is_warned_of_once_and_used(
    aircraft: Aircraft, invariants: Invariants, trace: Path, error: str
) -> None:
    run = run_traced(aircraft, trace, SYNCS, inject=f"error={error}")
    assert run.code == 0
    assert len(injected(trace)) > 4
    warnings = [line for line in run.stderr.splitlines() if "cannot sync" in line]
    assert [("directories" in line, "files" in line.partition("(")[0]) for line in warnings].count((True, False)) == 1
    assert len(warnings) == 2
    assert aircraft.errors() == {}
    assert aircraft.progress("c") == {name: len(body) for name, body in CONTENTS.items()}


@pytest.mark.parametrize(("error", "code"), [("ENOSPC", "NO_SPACE"), ("EIO", "IO_ERROR")])
def test_a_write_that_fails_fails_the_item_once(
    error: str, code: str, aircraft: Aircraft, link: FaultProxy, invariants: Invariants, trace: Path
) -> None:
    part = aircraft.part("c", "bad")
    run = run_traced(aircraft, trace, "pwrite64,pwritev,write", inject=f"error={error}:when=1+", path=part)
    assert run.code == 1
    assert 1 <= len(injected(trace)) <= 3
    assert_only_bad_failed(aircraft, invariants, code)
    assert len(link.requests("GET", "*/bad.tgz")) <= 3  # no tight loop
    assert_heals(aircraft, invariants)


def test_a_short_write_continues_at_the_next_byte(aircraft: Aircraft, link: FaultProxy, invariants: Invariants) -> None:
    limit = 300_001  # not a multiple of any block size
    assert wait_for_exit(start_under(["prlimit", f"--fsize={limit}"], aircraft, "--once")).code == 1
    assert_only_bad_failed(aircraft, invariants, "IO_ERROR")
    assert "the file is larger than the file system or the process allows" in aircraft.errors()["bad"]
    bytes_on_disk = aircraft.part("c", "bad").stat().st_size
    assert 0 < bytes_on_disk <= limit
    assert_heals(aircraft, invariants)
    # The stored bytes were right: they came only once, except what a buffer may have had.
    assert link.requests("GET", "*/bad.tgz")[-1].range == f"bytes={bytes_on_disk}-"


def test_an_item_is_durable_before_its_rename_and_renamed_before_its_report(aircraft: Aircraft, trace: Path) -> None:
    run = run_traced(aircraft, trace, "fsync,fdatasync,pwrite64,renameat,renameat2,rename,sendto,sendmsg")
    assert run.code == 0
    calls = read_trace(trace)
    for name, body in CONTENTS.items():
        part, folder = str(aircraft.part("c", name)), str(aircraft.folder / "c")
        written = [call for call in calls if call.name == "pwrite64" and f"<{part}>" in call.arguments]
        synced = [call for call in calls if call.name in ("fsync", "fdatasync") and f"<{part}>" in call.arguments]
        (named,) = [call for call in calls if call.name.startswith("rename") and f'"{name}.tgz.part"' in call.arguments]
        lasting = [call for call in calls if call.name == "fsync" and f"<{folder}>" in call.arguments]
        reports = [call for call in calls if call.name.startswith("send") and f"{name}.tgz.progress" in call.arguments]
        assert max(call.ended for call in written) < max(call.began for call in synced)
        assert max(call.ended for call in synced) < named.began
        after = min(call.ended for call in lasting if call.began > named.ended)
        # The last one reports the item as complete.
        assert after < max(call.began for call in reports)
        assert aircraft.progress("c")[name] == len(body)
