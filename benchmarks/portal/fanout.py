"""A thousand open pages on one daphne that receive the changes of their airlines, and a minimal server to compare.

`python -m benchmarks.portal` runs both. The minimal server is the library `websockets`, which sends the same texts to
the same sockets without users, permissions or a database. `python -m benchmarks.portal.fanout` starts it; it reads the
airline and the message to send from its input. All clocks are those of this machine.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, broadcast, serve

SOCKETS: Final = 1_000
AIRLINES: Final = 20
AT_ONCE: Final = 50  # opened at once
CHANGES: Final = 50  # per second
SECONDS: Final = 20
QUIET_SECONDS: Final = 10.0  # without a message, then no more are expected
MIB: Final = 1 << 20
Send = Callable[[int, float], Awaitable[None]]


@dataclass
class FanoutResult:
    """Seconds from commit to receipt of each message, number of messages, number of dropped sockets."""

    delays: list[float] = field(default_factory=list)
    changes: int = 0
    dropped: int = 0
    rss: int = 0  # peak memory of the server in bytes


def state(number: int, at: float) -> dict[str, object]:
    """Return the state of a change, about as long as that of a load."""
    return {
        "id": number,
        "tail": f"N{number:05d}",
        "status": "loading",
        "state": "loading",
        "bytes_done": 1_048_576 * number,
        "bytes_total": 734_003_200,
        "percent": number % 100,
        "error": "x" * 400,
        "at": at,
    }


async def measure_fanout(address: str, cookie: str, watches: Sequence[object], pid: int, send: Send) -> FanoutResult:
    """Open a socket for each of `watches`, send changes for `SECONDS`, and measure what arrives."""
    result = FanoutResult()
    async with asyncio.TaskGroup() as group, open_sockets(address, cookie, watches) as sockets:
        listeners = [group.create_task(_receive(socket, result)) for socket in sockets]
        started = time.monotonic()
        for number in range(CHANGES * SECONDS):
            await asyncio.sleep(max(started + number / CHANGES - time.monotonic(), 0))
            await send(number, time.time())
            result.rss = max(result.rss, resident_bytes(pid))
        count, since = result.changes, time.monotonic()
        while count < len(watches) * CHANGES * SECONDS // AIRLINES and time.monotonic() < since + QUIET_SECONDS:
            await asyncio.sleep(0.1)
            if result.changes > count:
                count, since = result.changes, time.monotonic()
        for listener in listeners:
            listener.cancel()
    return result


@asynccontextmanager
async def open_sockets(address: str, cookie: str, watches: Sequence[object]) -> AsyncIterator[list[ClientConnection]]:
    """Open a socket for each of `watches`; yield when the server has accepted all of them."""
    sockets: list[ClientConnection] = []
    try:
        for start in range(0, len(watches), AT_ONCE):
            batch = watches[start : start + AT_ONCE]
            sockets += await asyncio.gather(*(_open(address, cookie, watch) for watch in batch))
        yield sockets
    finally:
        await asyncio.gather(*(socket.close() for socket in sockets), return_exceptions=True)


async def _open(address: str, cookie: str, watch: object) -> ClientConnection:
    origin = address.replace("ws://", "http://").partition("/ws/")[0]
    socket = await connect(
        address,
        additional_headers={"Cookie": cookie, "Origin": origin},
        compression=None,
        open_timeout=60,
        ping_interval=None,
    )
    await socket.send(json.dumps(watch))
    await socket.recv()  # the changes since the page was rendered: none
    return socket


async def _receive(socket: ClientConnection, result: FanoutResult) -> None:
    try:
        async for text in socket:
            now, message = time.time(), json.loads(text)
            for change in message.get("changes", ()):
                result.changes += 1
                result.delays.append(now - change["state"]["at"])
    finally:
        result.dropped += socket.close_code is not None and socket.close_code != 1000


def resident_bytes(pid: int) -> int:
    """Return the resident memory of the process in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


async def measure_bare_server(airlines: Sequence[str]) -> FanoutResult:
    """Measure the same with the minimal server."""
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.portal.fanout"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin
    assert child.stdout
    feed = child.stdin

    async def send(number: int, at: float) -> None:
        airline = airlines[number % len(airlines)]
        feed.write(json.dumps([airline, {"rev": number, "changes": [{"state": state(number, at)}]}]) + "\n")
        feed.flush()

    try:
        port = int(child.stdout.readline())
        watches = [{"watch": {"airline": airlines[number % len(airlines)]}} for number in range(SOCKETS)]
        return await measure_fanout(f"ws://127.0.0.1:{port}/ws/live/", "", watches, child.pid, send)
    finally:
        feed.close()
        child.wait()


async def main() -> None:
    """Run the minimal server until the input ends."""
    groups: dict[str, set[ServerConnection]] = {}

    async def join(socket: ServerConnection) -> None:
        request: dict[str, Any] = json.loads(await socket.recv())
        groups.setdefault(request["watch"]["airline"], set()).add(socket)
        await socket.send(json.dumps({"rev": 0, "changes": []}))
        await socket.wait_closed()

    async with serve(join, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            airline, message = json.loads(line)
            broadcast(groups.get(airline, ()), json.dumps(message))


if __name__ == "__main__":
    asyncio.run(main())
