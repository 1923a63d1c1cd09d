"""HTTP server for local programs, on the Unix socket of the first content directory.

    GET  /status   the status board as JSON, with an ETag
    GET  /events   the same as server-sent events: first `status`, then `change` with the items that changed
    POST /now      {"campaign": …, "content": …}: load this first

The mode of the socket decides who may connect. No client can stop a load or slow it for long: requests are limited in
size and time, clients in number. Touches the socket and the board, nothing else on disk and no network.
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
MAX_STREAMS: Final = 8  # of these, event streams
REQUEST_TIMEOUT: Final = 5.0  # seconds for a complete request, and for a client to receive the response
KEEPALIVE_INTERVAL: Final = 15.0  # seconds between two comments in a stream without events
_CHECK_INTERVAL: Final = 1.0  # seconds after which a stream checks whether its client is still connected
_BUSY: Final = HttpError(
    HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections are open.", "Try again in 2 seconds.", **{"Retry-After": "2"}
)
_STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nConnection: close\r\n\r\n"
    b"retry: 2000\n\n"
)


class LocalApiServer:
    """Serves the API from threads of its own.

    `prioritise(campaign, content)` moves an item, or the complete campaign for None, to the front. It returns a
    sentence if that is impossible. `warn` gets a sentence if the socket cannot be created.
    """

    def __init__(
        self,
        path: Path,
        board: StatusBoard,
        prioritise: PriorityRequest,
        mode: int = 0o600,
        *,
        warn: Callable[[str], None] = log.warning,
        heartbeat: float = KEEPALIVE_INTERVAL,
    ) -> None:
        self._path, self._board, self._mode, self._warn = path, board, mode, warn
        self._api = LocalApi(board, prioritise)
        self._heartbeat = heartbeat
        self._closing = threading.Event()
        self._client_slots = threading.BoundedSemaphore(MAX_CLIENTS)
        self._stream_slots = threading.BoundedSemaphore(MAX_STREAMS)
        self._condition = threading.Condition()
        self._connections: set[socket.socket] = set()
        self._folder: Directory | None = None
        self._server: socket.socket | None = None

    def start(self) -> None:
        """Create the socket and accept connections. The directory must be locked: then any old socket is unused."""
        try:
            with Directory.open(self._path) as root:
                self._folder = root.make_subdirectory(".loader")
            self._server = bind_socket(self._folder, self._mode)
        except OSError as error:
            reason = error.strerror or error
            self._warn(f"The local API is not available: its socket cannot be created ({reason}). Loading continues.")
            return
        threading.Thread(target=self._accept_loop, args=(self._server,), name="local api", daemon=True).start()

    def close(self) -> None:
        """Remove the socket. Streams send the last change, to clients that receive it within a second."""
        self._closing.set()
        if self._folder is not None:
            if self._server is not None:
                with contextlib.suppress(OSError):
                    unlink_socket(self._folder)
                _shut_down(self._server)
            self._folder.close()
        self._board.close()  # wakes the streams
        with self._condition:
            self._condition.wait_for(lambda: not self._connections, 1.0)
            for connection in self._connections:
                _shut_down(connection)

    def _accept_loop(self, server: socket.socket) -> None:
        with server:
            while not self._closing.is_set():
                try:
                    connection, _ = server.accept()
                except OSError:
                    self._closing.wait(0.2)  # too many open files, for example: clients may retry
                    continue
                self._accept(connection)

    def _accept(self, connection: socket.socket) -> None:
        if not self._client_slots.acquire(blocking=False):
            _reject(connection)
            return
        with self._condition:
            self._connections.add(connection)
        try:
            threading.Thread(target=self._serve, args=(connection,), name="local client", daemon=True).start()
        except RuntimeError:  # no thread can be started
            self._close_connection(connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            self._handle(connection)
        except OSError:
            pass  # the client disconnected or is too slow
        except Exception:
            # The edge of a thread: an unexpected error must end only the connection of this client.
            log.exception("Failed to respond to a local program")
        finally:
            self._close_connection(connection)

    def _close_connection(self, connection: socket.socket) -> None:
        with self._condition:
            self._connections.discard(connection)
            connection.close()
            self._condition.notify_all()
        self._client_slots.release()

    def _handle(self, connection: socket.socket) -> None:
        deadline = time.monotonic() + REQUEST_TIMEOUT
        try:
            request = read_request(connection, deadline)
            resource = self._api.route(request)
            if resource == "/events":
                self._stream(connection)
                return
            body = read_body(connection, request, deadline) if request.method == "POST" else b""
            response = self._api.respond(resource, request, body)
        except HttpError as error:
            response = error.to_response()
        connection.settimeout(REQUEST_TIMEOUT)
        connection.sendall(response)
        finish_connection(connection, time.monotonic() + _CHECK_INTERVAL)

    def _stream(self, connection: socket.socket) -> None:
        """Send events until the client disconnects or is too slow, or the loader ends. Merges pending changes."""
        if not self._stream_slots.acquire(blocking=False):
            raise _BUSY
        try:
            connection.settimeout(REQUEST_TIMEOUT)
            connection.sendall(_STREAM_HEAD)
            seen, sent_at = 0, time.monotonic()
            while not self._closing.is_set() and not _client_closed(connection):
                if self._board.wait(seen, min(_CHECK_INTERVAL, self._heartbeat)) != seen:
                    seen, event = self._api.event(seen)
                elif time.monotonic() - sent_at >= self._heartbeat:
                    event = b":\n\n"
                else:
                    continue
                connection.sendall(event)
                sent_at = time.monotonic()
            last = self._api.event(seen)[1] if self._board.revision != seen else b""
            connection.sendall(last + b"event: end\ndata: {}\n\n")
        finally:
            self._stream_slots.release()


def _client_closed(connection: socket.socket) -> bool:
    """Whether the client has closed the connection. One that has only shut down its sending side still reads."""
    poll = select.poll()
    poll.register(connection, 0)
    return bool(poll.poll(0))


def _shut_down(connection: socket.socket) -> None:
    """Wake the thread that waits for this socket."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _reject(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError):
        connection.setblocking(False)
        connection.send(_BUSY.to_response())
