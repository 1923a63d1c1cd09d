"""Notifies systemd (sd_notify) of a service with Type=notify: ready, status, watchdog, stopping.

Standard library only. Does nothing without NOTIFY_SOCKET; ignores errors of the socket.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from loader.contract.item_reports import one_line
from loader.monitor.events import Event, EventListener, LoaderState

_PINGS_PER_INTERVAL: Final = 3  # so that one may be late
_TEXT_LIMIT: Final = 500


class SystemdNotifier(EventListener):
    """Thread-safe, but only the loop that must not hang may call `ping`.

    As a listener it shows the loader's state in `systemctl status`.
    """

    def __init__(self, environment: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._clock = clock
        self._lock = threading.Lock()
        self._due, self._last_status = 0.0, ""
        self.pause = _interval(environment) / _PINGS_PER_INTERVAL if self._address else math.inf

    def ready(self) -> None:
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Set the line in `systemctl status`; a repeated line is sent once."""
        line = one_line(text)[:_TEXT_LIMIT]
        with self._lock:
            if line == self._last_status:
                return
            self._last_status = line
        self._send(f"STATUS={line}")

    def handle(self, event: Event) -> None:
        if isinstance(event, LoaderState):
            reason = f"({event.reason})" if event.reason else ""
            self.status(" ".join(word for word in (event.state, event.campaign, reason) if word))

    def ping(self) -> None:
        """Reset the watchdog. Call it at least every `pause` seconds (infinite without a watchdog)."""
        now = self._clock()
        if self.pause < math.inf and now >= self._due:
            self._due = now + self.pause / 2
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, line: str) -> None:
        if self._address is None:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(line.encode(errors="replace"), self._address)


def _address(name: str) -> str | None:
    """Return a path, or a name in Linux's abstract namespace, which systemd writes with an @; None for others."""
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else None


def _interval(environment: Mapping[str, str]) -> float:
    """Return the watchdog interval in seconds; infinite without a watchdog, or for another process."""
    micros = environment.get("WATCHDOG_USEC", "")
    pid = environment.get("WATCHDOG_PID", "")
    if not micros.isascii() or not micros.isdecimal() or int(micros) == 0 or pid not in ("", str(os.getpid())):
        return math.inf
    return int(micros) / 1_000_000
