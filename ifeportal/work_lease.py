"""Protocol of a lease, so that functions can take one without importing the jobs package.

Touches nothing. Workers pass an `ifeportal.jobs.leases.Lease`; commands and tests without a lease pass `NO_LEASE`.
"""

from __future__ import annotations

from typing import Final, Protocol


class LeaseLost(Exception):
    """Another worker took over the lease. Stop, and commit nothing more."""


class WorkLease(Protocol):
    """The right to run a job. An exception of its methods must end the job and roll back the open transaction."""

    def heartbeat(self) -> None:
        """Extend the lease. Call it often, outside transactions. Raises LeaseLost."""

    def check_fence(self) -> None:
        """Make the commit of the open transaction depend on the lease. Call it in every transaction that writes.

        Raises LeaseLost.
        """


class _NoLease:
    """A lease that cannot be lost."""

    def heartbeat(self) -> None:
        pass

    def check_fence(self) -> None:
        pass


NO_LEASE: Final[WorkLease] = _NoLease()
