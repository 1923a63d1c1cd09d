"""Put many small objects into a bucket from separate processes, with little CPU.

Store, portal and writers share this machine. `loader.s3.client` needs three times as much CPU for item object, which
the measured processes would lack.
"""

from __future__ import annotations

import multiprocessing
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit

from benchmarks.polling.fleet import ObjectValue
from benchmarks.shared.processes import MeasurementError
from loader.s3.auth.credentials import S3Credentials
from loader.s3.auth.sigv4 import sign_request
from loader.s3.http.urls import quote_key

PROCESSES: Final = 2
THREADS: Final = 8
PACED_THREADS: Final = 24  # so that one slow response delays no other
CHUNK: Final = 500
REGION: Final = "us-east-1"
PATIENCE: Final = 60.0  # seconds
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WriterTarget:
    """The bucket to write to, and the credentials."""

    bucket: str
    endpoint: str
    access_key: str
    secret_key: str


class WriterConnection:
    """A persistent connection, for one thread. Use as a context manager."""

    def __init__(self, address: WriterTarget) -> None:
        self._path, self._keys = f"/{address.bucket}/", S3Credentials(address.access_key, address.secret_key)
        self._host = urlsplit(address.endpoint).netloc

    def __enter__(self) -> Self:
        name, _, port = self._host.partition(":")
        self._socket = socket.create_connection((name, int(port)), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._socket.makefile("rb")
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.close()
        self._socket.close()

    def put(self, key: str, value: int) -> None:
        """Write an object. Raises MeasurementError if the store rejects it, OSError."""
        body, target = b"%d" % value, self._path + quote_key(key)
        host = {"Host": self._host}
        signed = sign_request("PUT", target, host, body, credentials=self._keys, region=REGION, now=datetime.now(UTC))
        lines = [f"PUT {target} HTTP/1.1", *(f"{name}: {value}" for name, value in signed.items())]
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
        self._socket.sendall(head.encode() + body)
        status, length = self._answers.readline(), 0
        while (line := self._answers.readline().lower()) not in (b"\r\n", b""):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        response = self._answers.read(length)
        if b" 200 " not in status:
            raise MeasurementError(
                f"PUT {key}: {status.decode(errors='replace')} {response[:500].decode(errors='replace')}"
            )


class Writers:
    """Processes that write objects. Use as a context manager. Raises MeasurementError if the store rejects one,
    OSError.
    """

    def __init__(self, address: WriterTarget) -> None:
        self._address = address

    def __enter__(self) -> Self:
        self._pool = ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn"), _ignore_interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def put(self, objects: Iterable[ObjectValue]) -> float:
        """Write all objects as fast as possible; return the seconds."""
        began = time.monotonic()
        futures = [self._pool.submit(_put, self._address, chunk) for chunk in _chunks(objects)]
        for future in futures:
            future.result()
        return time.monotonic() - began

    def put_paced(self, objects: Sequence[ObjectValue], rate: float) -> Future[list[float]]:
        """Write `rate` objects per second, in order; return the times of the responses in seconds since 1970."""
        return self._pool.submit(_put_paced, self._address, objects, rate)


def _ignore_interrupt() -> None:
    """Ignore an interrupt from the terminal, which reaches every process: the parent ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _put(address: WriterTarget, objects: Sequence[ObjectValue]) -> None:
    rest, lock = iter(objects), threading.Lock()

    def write() -> None:
        with WriterConnection(address) as line:
            while item := _next(rest, lock):
                line.put(*item)

    _in_threads(write, THREADS)


def _put_paced(address: WriterTarget, objects: Sequence[ObjectValue], rate: float) -> list[float]:
    rest, lock, acknowledged = iter(enumerate(objects)), threading.Lock(), [0.0] * len(objects)
    began = time.monotonic()

    def write() -> None:
        with WriterConnection(address) as line:
            while item := _next(rest, lock):
                turn, (key, value) = item
                time.sleep(max(began + turn / rate - time.monotonic(), 0))
                line.put(key, value)
                acknowledged[turn] = time.time()

    _in_threads(write, PACED_THREADS)
    return acknowledged


def _next(rest: Iterator[T], lock: threading.Lock) -> T | None:
    with lock:
        return next(rest, None)


def _in_threads(work: Callable[[], None], count: int) -> None:
    with ThreadPoolExecutor(count) as threads:
        for done in [threads.submit(work) for _ in range(count)]:
            done.result()


def _chunks(objects: Iterable[ObjectValue]) -> Iterator[list[ObjectValue]]:
    rest = iter(objects)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
