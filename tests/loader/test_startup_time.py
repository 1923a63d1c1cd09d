"""Startup is fast on a small computer: slow modules are imported only when needed."""

from __future__ import annotations

import resource
import subprocess
import sys

from tests.support.aircraft import ROOT, bare_environment
from tests.support.portal_system import PATIENCE

HELP = [sys.executable, "manage.py", "run_loader", "--help"]
STORE = [sys.executable, "-c", "import boto3; boto3.client('s3', region_name='eu-central-1')"]


def seconds_of_cpu(command: list[str]) -> float:
    """Return the user and system CPU time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=ROOT, env=bare_environment(), stdout=subprocess.DEVNULL, check=True, timeout=PATIENCE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_the_help_takes_less_than_a_client_of_the_store_would_alone() -> None:
    turns = [(seconds_of_cpu(HELP), seconds_of_cpu(STORE)) for _ in range(3)]  # the first run compiles the modules
    assert min(shown for shown, _ in turns) < min(made for _, made in turns)


def test_the_help_does_without_boto3() -> None:
    environment = bare_environment() | {"PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run(HELP, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=PATIENCE)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "loader.config" in imported
    assert imported.isdisjoint({"boto3", "botocore"})
