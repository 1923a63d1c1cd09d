"""A proxy on the loopback interface that tunnels CONNECT requests to one target, or refuses them."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any, Self


class ConnectProxy(socketserver.ThreadingTCPServer):
    """Tunnels every CONNECT to `target`, whatever host it names.

    `authorization`: the value of Proxy-Authorization that it requires; without one it answers 407. `refusal`: a status
    with which it refuses everything. `asked`: target and headers of each CONNECT.
    """

    daemon_threads = True
    request_queue_size = 128  # connections; of more at once the kernel refuses some
    allow_reuse_address = True

    def __init__(self, target: tuple[str, int], authorization: str = "", refusal: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self.authorization, self.refusal = target, authorization, refusal
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        self.tunnels = 0

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """Ignore clients that close the connection."""

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: ConnectProxy

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_CONNECT(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.path, headers))
        given = headers.get("proxy-authorization", "")
        if self.server.refusal or given != self.server.authorization:
            # Some proxies repeat what they received.
            self.send_response(self.server.refusal or 407, f"refused {given}")
            self.end_headers()
            return
        with socket.create_connection(self.server.target) as store:
            self.server.tunnels += 1
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_copy, args=(store, self.connection), daemon=True)
            back.start()
            _copy(self.connection, store)
            back.join()
        self.close_connection = True


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while block := source.recv(65_536):
            target.sendall(block)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return
