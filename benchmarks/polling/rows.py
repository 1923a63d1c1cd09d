"""Read the rows of an airline's objects without Django: all of them once, or some of them repeatedly."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final, Protocol

import psycopg

from benchmarks.polling.fleet import AIRLINE
from loader.contract.keys import progress_key

INTERVAL: Final = 0.05  # seconds between two reads
ALL: Final = """
    SELECT transfer.id, tail.name, campaign.name, transfer.content, transfer.bytes_reported
    FROM fleet_transfer transfer
    JOIN fleet_load load ON load.id = transfer.load_id
    JOIN fleet_tail tail ON tail.id = load.tail_id
    JOIN campaigns_campaign campaign ON campaign.id = load.campaign_id
    ORDER BY transfer.id
"""
SOME: Final = "SELECT id, bytes_reported FROM fleet_transfer WHERE id IN ({})"
Observation = tuple[float, int]  # time in seconds since 1970, bytes


class Database(Protocol):
    """The common interface of both drivers."""

    def execute(self, query: str) -> Any:
        """Return an iterable of rows."""


@contextmanager
def connect(url: str) -> Iterator[Database]:
    """Open the database of a Django URL. Each query sees what is committed."""
    if url.startswith("sqlite:///"):
        path = url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)) as file:
            yield file
    else:
        with psycopg.connect(url, autocommit=True) as server:
            yield server


def reported_bytes(url: str) -> dict[str, int]:
    """Return the reported bytes of all rows, by status key."""
    with connect(url) as database:
        return {key: value for _, key, value in _rows(database) if value is not None}


@contextmanager
def watch_rows(url: str, step: int) -> Iterator[dict[str, list[Observation]]]:
    """Read every `step`th row each 50 ms in a thread; yield the changes of each, by status key.

    The time of an observation is taken after the query returned, so no change is recorded too early.
    """
    observations: dict[str, list[Observation]] = {}
    stop = threading.Event()
    with connect(url) as database:
        keys = {pk: key for number, (pk, key, _) in enumerate(_rows(database)) if number % step == 0}
        query = SOME.format(", ".join(map(str, keys)))

        def poll() -> None:
            while not stop.wait(INTERVAL):
                rows = list(database.execute(query))
                at = time.time()
                for pk, value in rows:
                    values = observations.setdefault(keys[pk], [])
                    if not values or values[-1][1] != value:
                        values.append((at, value))

        thread = threading.Thread(target=poll)
        thread.start()
        try:
            yield observations
        finally:
            stop.set()
            thread.join()


def _rows(database: Database) -> Iterator[tuple[int, str, int | None]]:
    for pk, tail, campaign, content, value in database.execute(ALL):
        yield pk, progress_key(AIRLINE, tail, campaign, content), value
