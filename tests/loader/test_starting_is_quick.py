"""Starting costs an aircraft's small computer little: what is slow to import is imported when it is needed."""

from __future__ import annotations

import resource
import subprocess
import sys

from tests.loader.aircraft import ROOT, bare_environment

LIMIT = 0.5  # seconds of CPU; boto3 alone takes 0.3
HELP = [sys.executable, "manage.py", "run_loader", "--help"]


def seconds_of_cpu() -> float:
    """What showing the help takes, in user and kernel."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(HELP, cwd=ROOT, env=bare_environment(), stdout=subprocess.DEVNULL, check=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_the_help_takes_at_most_half_a_second_of_cpu() -> None:
    seconds_of_cpu()  # compiles what was never run
    assert min(seconds_of_cpu() for _ in range(3)) <= LIMIT


def test_the_help_does_without_boto3() -> None:
    environment = bare_environment() | {"PYTHONPROFILEIMPORTTIME": "1"}
    told = subprocess.run(HELP, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60)
    imported = {line.rpartition("|")[2].strip() for line in told.stderr.splitlines() if line.startswith("import time:")}
    assert "loader.config" in imported
    assert imported.isdisjoint({"boto3", "botocore"})
