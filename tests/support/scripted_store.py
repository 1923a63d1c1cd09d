"""A store on the loopback interface that sends scripted responses, valid or not, and records the requests."""

from __future__ import annotations

import socketserver
import ssl
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Self


@dataclass(frozen=True)
class Reply:
    """One response. `lie`: a wrong Content-Length; `pause`: seconds before each byte of the body."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    lie: int | None = None
    chunked: bool = False
    cut: bool = False
    pause: float = 0.0


@dataclass(frozen=True)
class ReceivedRequest:
    """One request; `client` is its source port."""

    method: str
    path: str
    headers: dict[str, str]
    client: int = 0


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128  # connections; of more at once the kernel refuses some

    def handle_error(self, *_: Any) -> None:
        """Ignore clients that close the connection, which is part of the tests."""


class ScriptedStore:
    """Sends the queued responses in turn, then repeats the last one."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[ReceivedRequest] = []
        self._replies: deque[Reply] = deque()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"

    def answers(self, *replies: Reply) -> None:
        self._replies = deque(replies)

    def _next(self) -> Reply:
        return self._replies.popleft() if len(self._replies) > 1 else self._replies[0]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # Nagle's algorithm would delay a body by 40 ms

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.asked.append(ReceivedRequest(self.command, self.path, headers, self.client_address[1]))
                send(self, outer._next())

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def send(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
    handler.send_response_only(reply.status)  # send_response would add a Date header
    for name, value in reply.headers.items():
        handler.send_header(name, value)
    if reply.chunked:
        handler.send_header("Transfer-Encoding", "chunked")
    elif reply.status not in (204, 304):
        handler.send_header("Content-Length", str(len(reply.body) if reply.lie is None else reply.lie))
    handler.end_headers()
    try:
        if reply.chunked:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(reply.body), reply.body) + (b"" if reply.cut else b"0\r\n\r\n"))
        elif reply.pause:
            for byte in reply.body:
                handler.wfile.write(bytes([byte]))
                time.sleep(reply.pause)
        else:
            handler.wfile.write(reply.body)
        handler.wfile.flush()
    except OSError:
        handler.close_connection = True
    if reply.cut or reply.lie is not None:
        handler.close_connection = True
