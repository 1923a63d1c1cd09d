"""What lies between the two ends of `benchmarks.lossy`: delays, drops and slows packets, in a process of its own.

Started by it, told all by its arguments. Makes two network namespaces joined by nothing but itself, says on standard
output how to get there, and ends, with all it made, when its standard input does: also when who started it was killed.
A line on standard input is answered by one with the counts.
"""

from __future__ import annotations

import json
import os
import random
import select
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Final

from benchmarks.network.namespaces import create_namespace, enter_namespace, open_tun, set_network_option

# Of the range kept for benchmarks of networks (RFC 2544): nobody's addresses.
NEAR: Final = "198.18.0.2"
FAR: Final = "198.18.0.1"
_PACKET: Final = 65_536
_BLOCK: Final = 262_144
_URGENT: Final = -15  # niceness: a packet that waits for a processor would be a slower link


@dataclass(frozen=True, slots=True)
class Conditions:
    """Of a link: seconds there and back, share lost each way, bytes a second each way, bytes that may queue."""

    rtt: float = 0.080
    loss: float = 0.005
    rate: int = 2_500_000
    queue: int = 200_000
    seed: int = 1
    congestion: str = "cubic"


@dataclass(slots=True)
class Counts:
    """Packets of one direction."""

    passed: int = 0
    lost: int = 0
    overflowed: int = 0


class Channel:
    """One direction. Pure but for its dice: says of each packet when it arrives."""

    def __init__(self, conditions: Conditions, seed: int) -> None:
        self._conditions = conditions
        self._random = random.Random(seed)
        self._free_at = 0.0
        self.counts = Counts()

    def arrival(self, size: int, now: float) -> float | None:
        """The moment at which a packet sent now comes out at the other end; None if it never does."""
        if self._random.random() < self._conditions.loss:
            self.counts.lost += 1
            return None
        begins = max(self._free_at, now)
        if (begins - now) * self._conditions.rate + size > self._conditions.queue:
            self.counts.overflowed += 1
            return None
        self._free_at = begins + size / self._conditions.rate
        self.counts.passed += 1
        return self._free_at + self._conditions.rtt / 2


class Direction:
    """Packets on their way from one device to the other."""

    def __init__(self, source: int, target: int, channel: Channel) -> None:
        self.source, self._target, self.channel = source, target, channel
        self._in_flight: deque[tuple[float, bytes]] = deque()  # in order: a channel is first in, first out

    @property
    def next_at(self) -> float | None:
        """When the next packet is due."""
        return self._in_flight[0][0] if self._in_flight else None

    def read_packets(self, now: float) -> None:
        """Let every packet that waits at the source begin its way."""
        with suppress(BlockingIOError):
            while True:
                packet = os.read(self.source, _PACKET)
                at = self.channel.arrival(len(packet), now)
                if at is not None:
                    self._in_flight.append((at, packet))

    def deliver(self, now: float) -> None:
        """Let every packet out that is due."""
        while self._in_flight and self._in_flight[0][0] <= now:
            with suppress(OSError):  # the far kernel takes no more: one more that is lost
                os.write(self._target, self._in_flight.popleft()[1])


def forward(directions: Sequence[Direction]) -> None:
    """Carry packets until standard input ends."""
    poll = select.epoll()
    for descriptor in (0, *(direction.source for direction in directions)):
        poll.register(descriptor, select.EPOLLIN)
    while True:
        due = [at for direction in directions if (at := direction.next_at) is not None]
        wait = max(min(due) - time.monotonic(), 0) if due else -1
        ready = {descriptor for descriptor, _ in poll.poll(wait)}
        if 0 in ready:
            if not os.read(0, 1024):
                return
            print(json.dumps([asdict(direction.channel.counts) for direction in directions]), flush=True)
        now = time.monotonic()
        for direction in directions:
            direction.read_packets(now)
            direction.deliver(now)


def listen(port: int, congestion: str) -> socket.socket:
    """A server's socket at the far end; the calling thread lives there now. What it accepts has its control."""
    listener = socket.create_server((FAR, port), backlog=256)
    # Of the socket: as a namespace's default the kernel lets only some be set.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
    return listener


def relay(listener: socket.socket, port: int) -> None:
    """Every connection to it goes on to this port of the loopback interface of home."""
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_relay_connection, args=(client, port), daemon=True).start()


def _relay_connection(client: socket.socket, port: int) -> None:
    with client, suppress(OSError), socket.create_connection(("127.0.0.1", port)) as server:
        back = threading.Thread(target=_copy, args=(client, server), daemon=True)
        back.start()
        _copy(server, client)
        back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    buffer = memoryview(bytearray(_BLOCK))
    with suppress(OSError):
        while count := source.recv_into(buffer):
            target.sendall(buffer[:count])
    # Whichever way this ended, the other side is to hear of it.
    for end, how in ((source, socket.SHUT_RD), (target, socket.SHUT_WR)):
        with suppress(OSError):
            end.shutdown(how)


def _create_end(address: str, peer: str) -> tuple[int, int]:
    """A namespace and the device in it; the calling thread lives there now."""
    network = create_namespace()
    set_network_option("ipv6/conf/all/disable_ipv6", "1")
    set_network_option("ipv4/tcp_no_metrics_save", "1")  # no connection is to know what an earlier one met
    return network, open_tun("lossy", address, peer)


def main() -> None:
    """Make the link as the arguments say: conditions in JSON, then the ports to be relayed."""
    conditions = Conditions(**json.loads(sys.argv[1]))
    os.nice(_URGENT)
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    near, near_device = _create_end(NEAR, FAR)
    far, far_device = _create_end(FAR, NEAR)
    listeners = [(listen(port, conditions.congestion), port) for port in map(int, sys.argv[2:])]
    enter_namespace(home)
    for pair in listeners:
        threading.Thread(target=relay, args=pair, daemon=True).start()
    print(json.dumps({"near": near, "far": far}), flush=True)
    ends = ((near_device, far_device), (far_device, near_device))
    forward([Direction(*pair, Channel(conditions, conditions.seed + number)) for number, pair in enumerate(ends)])


if __name__ == "__main__":
    main()
