"""`run_loader` as a command: help, invalid options, exit codes, and its output."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import tomllib

import pytest

from loader import VERSION
from loader.config import OPTIONS
from tests.support.aircraft import ROOT, Aircraft, bare_environment, publish, wait_for_exit
from tests.support.fork_server import ForkServer

pytestmark = pytest.mark.processes


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "run_loader", *arguments],
        cwd=ROOT,
        env={**bare_environment(), **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_help_names_every_option() -> None:
    """`test_startup_time` measures its cost."""
    shown = run("--help")
    assert shown.returncode == 0
    assert all(option.flag in shown.stdout for option in OPTIONS)


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ((), {}, "--airline (or LOADER_AIRLINE) must be given."),
        (("--airline", "..", "--tail", "N1", "--content-dir", "x"), {}, "--airline"),
        (("--airline", "A", "--tail", "../N1", "--content-dir", "x"), {}, "--tail"),
        (("--airline", "A", "--tail", "N1", "--content-dir", "x", "--campaign", "a/b"), {}, "--campaign"),
        (("--airline", "A", "--tail", "N1", "--content-dir", "x", "--bandwidth-limit", "fast"), {}, "not a size"),
        (
            ("--airline", "A", "--tail", "N1", "--content-dir", "x"),
            {"LOADER_POLL_INTERVAL": "soon"},
            "LOADER_POLL_INTERVAL",
        ),
        (("--airline", "A", "--tail", "N1", "--content-dir", "x"), {"LOADER_CRASH_AT": "noon"}, "LOADER_CRASH_AT"),
        *(
            (("--airline", "A", "--tail", "N1", "--content-dir", "x"), {name: value}, f"{name} {message}")
            for name, value, message in (
                ("MEDIA_BUCKET", "s3://hunter2/", "must be the name of a bucket alone"),
                ("STATUS_BUCKET", "hunter2/x", "must be the name of a bucket alone"),
                ("AWS_ENDPOINT_URL_S3", "hunter2.example.net", "is not an http:// or https:// address"),
                ("AWS_CA_BUNDLE", "/hunter2.pem", "names a file that cannot be read (No such file or directory)"),
                ("AWS_SHARED_CREDENTIALS_FILE", "/hunter2", "names a file that cannot be read"),
                ("AWS_SECRET_ACCESS_KEY_FILE", "/hunter2", "names a file that cannot be read"),
                ("HTTPS_PROXY", "http://crew:hunter2/x@proxy:1", "must be the address of a proxy"),
            )
        ),
        (("--frobnicate",), {}, "unrecognized arguments"),
    ],
)
def test_wrong_settings_end_it_with_a_sentence(
    arguments: tuple[str, ...], environment: dict[str, str], message: str, fork_server: ForkServer
) -> None:
    refused = wait_for_exit(fork_server.popen(arguments, {**bare_environment(), **environment}))
    assert refused.code == 2
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "hunter2" not in refused.stderr
    assert not (ROOT / "x").exists()


def test_an_address_that_cannot_be_used_ends_it_with_a_sentence(aircraft: Aircraft) -> None:
    for style, message in (
        ("dns", "AWS_S3_ADDRESSING_STYLE) is not one of"),
        ("virtual", "the endpoint has an IP address"),
    ):
        refused = aircraft.load(AWS_S3_ADDRESSING_STYLE=style)
        assert refused.code == 2
        assert message in refused.stderr
        assert "Traceback" not in refused.stderr


def test_without_a_terminal_there_is_one_line_an_event(aircraft: Aircraft) -> None:
    publish(aircraft.media, "c", {"a": b"content"})
    process = aircraft.start("--once", LOADER_JSON="")
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, "")
    lines = stdout.splitlines()
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d [^\x00-\x1f]+", line) for line in lines)
    assert any("c/a.tgz: complete, 7 B, verified" in line for line in lines)


def test_on_a_terminal_there_are_bars(aircraft: Aircraft) -> None:
    publish(aircraft.media, "c", {"[red]a[b]": os.urandom(300_000)})
    ours, theirs = pty.openpty()
    environment = aircraft.environment(LOADER_JSON="", TERM="xterm", COLUMNS="120")
    process = subprocess.Popen(
        [sys.executable, "manage.py", "run_loader", "--once", "--bandwidth-limit", "300kB"],
        cwd=ROOT,
        env=environment,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    output = b""
    while True:
        try:
            block = os.read(ours, 65536)
        except OSError:  # a closed other end is how a terminal reports that
            break
        output += block
    os.close(ours)
    assert process.wait(timeout=60) == 0
    shown = output.decode()
    assert "Total, 1 item" in shown
    assert "c/[red]a[b]" in shown
    assert "━" in shown
    assert "\x1b[?25h" in shown  # the cursor is visible again


def test_a_reader_that_went_away_does_not_stop_the_load(aircraft: Aircraft) -> None:
    publish(aircraft.media, "c", {"a": b"content"})
    process = aircraft.start("--once")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    process.wait(timeout=60)
    assert process.returncode == 0
    assert aircraft.path("c", "a").read_bytes() == b"content"


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
