"""Notifications to systemd over a real datagram socket, by path and by abstract name."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loader.monitor.events import LoaderState
from loader.monitor.systemd import SystemdNotifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Callable[[], list[str]]]]:
    """The value of NOTIFY_SOCKET, and a function that returns the messages since its last call."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@loader-test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        ours.setblocking(False)

        def received_messages() -> list[str]:
            lines = []
            while True:
                try:
                    lines.append(ours.recv(4096).decode())
                except BlockingIOError:
                    return lines

        yield name, received_messages


def test_the_service_sends_ready_status_and_stopping(manager: tuple[str, Callable[[], list[str]]]) -> None:
    name, received_messages = manager
    watchdog = SystemdNotifier({"NOTIFY_SOCKET": name})
    watchdog.ready()
    watchdog.status("loading 2026-12,\n12 of 40\x1b items")
    watchdog.status("loading 2026-12,\n12 of 40\x1b items")
    watchdog.stopping()
    assert received_messages() == ["READY=1", "STATUS=loading 2026-12, 12 of 40␛ items", "STOPPING=1"]


def test_as_a_listener_it_sends_the_state(manager: tuple[str, Callable[[], list[str]]]) -> None:
    name, received_messages = manager
    watchdog = SystemdNotifier({"NOTIFY_SOCKET": name})
    watchdog.handle(LoaderState("loading", "", "2026-12"))
    watchdog.handle(LoaderState("waiting", "no route", ""))
    assert received_messages() == ["STATUS=loading 2026-12", "STATUS=waiting (no route)"]


def test_signs_of_life_come_from_the_turning_loop_alone(manager: tuple[str, Callable[[], list[str]]]) -> None:
    name, received_messages = manager
    now = 100.0
    watchdog = SystemdNotifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000000"}, lambda: now)
    assert watchdog.pause == 10.0
    watchdog.ping()
    assert received_messages() == ["WATCHDOG=1"]
    for now in (101.0, 102.0, 104.0):  # noqa: B007  the clock reads it
        watchdog.ping()
    assert received_messages() == []
    now = 105.0
    watchdog.ping()
    assert received_messages() == ["WATCHDOG=1"]
    now = 1000.0
    watchdog.status("still here")
    assert received_messages() == ["STATUS=still here"]


@pytest.mark.parametrize(
    "environment",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}],
)
def test_the_watchdog_runs_only_if_systemd_enables_it(
    manager: tuple[str, Callable[[], list[str]]], environment: dict[str, str]
) -> None:
    name, received_messages = manager
    watchdog = SystemdNotifier({"NOTIFY_SOCKET": name, **environment})
    watchdog.ping()
    assert (watchdog.pause, received_messages()) == (float("inf"), [])


def test_a_watchdog_of_this_process_is_ours(manager: tuple[str, Callable[[], list[str]]]) -> None:
    name, received_messages = manager
    SystemdNotifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}).ping()
    assert received_messages() == ["WATCHDOG=1"]


@pytest.mark.parametrize("name", ["", "/nowhere/at/all", "@nobody-listens-here", "vsock:2:1234", "/" + "x" * 200])
def test_a_missing_listener_does_no_harm(name: str) -> None:
    watchdog = SystemdNotifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1000000"})
    watchdog.ready()
    watchdog.ping()
    watchdog.status("x")
    watchdog.stopping()
