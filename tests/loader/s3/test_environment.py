"""Settings are cleaned, and control characters in them refused; unexpected errors end `--once`."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from loader.media.manifest_reader import ManifestReader
from loader.media.manifest_verifier import ManifestVerifier
from loader.media.poller import MediaPoller
from loader.media.queue_reader import TransferQueueReader
from loader.media.snapshot import MediaSnapshot
from loader.planning.failure_history import FailureHistory
from loader.s3.memory import MemoryBucket
from loader.storage.content_store import ContentStore
from tests.support.aircraft import AIRLINE, ROOT, TAIL, Aircraft, Run, publish, wait_for_exit

CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
STORE = ("AWS_REGION", "AWS_ENDPOINT_URL_S3", "MEDIA_BUCKET", "STATUS_BUCKET")


@pytest.fixture
def stocked(aircraft: Aircraft) -> Aircraft:
    publish(aircraft.media, "c", {"a": b"content"})
    return aircraft


# White space and control characters.


@pytest.mark.processes
@pytest.mark.parametrize("name", [*CREDENTIALS, *STORE, "LOADER_TAIL", "LOADER_CONTENT_DIR"])
def test_a_setting_from_a_windows_file_is_cleaned(stocked: Aircraft, name: str) -> None:
    value = stocked.environment(AWS_REGION="us-east-1")[name]
    run = wait_for_exit(stocked.start("--once", **{name: f' "{value}"\r\n'}), 20)
    assert (run.code, run.stderr) == (0, "")
    assert stocked.path("c", "a").read_bytes() == b"content"


@pytest.mark.processes
@pytest.mark.parametrize("how", ["files", "profile"])
def test_keys_in_files_from_windows_are_cleaned(stocked: Aircraft, how: str, tmp_path: Path) -> None:
    if how == "files":
        for name in CREDENTIALS:
            (tmp_path / name).write_bytes(f"{stocked.keys[name]}\r\n".encode("utf-16"))
        keys = {f"{name}_FILE": str(tmp_path / name) for name in CREDENTIALS}
    else:
        lines = ("[crew]", *(f'{name.lower()} = "{stocked.keys[name]}" ' for name in CREDENTIALS), "")
        (tmp_path / "profiles").write_bytes("\r\n".join(lines).encode())
        keys = {"AWS_SHARED_CREDENTIALS_FILE": f"{tmp_path / 'profiles'}\r", "AWS_PROFILE": "crew\r"}
    run = wait_for_exit(stocked.start("--once", **dict.fromkeys(CREDENTIALS, ""), **keys), 20)
    assert (run.code, run.stderr) == (0, "")
    assert stocked.path("c", "a").read_bytes() == b"content"


@pytest.mark.processes
@pytest.mark.parametrize("name", [*CREDENTIALS, "AWS_SESSION_TOKEN", *STORE])
def test_a_control_character_inside_a_setting_is_refused_with_its_name(stocked: Aircraft, name: str) -> None:
    process = stocked.start("--once", **{name: "http://half\rother-half"})
    stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout) == (2, "")
    assert f"{name} contains a control character" in stderr
    assert "half" not in stderr


# Unexpected errors in a poll.


class Surprise(BaseException):
    """An exception that no code catches by name."""


@pytest.mark.parametrize("kind", [ValueError, RecursionError, MemoryError, Surprise])
@pytest.mark.parametrize("where", ["queue", "look"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_look_that_met_a_surprise_leaves_an_answer(
    kind: type[BaseException], where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fired: list[str] = []

    def surprise(*_: object) -> MediaSnapshot:
        fired.append(where)
        raise kind("surprise")

    if where == "queue":
        monkeypatch.setattr(TransferQueueReader, "read", surprise)
    else:
        monkeypatch.setattr(ManifestReader, "read_all", surprise)
    media, polled = MemoryBucket("media"), threading.Event()
    eyes = MediaPoller(
        TransferQueueReader(AIRLINE, TAIL, media, ContentStore(tmp_path)),
        ManifestReader(AIRLINE, (), media, ManifestVerifier("off", AIRLINE, TAIL)),
        FailureHistory(),
        lambda campaign, reading: False,
        threading.Event(),
        polled.set,
    )
    for times in (1, 2):
        eyes.start_poll()
        assert polled.wait(10)
        polled.clear()
        sight = eyes.take_snapshot()
        assert sight is not None
        assert (sight.code, len(fired), eyes.polling) == ("INTERNAL", times, False)
        assert kind.__name__ in sight.text


SURPRISED = """
import sys
from loader import main
from loader.{module} import {kind}

def surprise(*_):
    print("the surprise fired", file=sys.stderr)
    raise ValueError("nobody thought of this")

{kind}.{method} = surprise
sys.exit(main.main(["--once"]))
"""


def surprised(aircraft: Aircraft, module: str, kind: str, method: str) -> tuple[Run, str]:
    """Run `run_loader --once` with a method that raises; return the run and the last reason of the heartbeat."""
    process = subprocess.Popen(
        [sys.executable, "-c", SURPRISED.format(module=module, kind=kind, method=method)],
        cwd=ROOT,
        env=aircraft.environment(LOADER_REPORT_TIMEOUT="3s"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    run = wait_for_exit(process, 30)
    assert "the surprise fired" in run.stderr
    return run, aircraft.heartbeat().reason


@pytest.mark.processes
@pytest.mark.parametrize(
    ("module", "kind", "method"),
    [
        ("media.manifest_reader", "ManifestReader", "read_all"),
        ("media.queue_reader", "TransferQueueReader", "read"),
        ("media.manifest_reader", "ManifestReader", "read"),
    ],
)
def test_once_ends_after_a_surprise_and_the_ground_hears(
    stocked: Aircraft, module: str, kind: str, method: str
) -> None:
    run, reason = surprised(stocked, module, kind, method)
    assert run.code == 1
    assert any("INTERNAL" in str(event["text"]) for event in run.events)
    assert "INTERNAL" in reason
    assert "ValueError" in reason
    assert not stocked.path("c", "a").exists()


@pytest.mark.processes
def test_reports_that_a_surprise_ended_do_not_count_as_sent(stocked: Aircraft) -> None:
    run, _ = surprised(stocked, "reporting.sender", "StatusSender", "_send")
    assert run.code == 75
    assert run.of("status_away")
