"""Local programs at the loader's socket: responses, requests, and protection against misbehaving clients."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from loader.contract.manifest import Item
from loader.local_api import server as the_door
from loader.local_api.http import BODY_LIMIT, HEAD_LIMIT
from loader.local_api.server import MAX_CLIENTS, MAX_STREAMS, LocalApiServer
from loader.local_api.unix_socket import connect_socket
from loader.monitor.events import ItemFinished, ItemStarted, LoaderState, PlanChanged
from loader.monitor.status_board import StatusBoard
from loader.planning.model import PlanStep
from tests.support.local_programs import GET_EVENTS, GET_STATUS, post_now, send_raw, send_request, stream_events
from tests.support.portal_system import PATIENCE, wait_until

HASH = "0" * 64


@dataclass
class Cabin:
    """A local API without a loader: its board, the requests it passed on, its warnings."""

    directory: Path
    board: StatusBoard
    wishes: list[tuple[str, str | None]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    refusal: str | None = None

    def ask(self, campaign: str, content: str | None) -> str | None:
        self.wishes.append((campaign, content))
        return self.refusal

    def api(self, mode: int = 0o600, heartbeat: float = 15.0) -> LocalApiServer:
        return LocalApiServer(
            self.directory, self.board, self.ask, mode, warn=self.complaints.append, heartbeat=heartbeat
        )

    @property
    def socket(self) -> Path:
        return self.directory / ".loader" / "loader.sock"


@pytest.fixture
def cabin(tmp_path: Path) -> Cabin:
    board = StatusBoard("ACME", "N1", "0.1.0")
    steps = [
        PlanStep("c", Item("a", 1000, HASH), "fetch", 0),
        PlanStep("c", Item("b", 1000, HASH), "fetch", 0),
        PlanStep("c", Item("whole", 10, HASH), "keep", 0),
    ]
    board.handle(PlanChanged(steps, {}, {"c": "December"}))
    return Cabin(tmp_path / "content", board)


@pytest.fixture
def api(cabin: Cabin) -> Iterator[LocalApiServer]:
    api = cabin.api()
    api.start()
    yield api
    api.close()


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients have half a second instead of five."""
    monkeypatch.setattr(the_door, "REQUEST_TIMEOUT", 0.5)


# Status and events.


def test_the_status_is_the_snapshot_of_the_board(cabin: Cabin, api: LocalApiServer) -> None:
    answer = send_request(cabin.directory, "GET", "/status")
    assert (answer.code, answer.headers["content-type"]) == (200, "application/json")
    assert [one["content"] for one in answer.json["items"]] == ["a", "b", "whole"]
    assert answer.json["revision"] == cabin.board.revision


def test_status_is_304_until_something_changes(cabin: Cabin, api: LocalApiServer) -> None:
    etag = send_request(cabin.directory, "GET", "/status").headers["etag"]
    again = send_request(cabin.directory, "GET", "/status", If_None_Match=etag)
    assert (again.code, again.body, again.headers["etag"]) == (304, b"", etag)
    cabin.board.handle(LoaderState("loading", "", "c"))
    assert send_request(cabin.directory, "GET", "/status", If_None_Match=f'"x", W/{etag}').code == 200


def test_the_etag_of_another_run_is_not_of_this_one(cabin: Cabin, api: LocalApiServer) -> None:
    etag = send_request(cabin.directory, "GET", "/status").headers["etag"]
    api.close()
    again = cabin.api()
    again.start()
    assert send_request(cabin.directory, "GET", "/status", If_None_Match=etag).code == 200
    again.close()


def test_events_begin_with_everything_and_go_on_with_what_changed(cabin: Cabin, api: LocalApiServer) -> None:
    with stream_events(cabin.directory) as stream:
        kind, first = next(stream)
        assert (kind, len(first["items"])) == ("status", 3)
        cabin.board.handle(ItemStarted("c", "a", 0, 1000))
        kind, change = next(stream)
        assert (kind, [one["content"] for one in change["items"]]) == ("change", ["a"])
        cabin.board.handle(ItemFinished("c", "a", 1000, verified=True))
        while change["items"] and change["items"][0]["status"] != "complete":
            kind, change = next(stream)
        assert change["items_done"] == 2
        cabin.board.handle(PlanChanged([PlanStep("d", Item("x", 1, HASH), "fetch", 0)], {}, {}))
        kind, whole = next(stream)
        assert (kind, [one["content"] for one in whole["items"]]) == ("status", ["x"])
        api.close()
        assert list(stream)[-1] == ("end", {})


