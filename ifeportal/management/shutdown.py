"""Stop a long-running command on SIGTERM or SIGINT."""

from __future__ import annotations

import _thread
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
        set_from_handler(stop)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)


def set_from_handler(event: threading.Event) -> None:
    """Set an event from a signal handler, in another thread.

    The thread that the signal interrupted may have the lock of the event, for example at the beginning of a wait. The
    handler runs in that thread, and would wait for the lock for ever.
    """
    _thread.start_new_thread(event.set, ())
