"""Emulate a bad link on one machine: `python -m benchmarks.lossy --rtt 80ms --loss 0.5% --rate 20Mbit -- COMMAND`.

Two network namespaces are joined by TUN devices and a forwarder that delays packets, drops some at random, and limits
the rate. The kernel's own TCP meets real loss. A proxy cannot show that, because it ends every TCP connection itself,
and some kernels have no netem. COMMAND runs at the near end. It reaches a port of this machine's loopback interface
that is given with --forward at the same port of the far end, whose address is in LOSSY_FAR. The port in
AWS_ENDPOINT_URL_S3 is always forwarded, and the variable is set to the new address. Without COMMAND the link is
measured: round trip, goodput of one connection and of eight, packets lost. Needs root. Leaves nothing behind.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from benchmarks.network.forwarder import FAR, Conditions, listen
from benchmarks.network.lossy_link import LossyLink
from benchmarks.network.namespaces import inside
from loader.contract.units import parse_duration, parse_size

ENDPOINT: Final = "AWS_ENDPOINT_URL_S3"
_BLOCK: Final = 65_536
_PROBE: Final = 9  # port of the probe; the namespace has no other server


@dataclass(frozen=True, slots=True)
class LinkMeasurement:
    """Measured round trip in seconds, bytes per second of one and of several connections, shares of lost packets."""

    rtt: float
    single_rate: float
    total_rate: float
    connections: int
    lost: float
    overflowed: float

    def table(self, conditions: Conditions) -> str:
        """Return the Markdown table of docs/performance.md."""
        return "\n".join(
            (
                "| | set | found |",
                "| --- | ---: | ---: |",
                f"| round trip | {conditions.rtt * 1e3:.0f} ms | {self.rtt * 1e3:.1f} ms |",
                f"| packets lost | {conditions.loss:.2%} | {self.lost:.2%} |",
                f"| packets dropped by the full queue | | {self.overflowed:.2%} |",
                f"| one connection | | {self.single_rate * 8e-6:.1f} Mbit/s |",
                f"| {self.connections} connections | {conditions.rate * 8e-6:.0f} Mbit/s "
                f"| {self.total_rate * 8e-6:.1f} Mbit/s |",
            )
        )


def measure(link: LossyLink, seconds: float, connections: int = 8) -> LinkMeasurement:
    """Download for `seconds` over one connection, then over several at once."""
    with inside(link.far):
        server = listen(_PROBE, link.conditions.congestion)
    threading.Thread(target=_serve, args=(server,), daemon=True).start()
    with server:
        rtt = min(_connect_seconds(link) for _ in range(5))
        rates = [sum(_run_parallel(n, lambda: _goodput(link, seconds))) for n in (1, connections)]
        downstream = link.counts()[1]
    sent = downstream.passed + downstream.lost + downstream.overflowed
    return LinkMeasurement(rtt, rates[0], rates[1], connections, downstream.lost / sent, downstream.overflowed / sent)


def _serve(server: socket.socket) -> None:
    """Send bytes endlessly to every client."""
    while True:
        try:
            client, _ = server.accept()
        except OSError:  # the server socket was closed
            return
        threading.Thread(target=_send_endlessly, args=(client,), daemon=True).start()


def _send_endlessly(client: socket.socket) -> None:
    block = bytes(_BLOCK)
    with client:
        try:
            while True:
                client.sendall(block)
        except OSError:  # the client closed the connection
            return


def _connect(link: LossyLink) -> socket.socket:
    with inside(link.near):
        return socket.create_connection((FAR, _PROBE), timeout=30)


def _connect_seconds(link: LossyLink) -> float:
    started = time.monotonic()
    _connect(link).close()
    return time.monotonic() - started


def _goodput(link: LossyLink, seconds: float) -> float:
    """Return the received bytes per second of one connection."""
    buffer, received, started = bytearray(_BLOCK), 0, time.monotonic()
    with _connect(link) as sock:
        while time.monotonic() < started + seconds:
            received += sock.recv_into(buffer)
    return received / (time.monotonic() - started)


def _run_parallel(count: int, work: Callable[[], float]) -> list[float]:
    results: list[float] = []
    threads = [threading.Thread(target=lambda: results.append(work())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def parse_share(text: str) -> float:
    """Return 0.005 for "0.5%" or "0.005". Raises ValueError."""
    value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 <= value < 1:
        raise ValueError(f"{text!r} is not a share; write it like 0.5%")
    return value


def near_end_environment(environment: Mapping[str, str]) -> tuple[dict[str, str], list[int]]:
    """Return the environment of a command at the near end, and the ports it needs forwarded."""
    endpoint = urlsplit(environment.get(ENDPOINT, ""))
    near_end = {**environment, "LOSSY_FAR": FAR}
    if endpoint.hostname not in ("127.0.0.1", "localhost") or not endpoint.port:
        return near_end, []
    return near_end | {ENDPOINT: f"{endpoint.scheme}://{FAR}:{endpoint.port}"}, [endpoint.port]


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.lossy", description=__doc__)
    defaults = Conditions()
    arguments.add_argument("--rtt", type=parse_duration, default=defaults.rtt, help="round trip (80ms)", metavar="TIME")
    arguments.add_argument(
        "--loss", type=parse_share, default=defaults.loss, help="lost share in each direction (0.5%%)", metavar="SHARE"
    )
    arguments.add_argument(
        "--rate", type=parse_size, default=defaults.rate, help="rate of each direction (20Mbit)", metavar="SIZE"
    )
    arguments.add_argument(
        "--queue", type=parse_size, default=defaults.queue, help="bytes that may queue (200KB)", metavar="SIZE"
    )
    arguments.add_argument("--seed", type=int, default=defaults.seed, help="seed of the losses (%(default)s)")
    arguments.add_argument(
        "--congestion", default=defaults.congestion, help="TCP congestion control of the far end (%(default)s)"
    )
    arguments.add_argument(
        "--forward", type=int, action="append", default=[], help="port of 127.0.0.1 to forward", metavar="PORT"
    )
    arguments.add_argument("--seconds", type=float, default=20.0, help="seconds of each measurement (%(default)s)")
    arguments.add_argument("command", nargs="*", help="command to run at the near end", metavar="COMMAND")
    return arguments


def main() -> None:
    """Run a command over a bad link and exit with its code, or measure the link."""
    options = parser().parse_args()
    near_end, ports = near_end_environment(os.environ)
    conditions = Conditions(options.rtt, options.loss, options.rate, options.queue, options.seed, options.congestion)
    try:
        with LossyLink(conditions, forward=sorted({*ports, *options.forward})) as link:
            if options.command:
                raise SystemExit(subprocess.run(link.command(options.command), env=near_end, check=False).returncode)
            print(measure(link, options.seconds).table(conditions))
    except OSError as error:
        raise SystemExit(str(error)) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
