"""Poll one airline for each line of input and print the cost. Started by `cycle.PollingProcess`.

The line is empty, or names a file for a profile. Does the same as `poll_buckets` each time, under the lease of the job,
in a process that continues to run, like a worker.
"""

from __future__ import annotations

import cProfile
import json
import pstats
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db import close_old_connections, connection

from benchmarks.polling.cycle import Cycle
from fleet.management.commands.poll_buckets import Polling
from ifeportal.models import Job
from ifeportal.storage.buckets import media_bucket, status_bucket
from loader.s3.client import S3Bucket

WRITES: Final = re.compile(
    r"\s*(INSERT|UPDATE|DELETE|MERGE|COPY)\b|\s*WITH\b.*\b(INSERT|UPDATE|DELETE|MERGE)\b", re.I | re.S
)
PROFILE_LENGTH: Final = 40  # functions in a profile
PEAK: Final = re.compile(r"VmHWM:\s*(\d+) kB")


class StatementCounter:
    """Counts the statements sent to the database."""

    def __init__(self) -> None:
        self.all = self.writes = self.lease_writes = 0

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        """Count a statement. Django's `execute_wrapper` calls this."""
        self.all += 1
        if WRITES.match(sql):
            if Job._meta.db_table in sql:
                self.lease_writes += 1
            else:
                self.writes += 1
        return execute(sql, params, many, context)


def run_cycle(polling: Polling, media: S3Bucket, status: S3Bucket) -> Cycle:
    """Poll once, with a new database connection, as each job of a worker has."""
    before, started, cpu_before = _requests(media, status), time.perf_counter(), time.process_time()
    statements = StatementCounter()
    with connection.execute_wrapper(statements):
        result = polling.all(include_leased=False)
    close_old_connections()
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu_before
    if result is None or result.failures or not result.listings:
        raise SystemExit(f"the poll failed: {result}")
    requests = {name: count - before[name] for name, count in _requests(media, status).items()}
    return Cycle(
        wall=wall,
        cpu=cpu,
        rss=peak_rss(),
        **requests,
        statements=statements.all,
        writes=statements.writes,
        lease_writes=statements.lease_writes,
        listed=result.objects_seen,
        changed=result.objects_changed,
        transfers=result.transfers_changed,
    )


def peak_rss() -> int:
    """Return the peak memory of this process in bytes, without that of the program it was before `exec`."""
    match = PEAK.search(Path("/proc/self/status").read_text())
    assert match
    return int(match[1]) * 1024


def _requests(media: S3Bucket, status: S3Bucket) -> dict[str, int]:
    return {
        "status_lists": status.requests.list,
        "status_gets": status.requests.get,
        "media_lists": media.requests.list,
        "media_gets": media.requests.get,
    }


@contextmanager
def _profiled(path: str) -> Iterator[None]:
    """Write a profile to the file, if one is named. Threads that list and fetch are not profiled."""
    if not path:
        yield
        return
    profile = cProfile.Profile()
    with profile:
        yield
    with Path(path).open("w") as file:
        pstats.Stats(profile, stream=file).sort_stats("tottime").print_stats(PROFILE_LENGTH)


def main() -> None:
    """Poll until standard input ends."""
    media, status = media_bucket(), status_bucket()
    polling = Polling(media, status, sys.argv[1], settings.POLL_INTERVAL)
    for line in sys.stdin:
        with _profiled(line.strip()):
            result = run_cycle(polling, media, status)
        print(json.dumps(asdict(result)), flush=True)


if __name__ == "__main__":
    main()
