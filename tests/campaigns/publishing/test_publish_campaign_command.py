"""The command `publish_campaign`: lines, JSON, exit codes, errors without a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from campaigns.publishing.progress import PlainProgress, PublishProgress, TerminalProgress
from ifeportal.management import base
from loader.errors import Code, WorldError
from loader.s3.memory import MemoryBucket


class BrokenBucket(MemoryBucket):
    """Every upload raises `failure`."""

    failure: BaseException = WorldError(Code.NETWORK, "connection refused")

    def upload(self, key: str, path: Path, *, progress: Callable[[int], None] | None = None) -> str:
        raise self.failure


@pytest.fixture
def media(monkeypatch: pytest.MonkeyPatch) -> MemoryBucket:
    media = MemoryBucket("ife-media")
    monkeypatch.setattr(base, "media_bucket", lambda: media)
    return media


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> BrokenBucket:
    media = BrokenBucket("ife-media")
    monkeypatch.setattr(base, "media_bucket", lambda: media)
    return media


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a [b].tgz").write_bytes(b"12345")
    (tmp_path / "note.txt").write_bytes(b"x")
    return tmp_path


def run(folder: Path, *more: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("publish_campaign", str(folder), "--airline=ACME", "--campaign=2026-12", *more, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_plain_lines_say_what_happens(folder: Path, media: MemoryBucket) -> None:
    out, err = run(folder, "--title", "December", "--starts", "2026-12-01")
    assert out.splitlines() == [
        "note: skipped note.txt (the name does not end in .tgz)",
        "hashing a [b] (5 bytes)",
        "uploading a [b] (5 bytes)",
        "Published ACME/2026-12 version 1: 1 item, 5 bytes; 1 uploaded, 5 bytes",
    ]
    assert err == ""
    out, _ = run(folder)
    assert out.splitlines()[-1] == "ACME/2026-12 version 1 is up to date: 1 item, 5 bytes; 0 uploaded, 0 bytes"
    document = json.loads(media.open("ACME/2026-12/campaign.json").read())
    assert (document["title"], document["exhibition"]) == ("December", {"starts": "2026-12-01"})


def test_json_is_one_object_on_stdout_and_progress_goes_to_stderr(folder: Path, media: MemoryBucket) -> None:
    out, err = run(folder, "--json")
    summary: dict[str, Any] = json.loads(out)
    assert (summary["airline"], summary["campaign"], summary["version"], summary["changed"]) == (
        *("ACME", "2026-12"),
        *(1, True),
    )
    assert (summary["bytes_total"], summary["bytes_uploaded"], summary["removed"]) == (5, 5, [])
    assert [(item["name"], item["size"], item["outcome"]) for item in summary["items"]] == [("a [b]", 5, "uploaded")]
    assert "uploading a [b] (5 bytes)" in err


@pytest.mark.parametrize(
    ("failure", "code", "words"),
    [
        (WorldError(Code.NETWORK, "connection refused"), 75, "NETWORK: connection refused"),
        (WorldError(Code.FORBIDDEN), 2, "FORBIDDEN"),
        (WorldError(Code.CREDENTIALS), 2, "CREDENTIALS: The store does not accept"),
        (WorldError(Code.SIZE_MISMATCH), 1, "SIZE_MISMATCH"),
        (KeyboardInterrupt(), 130, "Interrupted"),
    ],
)
def test_a_failing_bucket_ends_with_a_sentence_and_a_code(
    folder: Path, broken: BrokenBucket, failure: BaseException, code: int, words: str
) -> None:
    broken.failure = failure
    with pytest.raises(CommandError, match=words) as caught:
        run(folder)
    assert caught.value.returncode == code
    assert "tail" not in str(caught.value)  # the advice of the error table is for aircraft
    assert list(broken.list()) == []


def test_names_that_cannot_be_are_usage(folder: Path, media: MemoryBucket) -> None:
    (folder / "-x.tgz").write_bytes(b"")
    (folder / "y.part.tgz").write_bytes(b"")
    with pytest.raises(CommandError, match=r"(?s)-x.*y\.part") as caught:
        run(folder)
    assert caught.value.returncode == 2


def test_an_empty_folder_is_usage(tmp_path: Path, media: MemoryBucket) -> None:
    with pytest.raises(CommandError, match="there is no") as caught:
        run(tmp_path)
    assert caught.value.returncode == 2


def test_a_date_that_is_none_is_usage(folder: Path, media: MemoryBucket) -> None:
    with pytest.raises(CommandError, match="is not a date such as 2026-12-31"):
        run(folder, "--starts", "tomorrow")


def test_an_endpoint_that_is_no_address_is_usage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "not an address")
    with pytest.raises(CommandError, match="is not an http:// or https:// address") as caught:
        run(folder)
    assert caught.value.returncode == 2


def test_a_long_upload_reports_progress_every_few_seconds() -> None:
    lines: list[str] = []
    seconds = iter([0.0, 1.0, 6.0, 6.0, 7.0, 12.0, 12.0])
    with PlainProgress(lines.append, lambda: next(seconds)) as display:
        display(PublishProgress("uploading", "movie", 0, 4_000_000))
        for _ in range(4):
            display(PublishProgress("uploading", "movie", 1_000_000, 4_000_000))
    assert lines == [
        "uploading movie (4.0 MB)",
        "uploading movie: 2.0 MB of 4.0 MB",
        "uploading movie: 4.0 MB of 4.0 MB",
    ]


def test_a_terminal_shows_bars_and_makes_room_for_the_next_file() -> None:
    stream = StringIO()
    with TerminalProgress(stream) as display:
        for number in range(50):
            display(PublishProgress("hashing", f"[red]{number}", 0, 10))
            display(PublishProgress("hashing", f"[red]{number}", 10, 10))
        display(PublishProgress("notice", "[bold]left alone"))
        assert len(display._progress.tasks) == 1
    assert "[bold]left alone" in stream.getvalue()
    assert "hashing [red]49" in stream.getvalue()
