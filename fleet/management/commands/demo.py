"""`manage.py demo`: run the whole system on this machine until Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from fleet.demo.aircraft import MANAGE
from fleet.demo.scenario import AIRLINES, CORRUPTED, FLAKY, FLEET, LATE
from fleet.demo.scripted_tails import CONTRADICTORY, RESTARTED, SILENT, STALLED, WAITING
from fleet.demo.state import DemoError, DemoFolder
from fleet.demo.system import DemoSystem
from loader.errors import WorldError

MARK = "IFEPORTAL_DEMO"  # set in the process that uses the demo's own database


class Command(BaseCommand):
    help = (
        "Runs the whole system on this machine: a real S3 (SeaweedFS), the portal, its jobs, and simulated aircraft "
        "that run the real loader over narrow links. Everything lies in one folder and listens on the loopback "
        "interface only; it grows to about 1.5 GB. Ctrl-C stops it; started again it goes on where it was."
    )
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--folder", type=Path, default=settings.BASE_DIR / ".demo", help="where all of it is kept")
        parser.add_argument("--port", type=int, default=8000, help="of the portal; another one if it is taken")
        parser.add_argument("--reset", action="store_true", help="forget everything first")
        parser.add_argument("--aircraft", type=int, default=len(FLEET), help="how many (default %(default)s)")
        parser.add_argument("--speed", type=float, default=1.0, help="of links and events, as a factor")

    def handle(self, *args: object, **options: Any) -> None:
        if not 1 <= options["aircraft"] <= len(FLEET) or options["speed"] <= 0:
            raise CommandError(f"--aircraft must be 1 to {len(FLEET)}, --speed more than 0.", returncode=2)
        stop = threading.Event()
        try:
            state = DemoFolder(options["folder"])
            if os.environ.get(MARK) != str(state.folder):
                _start_over(state, reset=options["reset"])
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: stop.set())
            demonstration = DemoSystem(
                state,
                self._say,
                port=options["port"],
                aircraft=options["aircraft"],
                speed=options["speed"],
            )
            self._run(demonstration, state, stop)
        except (DemoError, WorldError) as error:
            raise CommandError(str(error)) from error

    def _run(self, demonstration: DemoSystem, state: DemoFolder, stop: threading.Event) -> None:
        with demonstration:
            self._say("Starting the store and the portal ...")
            demonstration.prepare()
            if not stop.is_set():
                self._say("Publishing campaigns and starting aircraft ...")
                demonstration.start_fleet()
                self.stdout.write(introduction(demonstration.address, state))
                self.stdout.flush()
            while not stop.wait(0.5):
                demonstration.step()
            self._say("Stopping everything ...")
        self._say("Stopped. `make demo` goes on from here, `make demo-reset` starts afresh.")

    def _say(self, text: str) -> None:
        self.stdout.write(f"{datetime.now():%H:%M:%S}  {text}")
        self.stdout.flush()


def _start_over(state: DemoFolder, *, reset: bool) -> None:
    """Become the same command again, with Django on the demo's own database."""
    if reset:
        state.reset()
    environment = state.environment() | {MARK: str(state.folder)}
    arguments = [argument for argument in sys.argv[1:] if argument != "--reset"]
    state.close()
    os.execve(sys.executable, [sys.executable, str(MANAGE), *arguments], environment)  # noqa: S606


def introduction(address: str, state: DemoFolder) -> str:
    """What a visitor should know."""
    logins = "\n".join(f"    {login.name:<8} {login.password:<14} {login.sees}" for login in state.logins)
    own = f"{address}airlines/{AIRLINES[0].name}/"
    mer, ksp = f"{address}airlines/{AIRLINES[1].name}/", f"{address}airlines/{AIRLINES[2].name}/"
    return f"""
  The portal is at  {address}

  Sign in as
{logins}

  What to look at
    {address:<44} the fleet: three airlines load at this moment
    {own:<44} {AIRLINES[0].title}: a bar for each aircraft
    {f"{mer}tails/{CORRUPTED}/":<44} {CORRUPTED} gets a wrong byte: a checksum failure, tried in vain
    {f"{own}tails/{FLAKY}/":<44} {FLAKY} loses its link for a minute, then goes on where it was
    {f"{ksp}tails/{LATE}/":<44} {LATE} joins a minute late
    {f"{own}tails/{STALLED.tail}/":<44} {STALLED.tail} is alive but gets no byte; {SILENT.tail} is silent
    {f"{mer}tails/{WAITING.tail}/":<44} {WAITING.tail} waits for its hours
    {f"{ksp}tails/{RESTARTED.tail}/":<44} {RESTARTED.tail} began anew; {CONTRADICTORY.tail} reports what cannot be
    {f"{address}admin/":<44} as admin; the API is described at {address}api/docs/
  The last five aircraft are scripted: the demo writes their reports itself. All others run the real loader.
  More campaigns are published after three minutes and later; the open pages show it by themselves.

  Everything is kept in {state.folder} (logs: log/). Ctrl-C stops it all.
"""
