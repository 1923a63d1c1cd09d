"""LOADER_ON_LOADED: real commands run for durable items, are limited in time, and failures are reported and retried."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from loader.command_runner import OUTPUT_LIMIT, CommandResult, run_command, without_secrets
from loader.contract.manifest import Item
from loader.errors import Code
from loader.hooks.ledger import HookLedger, PendingHook
from loader.hooks.runner import HookRunner
from loader.monitor.events import Broadcast
from loader.planning.failure_history import BLOCK_TIME
from loader.reporting.reporter import StatusReporter
from loader.storage.content_store import ContentStore
from loader.storage.directory import Directory
from loader.storage.state_files import write_state
from tests.support.aircraft import ROOT
from tests.support.portal_system import PATIENCE, wait_until

NEVER = threading.Event()
ENOUGH = (0.5, 5.0, 50.0)  # seconds; one is enough for a command to reach the point where it is killed


def script(folder: Path, text: str, name: str = "command") -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def alive(pid: int) -> bool:
    """Return whether the process still runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# The command alone.


def test_words_are_passed_as_they_are_and_no_shell_sees_them(tmp_path: Path) -> None:
    command = script(tmp_path, 'printf "%s|" "$@"')
    outcome = run_command([command, "$HOME; exit 1", "a b", "*", ""], PATIENCE, NEVER)
    assert outcome.succeeded
    assert outcome.first == b"$HOME; exit 1|a b|*||"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("exit 3", "exit status 3"), ("kill -KILL $$", "ended by SIGKILL"), ("kill -USR1 $$", "ended by SIGUSR1")],
)
def test_the_outcome_is_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    outcome = run_command([script(tmp_path, text)], PATIENCE, NEVER)
    assert (outcome.succeeded, str(outcome)) == (False, sentence)


@pytest.mark.parametrize("mode", [0o644, None])
def test_a_command_that_cannot_start_reports_the_reason(tmp_path: Path, mode: int | None) -> None:
    path = tmp_path / "command"
    if mode is not None:
        path.write_text("#!/bin/sh\n")
        path.chmod(mode)
    outcome = run_command([str(path)], PATIENCE, NEVER)
    assert not outcome.succeeded
    assert str(outcome) == f"cannot be run: {'Permission denied' if mode else 'No such file or directory'}"


def test_endless_output_is_neither_stored_nor_waited_for(tmp_path: Path) -> None:
    command = script(tmp_path, "echo first; head -c 30000000 /dev/zero | tr '\\0' 'x'; echo; printf 'l\\033[1mast\\n'")
    outcome = run_command([command], PATIENCE, NEVER)
    assert outcome.succeeded
    assert (len(outcome.first), len(outcome.last)) == (OUTPUT_LIMIT, OUTPUT_LIMIT)
    assert outcome.first_lines[0] == "first"
    assert outcome.last_lines[-1] == r"l\x1b[1mast"


