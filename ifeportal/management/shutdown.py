"""Stop a long-running command on SIGTERM or SIGINT."""

from __future__ import annotations

import signal
import threading


def stop_on_signal(stop: threading.Event) -> None:
    """Set `stop` at the first SIGTERM or SIGINT, and ignore further ones. Call it in the main thread.

    At exit, Python resets signal handlers to the default, but leaves ignored signals ignored. A second signal would
    otherwise kill the exiting process, and its exit code would report a failure.
    """

    def on_signal(*_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
