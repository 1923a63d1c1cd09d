"""`.ci/audit`: a vulnerability fails the gate; an unreachable service is reported and does not pass as "none"."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ifeportal.embedded.processes import LOOPBACK, free_port

ROOT = Path(__file__).resolve().parents[2]


class Service(BaseHTTPRequestHandler):
    """Answers like the service of vulnerabilities."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    server = HTTPServer((LOOPBACK, 0), Service)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def audit(service: str, folder: Path, exit_code: int) -> subprocess.CompletedProcess[str]:
    """Run the gate with a program that writes its options down and exits with this code."""
    program = folder / "pip-audit"
    program.write_text(f'#!/bin/sh\necho "$@" >>{folder}/calls\nexit {exit_code}\n')
    program.chmod(0o755)
    environment = {**os.environ, "AUDIT_SERVICE": service, "AUDIT_COMMAND": str(program), "no_proxy": LOOPBACK}
    return subprocess.run(
        [".ci/audit"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("code", [0, 1])
def test_every_locked_file_is_audited_and_a_vulnerability_fails(service: str, tmp_path: Path, code: int) -> None:
    done = audit(service, tmp_path, code)
    assert done.returncode == code, done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[-1] for call in calls] == ["requirements/portal.txt", "requirements/dev.txt"]
    assert all("--require-hashes --disable-pip" in call for call in calls)


def test_the_gate_reports_that_no_audit_ran_without_the_service(tmp_path: Path) -> None:
    done = audit(f"http://{LOOPBACK}:{free_port()}/", tmp_path, 0)
    assert done.returncode == 75
    assert "NOT AUDITED" in done.stderr
    assert not (tmp_path / "calls").exists()


def test_the_run_of_all_checks_fails_with_the_audit_unless_the_service_is_away() -> None:
    text = (ROOT / ".ci/run").read_text()
    tail = text[text.index("code=0") :]
    for code, expected in ((0, 0), (1, 1), (2, 2), (75, 0)):
        script = f"set -euo pipefail\n{tail.replace('.ci/audit', f'(exit {code})')}"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
        assert done.returncode == expected
        assert ("not audited" in done.stderr) == (code == 75)


def test_the_locked_files_contain_everything_that_the_aircraft_installs() -> None:
    def packages(name: str) -> set[str]:
        lines = (ROOT / "requirements" / name).read_text().splitlines()
        return {line.split("==")[0].split(" ")[0] for line in lines if line[:1].isalnum()}

    assert packages("aircraft.txt") <= packages("portal.txt")