def test_after_its_time_it_is_ended_with_all_it_started_whether_it_likes_it_or_not(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    command = script(
        tmp_path, f"trap '' TERM; (trap '' TERM; sleep 600) & echo $! $$ > {pids}; while :; do sleep 1; done"
    )
    for seconds in ENOUGH:
        outcome = run_command([command], seconds, NEVER)
        if pids.exists() and len(pids.read_text().split()) == 2:
            break
    assert not outcome.succeeded
    assert re.fullmatch(r"took longer than \d+ s and was ended", str(outcome))
    first, second = map(int, pids.read_text().split())
    wait_until(lambda: not alive(first) and not alive(second))


def test_a_child_that_keeps_the_output_open_is_not_waited_for(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    outcome = run_command([script(tmp_path, f"sleep 600 & echo $! > {pids}; echo done")], PATIENCE, NEVER)
    assert outcome.succeeded
    assert outcome.last_lines == ["done"]
    os.kill(int(pids.read_text()), signal.SIGKILL)


def test_the_environment_of_the_command_contains_no_secret() -> None:
    ours = {
        "PATH": "/bin",
        "LOADER_TAIL": "N1",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "aws_session_token": "c",
        "SECRET_KEY": "d",
        "DATABASE_URL": "e",
        "PLAYER_PASSWORD": "f",
        "HTTPS_PROXY": "http://user:word@proxy:8080",
        "https_proxy": "user:word@proxy:8080",
        "HTTP_PROXY": "proxy:8080",
        "NO_PROXY": "localhost",
    }
    assert set(without_secrets(ours)) == {"PATH", "LOADER_TAIL", "HTTP_PROXY", "NO_PROXY"}


# Pending runs.


@pytest.fixture
def content_dir(tmp_path: Path) -> Path:
    return tmp_path / "content"


def whole(content_dir: Path, campaign: str, *contents: str, settled: str = "", body: bytes = b"content") -> None:
    """Install the file as `loader.storage.content_store` does."""
    with Directory.open(content_dir) as root:
        folder, held = root.make_subdirectory(campaign), root.make_subdirectory(".loader", "held", campaign)
        for content in contents:
            folder.write(f"{content}.tgz", body)
            status = folder.stat_file(f"{content}.tgz")
            assert status is not None
            mark = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": Item("a", 1).sha256}
            write_state(held, f"{content}.tgz.json", mark)
        if settled:
            write_state(root.make_subdirectory(".loader", "campaigns"), f"{campaign}.json", {"manifest": settled})


def names(owed: list[PendingHook]) -> list[tuple[str, str]]:
    return [(one.key.campaign, one.key.content) for one in owed]


def test_whole_items_are_owed_until_they_are_settled_and_campaigns_too(content_dir: Path) -> None:
    ledger = HookLedger(content_dir)
    assert ledger.pending() == []
    whole(content_dir, "c", "a", "b")
    whole(content_dir, "d", "a", settled="one")
    assert names(ledger.pending()) == [("c", "a"), ("c", "b"), ("d", "a"), ("d", "")]
    assert ledger.pending("d")[1].path == content_dir / "d"
    for one in ledger.pending("d"):
        ledger.mark_done(one)
    assert names(HookLedger(content_dir).pending()) == [("c", "a"), ("c", "b")]
    assert names(ledger.pending_item("c", "b")) == [("c", "b")]
    assert ledger.pending_item("d", "a") == ledger.pending_item("c", "unknown") == []


def test_new_content_and_a_new_edition_are_pending_again(content_dir: Path) -> None:
    ledger = HookLedger(content_dir)
    whole(content_dir, "c", "a", "b", settled="one")
    before = ledger.pending()
    whole(content_dir, "c", "a", settled="two", body=b"another")
    for one in before:  # the command exited only now
        ledger.mark_done(one)
    assert names(ledger.pending()) == [("c", "a"), ("c", "")]


def test_unverified_items_are_not_pending(content_dir: Path) -> None:
    whole(content_dir, "c", "a", "b")
    os.utime(content_dir / "c/a.tgz", ns=(1, 1))
    (content_dir / "c/b.tgz").unlink()
    assert HookLedger(content_dir).pending() == []


def test_removed_items_are_forgotten(content_dir: Path) -> None:
    ledger = HookLedger(content_dir)
    whole(content_dir, "c", "a", "b", settled="one")
    for one in ledger.pending():
        ledger.mark_done(one)
    (content_dir / ".loader/held/c/a.tgz.json").unlink()
    ledger.remove_stale("c")
    records = content_dir / ".loader/told/c"
    assert {path.name for path in records.iterdir()} == {"b.tgz.json", "campaign.json"}
    (content_dir / ".loader/held/c/b.tgz.json").unlink()
    ledger.remove_stale("c")
    assert not records.exists()


# The hooks.


class Reports:
    """Records what a runner reports, in place of `loader.reporting.reporter.StatusReporter`."""

    def __init__(self) -> None:
        self.good: list[tuple[str, str]] = []
        self.bad: list[tuple[str, str, Code, str]] = []

    def error(self, campaign: str, content: str, code: Code, text: str) -> None:
        self.bad.append((campaign, content, code, text))

    def campaign_error(self, campaign: str, code: Code, text: str) -> None:
        self.error(campaign, "", code, text)

    def clear_error(self, campaign: str, content: str) -> None:
        self.good.append((campaign, content))

    def clear_campaign_error(self, campaign: str) -> None:
        self.good.append((campaign, ""))


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
def ledger(content_dir: Path) -> HookLedger:
    return HookLedger(content_dir)


@pytest.fixture
def make(content_dir: Path, reports: Reports) -> Iterator[Callable[..., HookRunner]]:
    made: list[HookRunner] = []
    store = ContentStore(content_dir)

    def one(command: str, timeout: float = PATIENCE, clock: Callable[[], float] = time.monotonic) -> HookRunner:
        reporter = cast(StatusReporter, reports)
        made.append(HookRunner(["/bin/sh", command], timeout, [store], reporter, Broadcast(), clock=clock))
        return made[-1]

    yield one
    for hooks in made:
        hooks.close(PATIENCE)
    store.close()


def test_the_command_runs_for_each_item_and_then_for_the_campaign_one_at_a_time(
    tmp_path: Path, content_dir: Path, reports: Reports, ledger: HookLedger, make: Callable[..., HookRunner]
) -> None:
    whole(content_dir, "c", "a", "b", settled="one")
    log = tmp_path / "log"
    hooks = make(script(tmp_path, f'echo "begin $#: $1 $2 <$3>" >> {log}; sleep 0.05; echo end >> {log}'))
    hooks.submit(ledger.pending())
    hooks.submit(ledger.pending())
    wait_until(lambda: hooks.idle)
    assert log.read_text().splitlines() == [
        f"begin 3: {content_dir}/c/a.tgz c <a>",
        "end",
        f"begin 3: {content_dir}/c/b.tgz c <b>",
        "end",
        f"begin 3: {content_dir}/c c <>",
        "end",
    ]
    assert reports.good == [("c", "a"), ("c", "b"), ("c", "")]
    assert ledger.pending() == []


def test_a_campaign_that_looks_like_an_option_never_reaches_the_command(
    tmp_path: Path, content_dir: Path, reports: Reports, ledger: HookLedger, make: Callable[..., HookRunner]
) -> None:
    whole(content_dir, "-rf", "a", settled="one")
    whole(content_dir, "c-rf", "a", settled="one")
    log = tmp_path / "log"
    hooks = make(script(tmp_path, f'echo "$2 <$3>" >> {log}'))
    hooks.submit(ledger.pending())
    wait_until(lambda: hooks.idle)
    assert log.read_text().splitlines() == ["c-rf <a>", "c-rf <>"]
    assert [(campaign, content, code) for campaign, content, code, _ in reports.bad] == [
        ("-rf", "a", "HOOK_FAILED"),
        ("-rf", "", "HOOK_FAILED"),
    ]
    assert "read the campaign name '-rf' as an option" in reports.bad[0][3]
    assert names(ledger.pending()) == [("-rf", "a"), ("-rf", "")]


def test_a_failure_is_reported_with_status_and_output_and_retried_later(
    tmp_path: Path, content_dir: Path, reports: Reports, ledger: HookLedger, make: Callable[..., HookRunner]
) -> None:
    whole(content_dir, "c", "a", "b")
    now = [0.0]
    bad = tmp_path / "bad"
    bad.touch()
    command = script(tmp_path, f'echo begin; if [ "$3" = a ] && [ -e {bad} ]; then echo "no room" >&2; exit 7; fi')
    hooks = make(command, clock=lambda: now[0])
    hooks.submit(ledger.pending())
    wait_until(lambda: hooks.idle)
    ((campaign, content, code, text),) = reports.bad
    assert (campaign, content, code) == ("c", "a", "HOOK_FAILED")
    assert text == "the command set with --on-loaded failed: exit status 7: no room"
    assert reports.good == [("c", "b")]
    hooks.submit(ledger.pending())
    hooks.retry_due()
    assert hooks.idle
    assert hooks.has_failed("c", "a")
    assert not hooks.has_failed("c", "b")
    assert len(reports.bad) == 1
    bad.unlink()
    now[0] = BLOCK_TIME
    hooks.retry_due()
    wait_until(lambda: hooks.idle)
    assert reports.good == [("c", "b"), ("c", "a")]
    assert not hooks.any_failed
    assert ledger.pending() == []


def test_a_command_that_takes_too_long_fails(
    tmp_path: Path, content_dir: Path, reports: Reports, ledger: HookLedger, make: Callable[..., HookRunner]
) -> None:
    whole(content_dir, "c", "a")
    command = script(tmp_path, "echo still busy; exec sleep 600")
    for seconds in ENOUGH:
        hooks = make(command, timeout=seconds)
        hooks.submit(ledger.pending())
        wait_until(lambda hooks=hooks: hooks.idle)  # type: ignore[misc]
        if "still busy" in reports.bad[-1][3]:
            break
    assert re.search(r"took longer than \d+ s and was ended: still busy", reports.bad[-1][3])


def test_a_stopped_loader_ends_the_command_and_leaves_its_item_pending(
    tmp_path: Path, content_dir: Path, reports: Reports, ledger: HookLedger, make: Callable[..., HookRunner]
) -> None:
    whole(content_dir, "c", "a", "b")
    pids = tmp_path / "pids"
    hooks = make(script(tmp_path, f"sleep 600 & echo $! $$ > {pids}; wait"))
    hooks.submit(ledger.pending())
    wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    began = time.monotonic()
    hooks.close(PATIENCE)
    assert time.monotonic() - began < PATIENCE
    wait_until(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()))
    assert not reports.good
    assert not reports.bad
    assert names(ledger.pending()) == [("c", "a"), ("c", "b")]
    hooks.submit(ledger.pending())  # queued, but run no more
    assert names(ledger.pending()) == [("c", "a"), ("c", "b")]


def test_items_removed_meanwhile_are_skipped(
    tmp_path: Path, content_dir: Path, reports: Reports, ledger: HookLedger, make: Callable[..., HookRunner]
) -> None:
    whole(content_dir, "c", "a", "b")
    owed = ledger.pending()
    (content_dir / "c/a.tgz").unlink()
    hooks = make(script(tmp_path, "exit 0"))
    hooks.submit(owed)
    wait_until(lambda: hooks.idle)
    assert reports.good == [("c", "b")]
    assert reports.bad == []


def test_an_item_read_as_pending_before_the_run_was_recorded_does_not_run_again(
    tmp_path: Path, content_dir: Path, reports: Reports, ledger: HookLedger, make: Callable[..., HookRunner]
) -> None:
    whole(content_dir, "c", "a", settled="one")
    hooks = make(script(tmp_path, "exit 0"))
    read_before = ledger.pending()
    hooks.submit(read_before)
    wait_until(lambda: hooks.idle)
    hooks.submit(read_before)
    wait_until(lambda: hooks.idle)
    assert reports.good == [("c", "a"), ("c", "")]


def test_content_replaced_during_a_run_runs_the_command_again(
    tmp_path: Path, content_dir: Path, reports: Reports, ledger: HookLedger, make: Callable[..., HookRunner]
) -> None:
    whole(content_dir, "c", "a")
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    hooks = make(script(tmp_path, f"touch {begun}; while [ ! -e {gate} ]; do sleep 0.01; done"))
    hooks.submit(ledger.pending())
    wait_until(begun.exists)
    whole(content_dir, "c", "a", body=b"another")
    hooks.submit(ledger.pending())
    gate.touch()
    wait_until(lambda: hooks.idle)
    assert reports.good == [("c", "a"), ("c", "a")]
    assert ledger.pending() == []


def test_a_ledger_that_cannot_be_read_is_an_error_of_the_item(
    tmp_path: Path, content_dir: Path, reports: Reports, ledger: HookLedger, make: Callable[..., HookRunner]
) -> None:
    whole(content_dir, "c", "a")
    owed = ledger.pending()
    content_dir.rename(tmp_path / "elsewhere")
    content_dir.write_text("not a directory")
    hooks = make(script(tmp_path, "exit 0"))
    hooks.submit(owed)
    wait_until(lambda: hooks.idle)
    assert [(campaign, content) for campaign, content, *_ in reports.bad] == [("c", "a")]
    assert hooks.has_failed("c", "a")


def test_a_run_that_cannot_be_recorded_has_failed_and_is_repeated_later(
    tmp_path: Path,
    content_dir: Path,
    reports: Reports,
    ledger: HookLedger,
    make: Callable[..., HookRunner],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole(content_dir, "c", "a")
    now = [0.0]
    hooks = make(script(tmp_path, "exit 0"), clock=lambda: now[0])

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("loader.hooks.ledger.write_state", full)
        hooks.submit(ledger.pending())
        wait_until(lambda: hooks.idle)
    assert [(content, code) for _, content, code, _ in reports.bad] == [("a", "NO_SPACE")]
    assert hooks.has_failed("c", "a")
    now[0] = BLOCK_TIME
    hooks.retry_due()
    wait_until(lambda: hooks.idle)
    assert reports.good == [("c", "a")]
    assert not hooks.any_failed


def test_the_runner_is_idle_when_waiters_for_the_last_run_are_called(
    tmp_path: Path, content_dir: Path, reports: Reports, ledger: HookLedger
) -> None:
    whole(content_dir, "c", "a")
    idle: list[bool] = []
    store = ContentStore(content_dir)
    command = ["/bin/sh", script(tmp_path, "exit 0")]
    reporter = cast(StatusReporter, reports)
    hooks = HookRunner(command, PATIENCE, [store], reporter, Broadcast(), lambda: idle.append(hooks.idle))
    read_before = ledger.pending()
    for runs in (1, 2):  # the second time the ledger says that nothing is pending
        hooks.submit(read_before)
        wait_until(lambda runs=runs: len(idle) == runs)  # type: ignore[misc]
    hooks.close(PATIENCE)
    store.close()
    assert idle == [True, True]
    assert reports.good == [("c", "a")]


def test_an_unexpected_error_is_an_error_of_the_item_and_the_others_still_run(
    tmp_path: Path,
    content_dir: Path,
    reports: Reports,
    ledger: HookLedger,
    make: Callable[..., HookRunner],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole(content_dir, "c", "a", "b")
    hooks = make(script(tmp_path, "exit 0"))

    def surprise(command: list[str], *_: object) -> CommandResult:
        if command[-1] == "a":
            raise RuntimeError("unexpected")
        return run_command(command, PATIENCE, NEVER)

    monkeypatch.setattr("loader.hooks.runner.run_command", surprise)
    hooks.submit(ledger.pending())
    wait_until(lambda: hooks.idle)
    assert [(content, code) for _, content, code, _ in reports.bad] == [("a", "INTERNAL")]
    assert hooks.has_failed("c", "a")
    assert reports.good == [("c", "b")]


KILLED = """
import sys, time
from pathlib import Path
from unittest.mock import Mock
from loader.hooks.runner import HookRunner
from loader.storage.content_store import ContentStore
hooks = HookRunner(sys.argv[2:], 60, [ContentStore(Path(sys.argv[1]))], Mock(), Mock())
hooks.retry_due()
while not hooks.idle:
    time.sleep(0.01)
"""


@pytest.mark.processes
def test_after_a_kill_it_is_run_for_all_that_was_not_settled(tmp_path: Path, content_dir: Path) -> None:
    whole(content_dir, "c", *"abcdef", settled="one")
    log, gate = tmp_path / "log", tmp_path / "gate"
    # At its third item it waits, and the loader is killed.
    pid = tmp_path / "pid"
    command = script(
        tmp_path, f'echo "<$3>" >> {log}; [ "$3" != c ] || [ -e {gate} ] || {{ echo $$ > {pid}; exec sleep 600; }}'
    )
    started = [sys.executable, "-c", KILLED, str(content_dir), command]
    process = subprocess.Popen(started, cwd=ROOT)
    wait_until(lambda: pid.exists() and pid.read_text().strip())
    process.kill()
    process.wait()
    os.kill(int(pid.read_text()), signal.SIGKILL)  # on the aircraft systemd does that
    assert names(HookLedger(content_dir).pending()) == [("c", name) for name in "cdef"] + [("c", "")]
    gate.touch()
    subprocess.run(started, cwd=ROOT, check=True, timeout=PATIENCE)
    assert HookLedger(content_dir).pending() == []
    assert log.read_text().split() == ["<a>", "<b>", "<c>", "<c>", "<d>", "<e>", "<f>", "<>"]
