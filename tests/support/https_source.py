"""An https server on the loopback interface that answers as a test says, for requests to URLs that users name."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.certificates import write_certificate

Respond = Callable[["Exchange"], None]


class Exchange(BaseHTTPRequestHandler):
    """One request; `respond` answers it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        source: Any = self.server
        source.requests.append(dict(self.headers))
        self.close_connection = True
        try:
            source.respond(self)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            source.disconnected.set()

    def answer(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if not headers or "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class HttpsSource(ThreadingHTTPServer):
    """`respond` may be replaced. `requests`: headers of each. `disconnected`: a client went away during an answer."""

    daemon_threads = True

    def __init__(self, certificate: Path) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.respond: Respond = lambda exchange: exchange.answer(404)
        self.requests: list[dict[str, str]] = []
        self.disconnected = threading.Event()

    def handle_error(self, *_: object) -> None:
        """Say nothing about clients that refuse the certificate or go away."""

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server_address[1]}"


@contextmanager
def https_source(folder: Path) -> Iterator[HttpsSource]:
    """Yield a running server whose certificate is `folder`/source.pem."""
    with HttpsSource(write_certificate(folder / "source.pem")) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def serve_file(body: bytes, etag: str = '"1"', *, after_first: Callable[[], None] | None = None) -> Respond:
    """Return what answers with a file, also with ranges as RFC 9110 says."""

    def respond(exchange: Exchange) -> None:
        headers, start = {"ETag": etag}, 0
        asked = exchange.headers.get("Range")
        if asked and exchange.headers.get("If-Range", etag) == etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        exchange.answer(206 if start else 200, headers, body[start:])

    return respond