def test_a_stream_where_nothing_happens_shows_that_it_lives(cabin: Cabin) -> None:
    api = cabin.api(heartbeat=0.05)
    api.start()
    with stream_events(cabin.directory) as stream:
        assert [next(stream)[0] for _ in range(3)] == ["status", "comment", "comment"]
    api.close()


# Priority requests.


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({"campaign": "c", "content": "a"}, ("c", "a")),
        ({"campaign": "c", "content": "a.tgz"}, ("c", "a")),
        ({"campaign": "c"}, ("c", None)),
        ({"campaign": "c", "content": None, "seat": "12A"}, ("c", None)),
    ],
)
def test_a_wish_is_passed_on(cabin: Cabin, api: LocalApiServer, wish: object, expected: tuple[str, str | None]) -> None:
    assert post_now(cabin.directory, wish).code == 202
    assert cabin.wishes == [expected]


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"campaign": "x"}, 404),
        ({"campaign": "c", "content": "x"}, 404),
        ({"campaign": "../c", "content": "a"}, 404),
        ({"campaign": "c", "content": "whole"}, 409),
        ({}, 400),
        ({"campaign": 5}, 400),
        ({"campaign": "c", "content": ["a"]}, 400),
        ({"campaign": "c", "content": "../a"}, 400),
        (["c"], 400),
        ("c", 400),
    ],
)
def test_a_wish_that_cannot_be_is_refused_with_what_to_do(
    cabin: Cabin, api: LocalApiServer, wish: object, code: int
) -> None:
    answer = post_now(cabin.directory, wish)
    assert answer.code == code
    assert set(answer.json) == {"error", "advice"}
    assert cabin.wishes == []


def test_a_refused_request_gets_the_reason(cabin: Cabin, api: LocalApiServer) -> None:
    cabin.refusal = "the ground has paused this aircraft"
    answer = post_now(cabin.directory, {"campaign": "c", "content": "a"})
    assert (answer.code, answer.json["error"]) == (409, "the ground has paused this aircraft")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"campaign": "c", "campaign": "d"}',
        b'{"campaign": NaN}',
        b'{"campaign": "\\ud800"}',
        b'{"campaign": "\\u0000"}',
        b"[" * 2000,
        b'{"campaign": 1e999}',
        b'\xef\xbb\xbf{"campaign": "c"}',
    ],
)
def test_invalid_json_is_refused(cabin: Cabin, api: LocalApiServer, body: bytes) -> None:
    answer = send_request(cabin.directory, "POST", "/now", body, Content_Type="application/json")
    assert answer.code == 400
    assert send_request(cabin.directory, "GET", "/status").code == 200


# Malformed requests.

