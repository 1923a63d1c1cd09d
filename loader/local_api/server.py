"""HTTP server for local programs, on the Unix socket of the first content directory.

    GET  /status   everything the board knows, as JSON, with an ETag
    GET  /events   the same as server-sent events: `status` first, then `change` with the items that changed
    POST /now      {"campaign": …, "content": …}: load this first

The mode of the socket decides who may connect. No client can stop or slow a load for long: requests are bounded in
size and time, clients in number. Touches the socket and the board, no other disk and no network.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Final

from loader.local_api.http import HttpError, finish_connection, read_body, read_request
from loader.local_api.service import LocalApi, PriorityRequest
from loader.local_api.unix_socket import bind_socket, unlink_socket
from loader.monitor.status_board import StatusBoard
from loader.storage.directory import Directory

log = logging.getLogger("loader")

MAX_CLIENTS: Final = 16  # connections at once
MAX_STREAMS: Final = 8  # of these, streams of events
REQUEST_TIMEOUT: Final = 5.0  # seconds for a whole request, and for a reader to take what it is sent
KEEPALIVE_INTERVAL: Final = 15.0  # seconds between two comments in a stream where nothing happens
_CHECK_INTERVAL: Final = 1.0  # seconds after which a stream looks whether its reader is still there
_BUSY: Final = HttpError(
    HTTPStatus.SERVICE_UNAVAILABLE, "Too many programs are asking.", "Try again.", **{"Retry-After": "2"}
)
_STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nConnection: close\r\n\r\n"
    b"retry: 2000\n\n"
)


class LocalApiServer:
    """`ask(campaign, content)`: somebody wants this first, all of the campaign if None; a sentence if it cannot be.

    `complain` hears once if there can be no socket; the loader goes on without.
    """

    def __init__(
        self,
        path: Path,
        board: StatusBoard,
        ask: PriorityRequest,
        mode: int = 0o600,
        *,
        complain: Callable[[str], None] = log.warning,
        heartbeat: float = KEEPALIVE_INTERVAL,
    ) -> None:
        self._path, self._board, self._mode, self._complain = path, board, mode, complain
        self._api = LocalApi(board, ask)
        self._heartbeat = heartbeat
        self._closing = threading.Event()
        self._client_slots = threading.BoundedSemaphore(MAX_CLIENTS)
        self._stream_slots = threading.BoundedSemaphore(MAX_STREAMS)
        self._condition = threading.Condition()
        self._connections: set[socket.socket] = set()
        self._folder: Directory | None = None
        self._server: socket.socket | None = None

    def start(self) -> None:
        """Open it. The directory must be locked by us: whatever socket is there is of a loader that was killed."""
        try:
            with Directory.open(self._path) as root:
                self._folder = root.make_subdirectory(".loader")
            self._server = bind_socket(self._folder, self._mode)
        except OSError as error:
            self._complain(f"Programs aboard cannot ask this loader, there is no socket: {error.strerror or error}")
            return
        threading.Thread(target=self._accept_loop, args=(self._server,), name="door", daemon=True).start()

    def close(self) -> None:
        """Shut it; readers get the last change first, if they take it within a second."""
        self._closing.set()
        if self._folder is not None:
            if self._server is not None:
                with contextlib.suppress(OSError):
                    unlink_socket(self._folder)
                _shut_down(self._server)
            self._folder.close()
        self._board.close()  # wakes who waits for a change
        with self._condition:
            self._condition.wait_for(lambda: not self._connections, 1.0)
            for connection in self._connections:
                _shut_down(connection)

    # Programs come and go.

    def _accept_loop(self, server: socket.socket) -> None:
        with server:
            while not self._closing.is_set():
                try:
                    connection, _ = server.accept()
                except OSError:
                    self._closing.wait(0.2)  # too many open files, say: programs may try again
                    continue
                self._accept(connection)

    def _accept(self, connection: socket.socket) -> None:
        if not self._client_slots.acquire(blocking=False):
            _reject(connection)
            return
        with self._condition:
            self._connections.add(connection)
        try:
            threading.Thread(target=self._serve, args=(connection,), name="program", daemon=True).start()
        except RuntimeError:  # no thread to be had
            self._close_connection(connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            self._handle(connection)
        except OSError:
            pass  # it went away, or is too slow
        except Exception:
            # The edge of a thread: a program must not be able to harm more than its own conversation.
            log.exception("While answering a program aboard")
        finally:
            self._close_connection(connection)

    def _close_connection(self, connection: socket.socket) -> None:
        with self._condition:
            self._connections.discard(connection)
            connection.close()
            self._condition.notify_all()
        self._client_slots.release()

    # What is said.

    def _handle(self, connection: socket.socket) -> None:
        deadline = time.monotonic() + REQUEST_TIMEOUT
        try:
            inquiry = read_request(connection, deadline)
            resource = self._api.route(inquiry)
            if resource == "/events":
                self._stream(connection)
                return
            body = read_body(connection, inquiry, deadline) if inquiry.method == "POST" else b""
            said = self._api.respond(resource, inquiry, body)
        except HttpError as refusal:
            said = refusal.to_response()
        connection.settimeout(REQUEST_TIMEOUT)
        connection.sendall(said)
        finish_connection(connection, time.monotonic() + _CHECK_INTERVAL)

    def _stream(self, connection: socket.socket) -> None:
        """Until the reader goes, is too slow, or the loader ends. What came meanwhile is one change."""
        if not self._stream_slots.acquire(blocking=False):
            raise _BUSY
        try:
            connection.settimeout(REQUEST_TIMEOUT)
            connection.sendall(_STREAM_HEAD)
            seen, spoken = 0, time.monotonic()
            while not self._closing.is_set() and not _client_closed(connection):
                if self._board.wait(seen, min(_CHECK_INTERVAL, self._heartbeat)) != seen:
                    seen, event = self._api.event(seen)
                elif time.monotonic() - spoken >= self._heartbeat:
                    event = b":\n\n"
                else:
                    continue
                connection.sendall(event)
                spoken = time.monotonic()
            last = self._api.event(seen)[1] if self._board.revision != seen else b""
            connection.sendall(last + b"event: end\ndata: {}\n\n")
        finally:
            self._stream_slots.release()


def _client_closed(connection: socket.socket) -> bool:
    """The other side has closed. One that only has nothing more to say is still there."""
    poll = select.poll()
    poll.register(connection, 0)
    return bool(poll.poll(0))


def _shut_down(connection: socket.socket) -> None:
    """Wake whoever waits in it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _reject(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        connection.setblocking(False)
        connection.send(_BUSY.to_response())
