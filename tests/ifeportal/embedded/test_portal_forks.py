"""Processes that tests fork behave like those that start an interpreter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ifeportal.embedded.processes import Process
from tests.support.aircraft import ROOT
from tests.support.fork_server import ForkedPopen
from tests.support.portal_forks import popen, run

pytestmark = pytest.mark.processes

SHOW_STATE = """
import json, os, sys, threading
from django.conf import settings
print(json.dumps({
    "settings": settings.configured or "ifeportal.settings" in sys.modules,
    "reactor": "twisted.internet.reactor" in sys.modules,
    "threads": threading.active_count(),
    "arguments": sys.argv,
    "environment": dict(os.environ),
    "input": sys.stdin.read(),
    "files": [os.path.realpath(f"/proc/self/fd/{one}") for one in os.listdir("/proc/self/fd") if one not in "012"],
}))
print("said", file=sys.stderr)
sys.exit(7)
"""
WAIT = "import time; print('started', flush=True); time.sleep(600)"


def test_a_process_has_its_own_environment_and_streams_and_nothing_of_django() -> None:
    done = run([sys.executable, "-c", SHOW_STATE, "more"], env={"ONLY": "this"}, input="read me")
    assert (done.returncode, done.stderr) == (7, "said\n")
    found = json.loads(done.stdout)
    files = found.pop("files")
    assert not [name for name in files if "eventpoll" in name or "socket" in name]
    assert found == {
        "settings": False,
        "reactor": False,
        "threads": 1,
        "arguments": ["-c", "more"],
        "environment": {"ONLY": "this"},
        "input": "read me",
    }


def test_the_process_leads_its_session_and_stops_like_any_other(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = Process("waiting", [sys.executable, "-c", WAIT], log=log, folder=ROOT, popen=popen)
    process.start()
    pid = process.pid
    assert pid
    assert os.getsid(pid) == os.getpgid(pid) == pid
    assert process.stop() == -signal.SIGTERM
    assert process.pid is None


@pytest.mark.parametrize("name", ["PYTHONOPTIMIZE", "LC_ALL", "LD_PRELOAD", "PSYCOPG_IMPL", "NO_COLOR"])
def test_a_variable_read_at_startup_requires_a_new_interpreter(name: str) -> None:
    environment = {**os.environ, name: ""}
    command = [sys.executable, "-c", "pass"]
    with popen(command, env=environment, cwd=ROOT) as process:
        assert type(process) is subprocess.Popen
    with popen(command, env=dict(os.environ), cwd=ROOT) as process:
        assert isinstance(process, ForkedPopen) == ("COVERAGE_FILE" not in os.environ)
