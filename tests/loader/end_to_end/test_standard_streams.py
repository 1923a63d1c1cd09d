"""Standard streams that are closed, broken or in another encoding, and file systems without inodes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.aircraft import ROOT, Aircraft, publish

pytestmark = pytest.mark.processes
NAMES = ["film", "Zürich 日本"]


def run_shell(aircraft: Aircraft, redirection: str, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run `run_loader --once` as a shell would, with these redirections."""
    command = 'exec "$0" manage.py run_loader --once "$@" ' + redirection
    return subprocess.run(
        ["bash", "-c", command, sys.executable, *options],
        cwd=ROOT,
        env=aircraft.environment(**more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_loaded(aircraft: Aircraft, names: Sequence[str] = NAMES) -> None:
    assert {name: aircraft.path("c", name).read_bytes() for name in names} == {name: name.encode() for name in names}
    assert aircraft.errors() == {}
    assert aircraft.heartbeat().extra["ended"] is True


@pytest.fixture(autouse=True)
def _campaign(aircraft: Aircraft) -> None:
    publish(aircraft.media, "c", {name: name.encode() for name in NAMES})


@pytest.mark.parametrize("json", ["0", "1"])
@pytest.mark.parametrize(
    "redirection", [">&-", "2>&-", "<&-", "<&- >&- 2>&-", ">/dev/full", ">/dev/full 2>/dev/full", "| true"]
)
def test_a_load_does_not_depend_on_its_standard_streams(aircraft: Aircraft, redirection: str, json: str) -> None:
    if redirection == "| true":
        redirection = '> >(exec 0<&-; true); code=$?; exit "$code"'
    done = run_shell(aircraft, redirection, LOADER_JSON=json)
    assert (done.returncode, done.stderr) == (0, "")
    assert_loaded(aircraft)


def test_a_reader_that_goes_away_changes_no_exit_code(aircraft: Aircraft) -> None:
    process = aircraft.start("--once")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert (process.stderr.read(), process.wait(60)) == ("", 0)
    assert_loaded(aircraft)


@pytest.mark.parametrize("redirection", [">&-", "<&- >&- 2>&-"])
def test_another_command_runs_without_its_streams(tmp_path: Path, redirection: str) -> None:
    command = f'exec "$0" manage.py loader_status --content-dir "$1" {redirection}'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (75, "")


def test_no_file_reuses_the_descriptor_of_a_closed_stream(aircraft: Aircraft) -> None:
    """Text printed by mistake must not be written into content."""
    script = (
        "import os, sys; from loader.standard_streams import open_closed_streams; open_closed_streams(); "
        "print('x'); print('y', file=sys.stderr); sys.exit(os.open('/dev/null', os.O_RDONLY))"
    )
    done = subprocess.run(
        ["bash", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', sys.executable, script], cwd=ROOT, timeout=60, check=False
    )
    assert done.returncode >= 3


@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "POSIX"},
        {"LC_ALL": "xx_XX.ISO-8859-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
    ],
    ids=str,
)
def test_names_are_utf8_in_every_locale(aircraft: Aircraft, locale: dict[str, str]) -> None:
    run = aircraft.load(**locale)
    assert (run.code, run.stderr) == (0, "")
    assert_loaded(aircraft)
    assert "Zürich 日本.tgz".encode() in [os.fsencode(path.name) for path in (aircraft.folder / "c").iterdir()]


@pytest.mark.root
def test_a_disk_without_inodes_is_reported_as_one(aircraft: Aircraft) -> None:
    if os.geteuid() != 0:
        pytest.skip("NOT RUN: needs root to mount a small file system")
    aircraft.folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=8m,nr_inodes=24", "tmpfs", str(aircraft.folder)]
    if subprocess.run(options, check=False).returncode:
        pytest.skip("NOT RUN: needs the right to mount")
    try:
        publish(aircraft.media, "many", {f"item-{number}": b"content" for number in range(30)})
        run = aircraft.load("--campaign", "many")
        assert run.code == 1
        left = os.statvfs(aircraft.folder)
        assert (left.f_favail < 4, left.f_bavail * left.f_frsize > 7_000_000) == (True, True)
        errors = aircraft.errors()
        assert 0 < len(errors) < 30
        assert all(text.startswith("NO_SPACE: ") and "inodes are left" in text for text in errors.values()), errors
        files_free = aircraft.heartbeat().stores[0].extra["files_free"]
        assert isinstance(files_free, int)
        assert files_free <= left.f_favail  # the loader removed its own files at the end
    finally:
        subprocess.run(["umount", str(aircraft.folder)], check=True)


@pytest.mark.root
def test_a_full_disk_is_reported_with_the_reserve(aircraft: Aircraft, small_disk: Path) -> None:
    publish(aircraft.media, "large", {"a": os.urandom(3_000_000)})
    run = aircraft.load("--reserve", "6MB", "--campaign", "large")
    assert run.code == 1
    assert "besides the reserve of 6000000 bytes" in aircraft.errors()["a"]
