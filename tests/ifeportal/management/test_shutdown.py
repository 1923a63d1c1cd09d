"""A command receives several stop signals; it stops once, and no signal kills it during its shutdown."""

from __future__ import annotations

import os
import signal
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
    # An ignored signal remains ignored during interpreter shutdown; a handler would be removed.
    assert [signal.getsignal(each) for each in SIGNALS] == [signal.SIG_IGN, signal.SIG_IGN]
