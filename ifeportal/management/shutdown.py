"""Stop a long-running command on SIGTERM or SIGINT."""

from __future__ import annotations

import signal
import threading


def stop_on_signal(stop: threading.Event) -> None:
    """Set `stop` at the first SIGTERM or SIGINT, and ignore later ones. Call it in the main thread.

    Python removes its signal handlers when it exits, but not the setting to ignore a signal. Without that, a second
    signal would kill the exiting process, and its exit code would report a failure.
    """

    def handle(*_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
