"""Parameters that the parts of the reporter share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from loader.contract.heartbeat import Heartbeat
from loader.reporting.lease import TailLease
from loader.s3.interface import Bucket


@dataclass(frozen=True)
class ReportingContext:
    """Where and how often reports are sent. Callbacks run in the sender's thread.

    `interval`: seconds between two `.progress` writes of one item. `heartbeat` builds the current one.
    `on_unreachable` is called at the first failure of a series, `on_lease_lost` once, when another machine holds the
    tail; nothing is sent after that. Nothing is tried while `link_up` returns False.
    """

    bucket: Bucket
    airline: str
    tail: str
    lease: TailLease
    interval: float
    heartbeat: Callable[[], Heartbeat]
    heartbeat_interval: float = 60.0
    on_unreachable: Callable[[str], None] = lambda text: None
    on_lease_lost: Callable[[str], None] = lambda text: None
    link_up: Callable[[], bool] = lambda: True
    clock: Callable[[], float] = time.monotonic

    @property
    def prefix(self) -> str:
        """Prefix of every key of this tail."""
        return f"{self.airline}/{self.tail}/"
