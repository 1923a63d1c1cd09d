"""Puts many small objects into a bucket, from processes of its own: one alone writes half as fast."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Final, Self

from benchmarks.fleets import Written
from loader.bucket import S3Bucket

PROCESSES: Final = 2
THREADS: Final = 8
PACED_THREADS: Final = 24  # so that one answer that takes long holds up no other
CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class Address:
    """Where and as whom to write."""

    bucket: str
    endpoint: str
    access_key: str
    secret_key: str

    def open(self) -> S3Bucket:
        """The bucket."""
        return S3Bucket(
            self.bucket,
            endpoint=self.endpoint,
            access_key=self.access_key,
            secret_key=self.secret_key,
            connections=PACED_THREADS,
        )


class Writers:
    """Use as a context manager. Raises WorldError if the store refuses."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def __enter__(self) -> Self:
        self._pool = ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn"), _ready)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def put(self, objects: Iterable[Written]) -> float:
        """Write all of them, as fast as possible; how many seconds it took."""
        began = time.monotonic()
        waiting = [self._pool.submit(_put, self._address, chunk) for chunk in _chunks(objects)]
        for each in waiting:
            each.result()
        return time.monotonic() - began

    def paced(self, objects: Sequence[Written], rate: float) -> Future[list[float]]:
        """Write `rate` of them a second, in order. When each was acknowledged, in seconds since 1970."""
        return self._pool.submit(_paced, self._address, objects, rate)


def _ready() -> None:
    """An interrupt from the terminal reaches every process; whoever started this one ends it in good order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _put(address: Address, objects: Sequence[Written]) -> None:
    bucket = address.open()
    with ThreadPoolExecutor(THREADS) as threads:
        for _ in threads.map(lambda each: bucket.put(each[0], b"%d" % each[1]), objects):
            pass


def _paced(address: Address, objects: Sequence[Written], rate: float) -> list[float]:
    bucket, acknowledged = address.open(), [0.0] * len(objects)
    turns, lock, began = iter(range(len(objects))), threading.Lock(), time.monotonic()

    def write() -> None:
        while True:
            with lock:
                turn = next(turns, None)
            if turn is None:
                return
            time.sleep(max(began + turn / rate - time.monotonic(), 0))
            key, value = objects[turn]
            bucket.put(key, b"%d" % value)
            acknowledged[turn] = time.time()

    with ThreadPoolExecutor(PACED_THREADS) as threads:
        for done in [threads.submit(write) for _ in range(PACED_THREADS)]:
            done.result()
    return acknowledged


def _chunks(objects: Iterable[Written]) -> Iterator[list[Written]]:
    rest = iter(objects)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
