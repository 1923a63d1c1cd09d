"""Child processes have logs, are supervised, and never outlive their parent."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ifeportal.embedded.processes import LOOPBACK, Process, Supervisor, free_port, wait_until_listening
from tests.support.portal_system import PATIENCE, wait_until

SLEEP = "import time; print('here', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SLEEP
PARENT = (
    f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]).pid, flush=True);" + SLEEP
)


def python(code: str, tmp_path: Path, name: str = "child", **options: float) -> Process:
    return Process(
        name,
        [sys.executable, "-c", code],
        log=tmp_path / f"{name}.log",
        stage=int(options.get("stage", 0)),
        stop_timeout=options.get("patience", PATIENCE),
    )


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_child_writes_its_log_and_ends_when_asked(tmp_path: Path) -> None:
    child = python(SLEEP, tmp_path)
    child.start()
    wait_until(lambda: "here" in child.log_tail())
    assert child.pid
    assert child.stop() == -signal.SIGTERM
    assert child.pid is None
    assert child.ended is None


def test_a_child_that_ends_by_itself_is_noticed_with_its_last_words(tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        supervisor.start(python(SLEEP, tmp_path, "well"))
        broken = supervisor.start(python("raise SystemExit('no such thing')", tmp_path, "broken"))
        wait_until(lambda: supervisor.ended() == [broken])
        assert broken.ended == 1
        assert broken.log_tail() == "no such thing"


def test_a_stubborn_child_is_killed_and_its_children_too(tmp_path: Path) -> None:
    child = python(PARENT, tmp_path, patience=0.5)
    child.start()
    wait_until(lambda: len(child.log_tail().splitlines()) > 1)
    grandchild = int(next(line for line in child.log_tail().splitlines() if line.isdigit()))
    child.stop()
    wait_until(lambda: not is_alive(grandchild))


def test_a_child_started_again_has_a_new_log_and_the_old_one(tmp_path: Path) -> None:
    child = python("print('once')", tmp_path)
    for _ in range(2):
        child.start()
        wait_until(lambda: child.ended == 0)
    assert (tmp_path / "child.log").read_text() == (tmp_path / "child.log.1").read_text() == "once\n"


def test_the_highest_stage_stops_first(tmp_path: Path) -> None:
    tell = "import signal,sys,time\ndef end(*_):\n open({0!r}, 'a').write({1!r}); sys.exit()\n"
    tell += "signal.signal(signal.SIGTERM, end)\nprint('here', flush=True)\ntime.sleep(600)"
    record = tmp_path / "order"
    with Supervisor() as supervisor:
        children = [
            supervisor.start(python(tell.format(str(record), str(stage)), tmp_path, f"stage{stage}", stage=stage))
            for stage in (1, 3, 2)
        ]
        for child in children:
            wait_until(lambda child=child: "here" in child.log_tail())  # type: ignore[misc]
    assert record.read_text() == "321"


def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time\nfrom ifeportal.embedded.processes import Process\n"
        f"child = Process('c', [sys.executable, '-c', {SLEEP!r}], log=pathlib.Path({str(tmp_path / 'log')!r}))\n"
        "child.start(); print(child.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=Path.cwd())
    assert parent.stdout
    pid = int(parent.stdout.readline())
    wait_until(lambda: (tmp_path / "log").read_text() == "here\n")
    parent.kill()
    parent.communicate()
    wait_until(lambda: not is_alive(pid))


def test_a_port_that_is_taken_is_not_free() -> None:
    port = free_port()
    assert free_port(port) == port
    with socket.create_server((LOOPBACK, port)):
        assert free_port(port) != port


def test_waiting_for_a_server_ends_when_it_listens_or_dies(tmp_path: Path) -> None:
    port = free_port()
    with Supervisor() as supervisor:
        server = python(f"import http.server as h; h.test(port={port}, bind='127.0.0.1')", tmp_path, "server")
        wait_until_listening(port, supervisor.start(server))
        dead = supervisor.start(python("raise SystemExit('port taken')", tmp_path, "dead"))
        with pytest.raises(OSError, match="port taken"):
            wait_until_listening(free_port(), dead)
    assert server.pid is None