POST = b"POST /now HTTP/1.1\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /status/../now HTTP/1.1\r\n\r\n", 404),
        (b"GET /.loader/id HTTP/1.1\r\n\r\n", 404),
        (b"GET http://x/status HTTP/1.1\r\n\r\n", 400),
        (b"GET /status?fresh=1 HTTP/1.0\r\n\r\n", 200),
        (b"HEAD /status HTTP/1.1\r\n\r\n", 405),
        (b"POST /status HTTP/1.1\r\n\r\n", 405),
        (b"GET /now HTTP/1.1\r\n\r\n", 405),
        (b"DELETE /now HTTP/1.1\r\n\r\n", 405),
        (b"OPTIONS /events HTTP/1.1\r\n\r\n", 405),
        (b"GET /status\r\n\r\n", 400),
        (b"GET /status HTTP/2.0\r\n\r\n", 400),
        (b"get /status HTTP/1.1\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"GET /status HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /status HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", 400),
        (b"GET /status HTTP/1.1\r\nA : b\r\n\r\n", 400),
        (b"GET /status HTTP/1.1\r\nA: \x00\r\n\r\n", 400),
        (b"GET /status HTTP/1.1\nHost: x\n\n" + b"x" * HEAD_LIMIT, 431),
        (b"GET /status HTTP/1.1\r\nA: " + b"x" * HEAD_LIMIT, 431),
        (b"GET /" + b"x" * 2000 + b" HTTP/1.1\r\n\r\n", 400),
        (b"POST /now HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 415),
        (b"POST /now HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415),
        (POST + b"\r\n{}", 411),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 411),
        (POST + b"Content-Length: -1\r\n\r\n{}", 400),
        (POST + b"Content-Length: \xb2\r\n\r\n{}", 400),
        (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
        (POST + b"Content-Length: %d\r\n\r\n" % (BODY_LIMIT + 1), 413),
        (POST + b"Content-Length: 999999999999999\r\n\r\n", 413),
        (POST + b"Content-Length: %d\r\n\r\n" % (2 * 10**6) + b"x" * 2 * 10**6, 413),
    ],
)
def test_other_requests_are_refused_and_the_loader_goes_on(
    cabin: Cabin, api: LocalApiServer, raw: bytes, code: int
) -> None:
    answer = send_raw(cabin.directory, raw, hold=True)
    assert answer.code == code
    if code == 405:
        assert answer.headers["allow"] in ("GET", "POST")
    if code != 200:
        assert answer.json["advice"]
    assert cabin.wishes == []
    assert send_request(cabin.directory, "GET", "/status").code == 200


@pytest.mark.parametrize("raw", [b"", b"GET", GET_STATUS[:-2], POST + b"Content-Length: 50\r\n\r\n{"])
def test_a_program_that_goes_before_it_has_asked_leaves_nothing_behind(
    cabin: Cabin, api: LocalApiServer, raw: bytes
) -> None:
    assert send_raw(cabin.directory, raw).code == 0
    assert send_request(cabin.directory, "GET", "/status").code == 200


@pytest.mark.parametrize("raw", [b"", b"GET /sta", POST + b"Content-Length: 50\r\n\r\n{"])
def test_a_program_that_does_not_finish_asking_is_sent_away(
    cabin: Cabin, api: LocalApiServer, hurried: None, raw: bytes
) -> None:
    assert send_raw(cabin.directory, raw, hold=True).code == 408


def test_a_program_that_drips_byte_after_byte_has_no_more_time_than_others(
    cabin: Cabin, api: LocalApiServer, hurried: None
) -> None:
    with connect_socket(cabin.directory, PATIENCE) as client:
        sent, answer = 0, b""
        client.setblocking(False)
        while not answer:
            try:
                answer = client.recv(4096)
            except BlockingIOError:
                threading.Event().wait(0.02)
                with suppress(BrokenPipeError):  # the server has closed the connection: its response can still be read
                    client.send(b"G")
                    sent += 1
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert 0 < sent < HEAD_LIMIT


def test_a_program_that_never_reads_is_dropped(cabin: Cabin, api: LocalApiServer, hurried: None) -> None:
    board = cabin.board
    board.handle(
        PlanChanged([PlanStep("c", Item(f"item-{number}", 10, HASH), "fetch", 0) for number in range(5000)], {}, {})
    )
    with connect_socket(cabin.directory, PATIENCE) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(GET_EVENTS)
        with stream_events(cabin.directory) as other:
            assert next(other)[0] == "status"  # other clients do not wait for it
        wait_until(lambda: all(thread.name != "program" for thread in threading.enumerate()))
    assert send_request(cabin.directory, "GET", "/status").code == 200


# Many clients.


def test_the_number_of_readers_is_limited(cabin: Cabin, api: LocalApiServer) -> None:
    with Crowd(cabin, MAX_STREAMS, GET_EVENTS) as readers:
        assert all(reader.recv(12) == b"HTTP/1.1 200" for reader in readers)
        too_many = send_raw(cabin.directory, GET_EVENTS, hold=True)
        assert (too_many.code, too_many.headers["retry-after"]) == (503, "2")
        assert send_request(cabin.directory, "GET", "/status").code == 200


def test_a_crowd_is_turned_away_and_then_there_is_room_again(cabin: Cabin, api: LocalApiServer) -> None:
    before = threading.active_count()
    with Crowd(cabin, MAX_CLIENTS, b"") as crowd:
        assert send_raw(cabin.directory, b"", hold=True).code == 503
        assert threading.active_count() <= before + MAX_CLIENTS
        for client in crowd:
            client.close()
    wait_until(lambda: send_request(cabin.directory, "GET", "/status").code == 200)


class Crowd:
    """Open connections that have sent `raw` and are accepted or rejected."""

    def __init__(self, cabin: Cabin, count: int, raw: bytes) -> None:
        self._clients = [connect_socket(cabin.directory, PATIENCE) for _ in range(count)]
        for client in self._clients:
            client.sendall(raw)

    def __enter__(self) -> list[socket.socket]:
        return self._clients

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.close()


def test_an_error_of_ours_ends_one_conversation_only(
    cabin: Cabin, api: LocalApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(campaign: str, content: str | None) -> str | None:
        raise RuntimeError("of ours")

    cabin.ask = broken  # type: ignore[method-assign]
    api.close()
    faulty = cabin.api()
    faulty.start()
    assert post_now(cabin.directory, {"campaign": "c", "content": "a"}).code == 0
    assert "Failed to respond to a local program" in caplog.text
    assert send_request(cabin.directory, "GET", "/status").code == 200
    faulty.close()


# The socket file.


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_file_has_the_mode_that_was_asked_for_whatever_the_umask(cabin: Cabin, mode: int, umask: int) -> None:
    before = os.umask(umask)
    api = cabin.api(mode)
    try:
        api.start()
    finally:
        os.umask(before)
    assert stat.S_IMODE(cabin.socket.stat().st_mode) == mode
    api.close()


def test_connections_are_impossible_before_the_mode_is_set(cabin: Cabin, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    chmod: Callable[..., None] = os.chmod

    def looked(path: str, mode: int, **more: object) -> None:
        modes.append(stat.S_IMODE(os.stat(path).st_mode))  # noqa: PTH116  of a descriptor
        assert not cabin.socket.exists()
        chmod(path, mode, **more)

    monkeypatch.setattr(os, "chmod", looked)
    api = cabin.api(0o666)
    before = os.umask(0)
    try:
        api.start()
    finally:
        os.umask(before)
    assert modes == [0o600]
    api.close()


def test_another_user_may_connect_if_the_mode_allows_it(cabin: Cabin) -> None:
    for path in (cabin.directory, cabin.directory / ".loader"):
        path.mkdir(parents=True)
    for above in (cabin.directory, *cabin.directory.parents[:-1]):
        if above.stat().st_uid == os.getuid() and str(above) not in ("/", "/tmp"):
            above.chmod(0o755)
    for mode, expected in ((0o600, False), (0o666, True)):
        api = cabin.api(mode)
        api.start()
        assert _connects_as_other_user(cabin.socket) is expected
        api.close()


def _connects_as_other_user(path: Path) -> bool:
    """Return whether a process of the user `nobody` can connect."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
            os._exit(0)
        except PermissionError:
            os._exit(1)
        finally:
            os._exit(2)
    return {0: True, 1: False}[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]


def test_a_long_path_is_no_trouble(cabin: Cabin) -> None:
    cabin.directory = cabin.directory / ("long" * 40) / ("path" * 40)
    api = cabin.api()
    api.start()
    assert len(str(cabin.socket)) > 300
    assert send_request(cabin.directory, "GET", "/status").code == 200
    api.close()
    assert cabin.complaints == []


def test_the_socket_of_a_killed_loader_is_replaced_and_ours_is_removed_at_the_end(cabin: Cabin) -> None:
    killed = cabin.api()
    killed.start()
    fresh = cabin.api()
    fresh.start()
    assert send_request(cabin.directory, "GET", "/status").code == 200
    fresh.close()
    assert list(cabin.socket.parent.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        connect_socket(cabin.directory, 1.0)
    killed.close()


@pytest.mark.parametrize("name", ["loader.sock", "loader.sock.new"])
def test_a_planted_link_is_replaced_and_never_followed(cabin: Cabin, tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    cabin.socket.parent.mkdir(parents=True)
    (cabin.socket.parent / name).symlink_to(victim)
    api = cabin.api(0o666)
    api.start()
    assert send_request(cabin.directory, "GET", "/status").code == 200
    api.close()
    assert victim.read_bytes() == b"precious"
    assert list(cabin.socket.parent.iterdir()) == []


def test_a_planted_folder_of_ours_is_not_followed(cabin: Cabin, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    cabin.directory.mkdir()
    (cabin.directory / ".loader").symlink_to(elsewhere)
    api = cabin.api()
    api.start()
    assert len(cabin.complaints) == 1
    assert list(elsewhere.iterdir()) == []
    api.close()


@pytest.mark.parametrize("name", ["loader.sock", "loader.sock.new"])
def test_an_impossible_socket_is_reported_once(cabin: Cabin, name: str) -> None:
    (cabin.socket.parent / name / "something").mkdir(parents=True)
    api = cabin.api()
    api.start()
    assert len(cabin.complaints) == 1
    assert "its socket cannot be created" in cabin.complaints[0]
    api.close()
