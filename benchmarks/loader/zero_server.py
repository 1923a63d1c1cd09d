"""A server for an object too large to store twice on one disk: its zeros are generated as they are sent.

Runs as a separate process on the loopback interface. Requests for the one key are answered here, in full or by range.
All other requests are forwarded to the real store, each over a new connection. Started by `ZeroObjectServer`; ends when
its standard input does.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from io import BufferedReader
from typing import Final, Self

from benchmarks.shared.processes import ROOT

LOOPBACK: Final = "127.0.0.1"
ETAG: Final = '"00000000000000000000000000000020"'
_BLOCK: Final = bytes(1 << 20)
_RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)")


class ZeroObjectServer:
    """The running server. Use as a context manager, then give `endpoint` to a loader."""

    def __init__(self, path: str, size: int, store: str) -> None:
        self._arguments = [path, str(size), store.rpartition(":")[2]]
        self.endpoint = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.loader.zero_server", *self._arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout
        self.endpoint = f"http://{LOOPBACK}:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def build_response_head(head: str, size: int) -> tuple[bytes, int]:
    """Return the head of the response to a GET, and the number of body bytes that follow."""
    requested = re.search(r"^range: *(\S+)\s*$", head, re.MULTILINE | re.IGNORECASE)
    match = _RANGE.fullmatch(requested[1]) if requested else None
    start = int(match[1]) if match else 0
    end = min(int(match[2]), size - 1) if match and match[2] else size - 1
    lines = ["HTTP/1.1 206 Partial Content" if match else "HTTP/1.1 200 OK", f"Content-Length: {end - start + 1}"]
    if match:
        lines.append(f"Content-Range: bytes {start}-{end}/{size}")
    lines += [f"ETag: {ETAG}", "Last-Modified: Sat, 21 Nov 2026 00:00:00 GMT", "Accept-Ranges: bytes", "", ""]
    return "\r\n".join(lines).encode(), end - start + 1


def _serve(client: socket.socket, path: str, size: int, store: int) -> None:
    with client, suppress(OSError), client.makefile("rb") as requests:
        while head := _head(requests):
            line = head.split("\r\n", 1)[0]
            if line.startswith("GET ") and line.split(" ")[1].partition("?")[0] == path:
                _send(client, *build_response_head(head, size))
            else:
                if "expect: 100-continue" in head.lower():
                    client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                _forward(client, head, requests.read(_length(head)), store)


def _head(requests: BufferedReader) -> str:
    lines = []
    while line := requests.readline():
        lines.append(line.decode("latin-1"))
        if line == b"\r\n":
            return "".join(lines)
    return ""


def _length(head: str) -> int:
    match = re.search(r"^content-length: *(\d+)", head, re.MULTILINE | re.IGNORECASE)
    return int(match[1]) if match else 0


def _send(client: socket.socket, head: bytes, length: int) -> None:
    client.sendall(head)
    view = memoryview(_BLOCK)
    while length:
        length -= client.send(view[: min(length, len(view))])


def _forward(client: socket.socket, head: str, body: bytes, store: int) -> None:
    """Forward one request to the store. The store closes its connection, so the client's is closed too."""
    requested = re.sub(r"(?mi)^(connection|expect):[^\n]*\n", "", head)
    with socket.create_connection((LOOPBACK, store)) as server:
        server.sendall(requested[:-2].encode("latin-1") + b"Connection: close\r\n\r\n" + body)
        while block := server.recv(65_536):
            client.sendall(block)
    client.shutdown(socket.SHUT_WR)


def main() -> None:
    """Serve until standard input ends. Arguments: the path, its size in bytes, the port of the store."""
    path, size, store = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

    def accept(server: socket.socket) -> None:
        while True:
            client, _ = server.accept()
            threading.Thread(target=_serve, args=(client, path, size, store), daemon=True).start()

    server = socket.create_server((LOOPBACK, 0), backlog=64)
    threading.Thread(target=accept, args=(server,), daemon=True).start()
    print(server.getsockname()[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
