"""A command stops at the first signal, and further signals do not kill it while it exits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from ifeportal.management.shutdown import stop_on_signal

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(autouse=True)
def handlers_put_back() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_stops_and_further_ones_are_ignored(number: signal.Signals) -> None:
    stop = threading.Event()
    stop_on_signal(stop)
    assert not stop.is_set()
    os.kill(os.getpid(), number)
    assert stop.wait(60)
    # An ignored signal stays ignored while the interpreter exits; with a handler it would kill the process.
    assert [signal.getsignal(each) for each in SIGNALS] == [signal.SIG_IGN, signal.SIG_IGN]


def test_a_signal_at_the_beginning_of_a_wait_does_not_block_the_process() -> None:
    """In a process of its own, because a blocked handler cannot be interrupted."""
    program = """
import os, signal, threading
from ifeportal.management.shutdown import stop_on_signal
stop = threading.Event()
stop_on_signal(stop)
with stop._cond:  # as in Event.wait before it waits
    os.kill(os.getpid(), signal.SIGTERM)
print(stop.wait(60))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True\n"
