"""Stop a long-running command on SIGTERM or SIGINT."""

from __future__ import annotations

import signal
import threading


def stop_on_signal(stop: threading.Event) -> None:
    """Set `stop` at the first SIGTERM or SIGINT, and take no notice of more.

    To be called in the main thread. One that came while the interpreter ends would kill the process, whose exit code
    then says that it failed: at its end Python gives every handler up, but leaves alone what is ignored.
    """

    def told(*_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
