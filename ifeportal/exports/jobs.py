"""The job of exports. Calls one function under its lease."""

from __future__ import annotations

from typing import Final

from ifeportal.exports.writing import write_next
from ifeportal.jobs.leases import Lease
from ifeportal.jobs.runner import run

EXPORTS_JOB: Final = "write_exports"
INTERVAL: Final = 5.0  # seconds between two runs; a request makes the job due at once


def write_exports() -> None:
    """Write one requested file, if no other worker does: exports occupy one worker at most."""

    def work(lease: Lease) -> None:
        if write_next(lease):
            lease.next_run_in = 0.0

    run(EXPORTS_JOB, INTERVAL, work)
