"""`loader_status`: the table for a technician, the JSON for a script, and the message when no loader runs."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loader.contract.heartbeat import StoreUsage
from loader.contract.manifest import Item
from loader.contract.units import format_duration
from loader.errors import Code
from loader.local_api.client import LoaderNotRunning, fetch_status, watch_status
from loader.local_api.server import LocalApiServer
from loader.monitor.events import (
    ItemFailed,
    ItemRetrying,
    ItemStarted,
    LinkChanged,
    LoaderState,
    PlanChanged,
    QueueState,
)
from loader.monitor.status_board import StatusBoard
from loader.monitor.status_table import render_status
from loader.planning.model import PlanStep
from loader.storage.content_store import ContentStore
from loader.storage.inventory import ManifestVersion
from tests.support.aircraft import ROOT, bare_environment

HASH = "0" * 64


@pytest.fixture
def board() -> StatusBoard:
    board = StatusBoard("ACME", "N1", "0.1.0", space=lambda: [StoreUsage("/content", 64_000_000_000, 12_000_000_000)])
    steps = [
        PlanStep("2026-12", Item("movie-001", 1000, HASH), "fetch", 0, 250),
        PlanStep("2026-12", Item("movie-002", 2000), "refuse", 0, code=Code.NO_SPACE, reason="too\x1b[31m big"),
        PlanStep("2026-12", Item("n" * 60, 0, HASH), "keep", 0),
    ]
    board.handle(PlanChanged(steps, {"2027-01": (Code.BAD_MANIFEST, "line 1: not JSON")}, {"2026-12": "December\x07"}))
    board.handle(LoaderState("loading", "", "2026-12"))
    board.handle(QueueState(7, True, "22:00-05:00", 20_000_000))
    return board


@pytest.fixture
def directory(tmp_path: Path, board: StatusBoard) -> Iterator[Path]:
    """The content directory of a running loader."""
    api = LocalApiServer(tmp_path / "content", board, lambda campaign, content: None)
    api.start()
    yield tmp_path / "content"
    api.close()


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "loader_status", *arguments],
        cwd=ROOT,
        env={**bare_environment(), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# The table.


def table(board: StatusBoard) -> str:
    return "\n".join(render_status(board.snapshot()))


def test_a_technician_reads_state_queue_disk_and_every_item(board: StatusBoard) -> None:
    shown = table(board)
    assert "ACME/N1: loading 2026-12" in shown
    assert "version 7, paused, window 22:00-05:00, limit 20 MB/s" in shown
    assert "/content: 12 GB free of 64 GB" in shown
    assert "1 of 3 items, 250 B of 3.0 kB, 8 %" in shown
    assert "[#####...............]  25 % pending" in shown
    assert "[....................]   0 % failed    2.0 kB  NO_SPACE: too␛[31m big" in shown
    assert "n" * 37 + "... [####################] 100 % verified" in shown
    assert "2027-01: failed, BAD_MANIFEST: line 1: not JSON" in shown
    assert "2026-12 (December␇): failed, 1 of 3 items" in shown


def test_external_text_cannot_control_the_terminal(board: StatusBoard) -> None:
    assert all(sign == "\n" or sign.isprintable() for sign in table(board))


def test_retried_items_show_the_time_of_the_next_attempt(board: StatusBoard) -> None:
    board.handle(ItemStarted("2026-12", "movie-001", 250, 1000))
    board.handle(ItemRetrying("2026-12", "movie-001", Code.NETWORK, "the store is away", 60.0))
    assert "NETWORK: the store is away; retry at " in table(board)


def test_a_link_that_is_down_is_shown_with_its_reason(board: StatusBoard) -> None:
    board.handle(LinkChanged(False, "no route to the store"))
    assert "link     down: no route to the store" in table(board)


def test_an_empty_plan_is_shown_as_such() -> None:
    assert "No campaigns: " in table(StatusBoard("ACME", "N1"))


@pytest.mark.parametrize(
    ("name", "shown"),
    [("映画二", "映画二" + " " * 34), ("映" * 21, "映" * 18 + "... "), ("e\u0301", "e\u0301" + " " * 39)],
)
def test_bars_stand_below_each_other_whatever_the_script_of_the_names(name: str, shown: str) -> None:
    board = StatusBoard("ACME", "N1")
    board.handle(PlanChanged([PlanStep("c", Item(name, 1000), "fetch", 0)], {}, {}))
    assert f"  {shown} [..." in table(board)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (99, "99 s"), (100, "2 min"), (3599, "1 h 00 min"), (11_100, "3 h 05 min"), (200_000, "2 days")],
)
def test_durations_are_readable(seconds: int, text: str) -> None:
    assert format_duration(seconds) == text


# The command.


@pytest.mark.processes
def test_the_command_shows_the_status_from_the_socket(directory: Path, board: StatusBoard) -> None:
    shown = run("--content-dir", str(directory))
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "ACME/N1: loading 2026-12" in shown.stdout


@pytest.mark.processes
def test_as_json_it_is_the_answer_itself(directory: Path, board: StatusBoard) -> None:
    shown = run("--json", LOADER_CONTENT_DIR=f"{directory}:/elsewhere")
    assert shown.returncode == 0
    status: Any = json.loads(shown.stdout)
    assert status["items"] == board.snapshot()["items"]


@pytest.mark.processes
def test_the_command_watches_until_the_loader_ends(tmp_path: Path, board: StatusBoard) -> None:
    api = LocalApiServer(tmp_path, board, lambda campaign, content: None)
    api.start()
    command = [sys.executable, "manage.py", "loader_status", "--watch", "--json", "--content-dir", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, env=bare_environment(), stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        first = json.loads(watching.stdout.readline())
        assert first["state"] == "loading"
        board.handle(ItemFailed("2026-12", "movie-001", Code.OBJECT_GONE, "gone"))
        second = json.loads(watching.stdout.readline())
        assert [one["error_code"] for one in second["items"]] == ["OBJECT_GONE", "NO_SPACE", ""]
        api.close()
        assert watching.wait(timeout=60) == 0


@pytest.mark.processes
def test_on_a_terminal_each_change_takes_the_place_of_the_last(tmp_path: Path, board: StatusBoard) -> None:
    api = LocalApiServer(tmp_path, board, lambda campaign, content: None)
    api.start()
    ours, theirs = pty.openpty()
    command = [sys.executable, "manage.py", "loader_status", "--watch", "--content-dir", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, env=bare_environment(), stdout=theirs) as watching:
        os.close(theirs)
        output = b""
        while b"movie-001" not in output:
            output += os.read(ours, 65536)
        api.close()
        assert watching.wait(timeout=60) == 0
    os.close(ours)
    assert output.startswith(b"\x1b[H\x1b[2J")


@pytest.mark.processes
def test_without_a_loader_it_shows_the_content_on_disk(tmp_path: Path) -> None:
    store = ContentStore(tmp_path / "content")
    store.mark_complete("2026-11", [Item("a", 5_000_000, HASH)], ManifestVersion("x"))
    store.close()
    shown = run("--content-dir", str(tmp_path / "content"))
    assert shown.returncode == 75
    assert "No loader is running in" in shown.stdout
    assert "complete 2026-11: 1 item, 5.0 MB, verified" in shown.stdout
    status = json.loads(run("--json", "--content-dir", str(tmp_path / "content")).stdout)
    assert (status["running"], [one["campaign"] for one in status["held"]]) == (False, ["2026-11"])


@pytest.mark.processes
def test_the_command_creates_no_files(tmp_path: Path) -> None:
    assert run("--content-dir", str(tmp_path / "none")).returncode == 75
    assert list(tmp_path.iterdir()) == []
    assert run().returncode == 2


# The server's side.


def test_a_socket_without_a_listener_is_no_loader(tmp_path: Path) -> None:
    (tmp_path / ".loader").mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / ".loader" / "loader.sock"))
    with pytest.raises(LoaderNotRunning, match="no loader is running"):
        fetch_status(tmp_path)


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"SSH-2.0\r\n",
        b"HTTP/1.1 500 Oh\r\n\r\n",
        *(b"HTTP/1.1 200 OK\r\n\r\n" + body for body in (b"[]", b"{", b"{}", b'{"schema": 2}')),
    ],
)
def test_any_invalid_response_is_reported_in_a_sentence(tmp_path: Path, response: bytes) -> None:
    (tmp_path / ".loader").mkdir()
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(tmp_path / ".loader" / "loader.sock"))
        stranger.listen(1)
        child = os.fork()
        if child == 0:
            connection, _ = stranger.accept()
            connection.recv(65536)
            connection.sendall(response)
            connection.close()
            os._exit(0)
        with pytest.raises(LoaderNotRunning):
            fetch_status(tmp_path)
        os.waitpid(child, 0)


def test_changes_are_put_together_to_the_whole(directory: Path, board: StatusBoard) -> None:
    stream = watch_status(directory)
    assert len(_items(next(stream))) == 3
    board.handle(ItemFailed("2026-12", "movie-001", Code.OBJECT_GONE, "gone"))
    status = next(stream)
    assert [one["content"] for one in _items(status)][:2] == ["movie-001", "movie-002"]
    assert (_items(status)[0]["error_code"], status["full"]) == ("OBJECT_GONE", True)
    stream.close()


def _items(status: Any) -> list[dict[str, object]]:
    items: list[dict[str, object]] = status["items"]
    return items
