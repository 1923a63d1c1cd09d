"""The job of operations. Calls one function under its lease."""

from __future__ import annotations

from typing import Final

from ifeportal.jobs.leases import Lease
from ifeportal.jobs.runner import JobFailed, run
from ifeportal.operations.purging import purge_ended
from ifeportal.storage.deletion_time import deletion_time
from loader.errors import WorldError

BETWEEN_PURGES: Final = 86_400.0  # seconds


def purge_operations() -> None:
    """Delete the rows of operations that ended long ago.

    Raises JobFailed if the clocks of the portal and the database contradict each other.
    """

    def work(lease: Lease) -> None:
        try:
            now = deletion_time(None)
        except WorldError as error:
            raise JobFailed(f"{error.code}: {error}") from error
        purge_ended(now, lease)

    run("purge_operations", BETWEEN_PURGES, work)
