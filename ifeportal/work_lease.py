"""The lease as the work sees it, so that a function takes one argument and needs no import of the jobs.

Touches nothing. Workers pass an `ifeportal.jobs.leases.Lease`; commands and tests that run without one pass `NO_LEASE`.
"""

from __future__ import annotations

from typing import Final, Protocol


class LeaseLost(Exception):
    """Another worker has taken over the lease: stop, and commit nothing more."""


class WorkLease(Protocol):
    """The right to do a piece of work. What its methods raise must end the work and undo the open transaction."""

    def heartbeat(self) -> None:
        """Show that the work goes on. Call it often, outside transactions. Raises LeaseLost."""

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
