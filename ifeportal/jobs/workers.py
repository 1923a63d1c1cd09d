"""Entry point of the workers: each wake-up message calls `run_due_work`. Workers that are to stop end early."""

from __future__ import annotations

from multiprocessing import RawValue
from typing import Final

from ifeportal.jobs.runner import run_due_jobs
from ifeportal.jobs.sources import registered_sources

# Shared by the command `qcluster` with the workers that it forks. Without a lock: a signal handler writes it, and a
# worker that is killed while it reads must not leave a lock behind.
_stop: Final = RawValue("b", 0)


def run_due_work() -> None:
    """Do due jobs, then the due work of every other source. Raises nothing.

    Jobs come first, because pages show their results. Other work follows even if more jobs are due, so that it is not
    starved.
    """
    run_due_jobs()
    for source in registered_sources():
        if is_stopping():
            return
        source.run()


def request_stop() -> None:
    """Make the workers of this process end their work at the next safe boundary."""
    _stop.value = 1


def is_stopping() -> bool:
    """Return whether work should end at its next safe boundary, because the worker is to stop."""
    return bool(_stop.value)
