"""The link of a simulated aircraft: how many bytes a second it carries, how long it takes, and whether it is silent.

Used by `fleet.simulation.proxy`. Pure apart from the event loop's clock.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final
from weakref import WeakKeyDictionary

BLOCK_SIZE: Final = 65_536  # bytes


class Link:
    """`bandwidth` is shared by all connections, `per_connection` is the limit of each: bytes a second, None: no limit.

    `latency`: seconds that a request and its response take together. All three may be set at any time. Nothing passes
    while `is_silent`.
    """

    def __init__(self, bandwidth: float | None, latency: float) -> None:
        self.bandwidth = bandwidth
        self.latency = latency
        self.per_connection: float | None = None
        self.is_silent = False
        self._free_at = 0.0
        self._own_free_at: WeakKeyDictionary[asyncio.StreamWriter, float] = WeakKeyDictionary()

    def block_size(self) -> int:
        """Return how many bytes to send at a time, so that a narrow link moves ten times a second."""
        narrowest = min(self.bandwidth or math.inf, self.per_connection or math.inf)
        return max(int(min(narrowest / 10, BLOCK_SIZE)), 1)

    async def carry(self, count: int) -> None:
        """Wait until the link, which all connections share, has carried this many bytes."""
        if self.bandwidth is None or not count:
            return
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now) + count / self.bandwidth
        await asyncio.sleep(self._free_at - now)

    async def carry_alone(self, connection: asyncio.StreamWriter, count: int) -> None:
        """Wait until this connection has carried this many bytes."""
        if self.per_connection is not None:
            now = asyncio.get_running_loop().time()
            free_at = max(self._own_free_at.get(connection, now), now) + count / self.per_connection
            self._own_free_at[connection] = free_at
            await asyncio.sleep(free_at - now)

    async def delay(self) -> None:
        """Wait for half the latency, and for as long as the link is silent."""
        if self.latency:
            await asyncio.sleep(self.latency / 2)
        await self.wait_while_silent()

    async def wait_while_silent(self) -> None:
        while self.is_silent:
            await asyncio.sleep(0.05)
