"""The process between the two ends of `benchmarks.lossy`: it delays, drops and slows packets.

Started by `LossyLink`, with all settings as arguments. Creates two network namespaces that only this process connects,
and prints their descriptors. Ends when its standard input does, also after its parent was killed; the namespaces end
with it. Answers each line on standard input with the packet counts.
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

# From 198.18.0.0/15, which is reserved for network benchmarks (RFC 2544).
NEAR: Final = "198.18.0.2"
FAR: Final = "198.18.0.1"
_PACKET: Final = 65_536
_BLOCK: Final = 262_144
_URGENT: Final = -15  # niceness: waiting for a processor would slow the link


@dataclass(frozen=True, slots=True)
class Conditions:
    """Properties of a link. Round trip in seconds, lost share of each direction, bytes per second of each direction,
    bytes that may queue.
    """

    rtt: float = 0.080
    loss: float = 0.005
    rate: int = 2_500_000
    queue: int = 200_000
    seed: int = 1
    congestion: str = "cubic"


@dataclass(slots=True)
class Counts:
    """Numbers of packets of one direction."""

    passed: int = 0
    lost: int = 0
    overflowed: int = 0


class Channel:
    """The timing of one direction. Decides for each packet when it arrives. No I/O, a seeded random generator."""

    def __init__(self, conditions: Conditions, seed: int) -> None:
        self._conditions = conditions
        self._random = random.Random(seed)
        self._free_at = 0.0
        self.counts = Counts()

    def arrival(self, size: int, now: float) -> float | None:
        """Return when a packet sent at `now` arrives, or None if it is dropped."""
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
    """Packets in flight from one device to the other."""

    def __init__(self, source: int, target: int, channel: Channel) -> None:
        self.source, self._target, self.channel = source, target, channel
        self._in_flight: deque[tuple[float, bytes]] = deque()  # in order of arrival: a channel is first in, first out

    @property
    def next_at(self) -> float | None:
        """Return when the next packet is due."""
        return self._in_flight[0][0] if self._in_flight else None

    def read_packets(self, now: float) -> None:
        """Read all packets waiting at the source."""
        with suppress(BlockingIOError):
            while True:
                packet = os.read(self.source, _PACKET)
                at = self.channel.arrival(len(packet), now)
                if at is not None:
                    self._in_flight.append((at, packet))

    def deliver(self, now: float) -> None:
        """Write all packets that are due."""
        while self._in_flight and self._in_flight[0][0] <= now:
            with suppress(OSError):  # the receiving kernel's queue is full: the packet is lost
                os.write(self._target, self._in_flight.popleft()[1])


def forward(directions: Sequence[Direction]) -> None:
    """Forward packets until standard input ends."""
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
    """Return a listening socket in the calling thread's namespace. Accepted sockets inherit its congestion control."""
    listener = socket.create_server((FAR, port), backlog=256)
    # Set on the socket: the kernel allows only some algorithms as a namespace's default.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
    return listener


def relay(listener: socket.socket, port: int) -> None:
    """Connect every accepted connection to the same port of the loopback interface of the original namespace."""
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
    # Shut down both sides, whichever of them failed.
    for end, how in ((source, socket.SHUT_RD), (target, socket.SHUT_WR)):
        with suppress(OSError):
            end.shutdown(how)


def _create_end(address: str, peer: str) -> tuple[int, int]:
    """Create a namespace with a device and move the calling thread into it. Return both descriptors."""
    network = create_namespace()
    set_network_option("ipv6/conf/all/disable_ipv6", "1")
    set_network_option(
        "ipv4/tcp_no_metrics_save", "1"
    )  # otherwise a connection starts with the metrics of an earlier one
    return network, open_tun("lossy", address, peer)


def main() -> None:
    """Create the link. Arguments: the conditions in JSON, then the ports to relay."""
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
