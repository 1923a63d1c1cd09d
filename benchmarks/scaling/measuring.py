"""Poll airlines on request, in a process with Django, and print the cost to it and to PostgreSQL.

`python -m benchmarks.scaling` starts it. Reads one JSON object per line and answers with one. The object names airlines
to poll, or objects to read, or the number of writers and the seconds to publish to the feed.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from django.db import connection, connections, transaction
from django.utils import timezone

from fleet.polling.poller import poll_airline, poll_objects
from fleet.polling.result import PollResult
from ifeportal.live.feed import FeedChange, current_rev, publish
from ifeportal.models import Airline
from ifeportal.storage.buckets import media_bucket, status_bucket

TICK: Final = os.sysconf("SC_CLK_TCK")
STATE: Final = {"status": "loading", "bytes_done": 1_048_576, "bytes_total": 734_003_200, "percent": 0, "error": ""}


@dataclass(frozen=True, slots=True)
class Usage:
    """Resources used so far.

    Seconds, CPU seconds here and in PostgreSQL, bytes of its write-ahead log, rows written, statements, publications to
    the feed.
    """

    wall: float
    cpu: float
    database: float
    log: float
    rows: int
    statements: int
    publications: int

    def __sub__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, name) - getattr(other, name) for name in self.__slots__))


class StatementCounter:
    """Counts the statements of this thread's connection."""

    def __init__(self) -> None:
        self.statements = 0

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        """Count a statement. Django's `execute_wrapper` calls this."""
        self.statements += 1
        return execute(sql, params, many, context)

    def read(self) -> Usage:
        """Return the resources used so far."""
        statements, cpu, wall = self.statements, time.process_time(), time.monotonic()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_force_next_flush()")
            cursor.execute(
                "SELECT pg_backend_pid(), pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0'), "
                "(SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables)"
            )
            pid, log, rows = cursor.fetchone()
        return Usage(wall, cpu, _cpu_of_server(pid), float(log), int(rows), statements, current_rev())


def _cpu_of_server(backend: int) -> float:
    """Return the CPU seconds of the server of this backend process, with all its children."""
    parent = int(_stat(backend)[1])
    running = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    ticks = sum(int(value) for value in _stat(parent)[11:15])
    for pid in running:
        try:
            fields = _stat(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == parent:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICK


def _stat(pid: int) -> list[str]:
    """Return the fields of a process's `stat` file, from its state on (`man 5 proc`, field 3)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def poll_airlines(names: list[str], counting: StatementCounter) -> dict[str, object]:
    """Poll these airlines one after the other."""
    media, status = media_bucket(), status_bucket()
    rows = list(Airline.objects.filter(name__in=names).order_by("name"))
    before, result = counting.read(), PollResult()
    for row in rows:
        result += poll_airline(row, media, status, timezone.now())
    return {**asdict(counting.read() - before), **asdict(result), "airlines": len(rows)}


def poll_named_objects(events: dict[str, list[str]], counting: StatementCounter) -> dict[str, object]:
    """Read these objects of each airline, as after events."""
    status = status_bucket()
    rows = list(Airline.objects.filter(name__in=events).order_by("name"))
    before, result = counting.read(), PollResult()
    for row in rows:
        result += poll_objects(row, events[row.name], status, timezone.now())
    return {**asdict(counting.read() - before), **asdict(result), "airlines": len(rows)}


def measure_publications(writers: int, seconds: float, changes: int) -> dict[str, object]:
    """Return the publications per second of `writers` threads, with `changes` changes per transaction."""
    airline = Airline.objects.earliest("pk").pk
    counts, stop = [0] * writers, threading.Event()

    def work(number: int) -> None:
        own_changes = [
            FeedChange("transfer", 10**12 + number * 1_000 + n, airline, state=STATE) for n in range(changes)
        ]
        while not stop.is_set():
            with transaction.atomic():
                publish(own_changes)
            counts[number] += 1
        connections.close_all()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(writers)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return {"publications": sum(counts) / (time.monotonic() - started)}


def measure_table_sizes() -> dict[str, object]:
    """Return the rows and the bytes of each table, with its indexes."""
    tables = ("fleet_tail", "fleet_load", "fleet_transfer", "fleet_progresssample", "live_change")
    with connection.cursor() as cursor:
        found = {}
        for table in tables:
            cursor.execute(f"SELECT pg_total_relation_size('{table}'), count(*) FROM {table}")
            size, rows = cursor.fetchone()
            found[table] = {"bytes": size, "rows": rows}
    return {"sizes": found}


def main() -> None:
    """Handle each line of the input."""
    counting = StatementCounter()
    with connection.execute_wrapper(counting):
        for line in sys.stdin:
            request = json.loads(line)
            if "poll" in request:
                answer = poll_airlines(request["poll"], counting)
            elif "take" in request:
                answer = poll_named_objects(request["take"], counting)
            elif "publish" in request:
                answer = measure_publications(request["publish"], request["seconds"], request["changes"])
            else:
                answer = measure_table_sizes()
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
