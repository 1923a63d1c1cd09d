"""`demo`: run the complete system on this machine until Ctrl-C."""

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
from fleet.demo.scripted_tails import CONTRADICTORY, RESTARTED, SCRIPTED, SILENT, STALLED, WAITING
from fleet.demo.state import DemoError, DemoFolder
from fleet.demo.system import DemoSystem
from ifeportal.management.shutdown import set_from_handler
from loader.errors import WorldError

MARK = "IFEPORTAL_DEMO"  # environment variable of the process that uses the demo's own database


class Command(BaseCommand):
    help = (
        "Run the complete system on this machine: an S3 server (SeaweedFS), the portal, its jobs, and simulated "
        "aircraft that run the real loader over slow links. All data is in one folder, which grows to about 2.5 GB. "
        "All servers listen on the loopback interface only. Stop the demo with Ctrl-C; it resumes at the next start."
    )
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--folder",
            type=Path,
            default=settings.BASE_DIR / ".demo",
            help="the folder for all data (default %(default)s)",
        )
        parser.add_argument(
            "--port",
            type=int,
            default=8000,
            help="port of the portal; another one if it is in use (default %(default)s)",
        )
        parser.add_argument("--reset", action="store_true", help="delete all data of the demo first")
        parser.add_argument("--aircraft", type=int, default=len(FLEET), help="number of aircraft (default %(default)s)")
        parser.add_argument(
            "--speed", type=float, default=1.0, help="factor for the speed of links and events (default %(default)s)"
        )

    def handle(self, *args: object, **options: Any) -> None:
        if not 1 <= options["aircraft"] <= len(FLEET) or options["speed"] <= 0:
            raise CommandError(f"--aircraft must be 1 to {len(FLEET)}, and --speed greater than 0.", returncode=2)
        stop = threading.Event()
        try:
            state = DemoFolder(options["folder"])
            if os.environ.get(MARK) != str(state.folder):
                _restart_with_database(state, reset=options["reset"])
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: set_from_handler(stop))
            system = DemoSystem(
                state,
                self._say,
                port=options["port"],
                aircraft=options["aircraft"],
                speed=options["speed"],
            )
            self._run(system, state, stop)
        except (DemoError, WorldError) as error:
            raise CommandError(str(error)) from error

    def _run(self, system: DemoSystem, state: DemoFolder, stop: threading.Event) -> None:
        with system:
            self._say("Starting the store and the portal ...")
            system.prepare()
            if not stop.is_set():
                self._say("Publishing campaigns and starting aircraft ...")
                system.start_fleet()
                self.stdout.write(introduction(system.address, state))
                self.stdout.flush()
                system.start_integrator()
            while not stop.wait(0.5):
                system.step()
            self._say("Stopping all processes ...")
        self._say("Stopped. `make demo` resumes the demo, `make demo-reset` starts from the beginning.")

    def _say(self, text: str) -> None:
        self.stdout.write(f"{datetime.now():%H:%M:%S}  {text}")
        self.stdout.flush()


def _restart_with_database(state: DemoFolder, *, reset: bool) -> None:
    """Replace the process by the same command, with Django on the demo's own database."""
    if reset:
        state.reset()
    environment = state.environment() | {MARK: str(state.folder)}
    arguments = [argument for argument in sys.argv[1:] if argument != "--reset"]
    state.close()
    os.execve(sys.executable, [sys.executable, str(MANAGE), *arguments], environment)  # noqa: S606


def introduction(address: str, state: DemoFolder) -> str:
    """Return the text that is printed when the demo has started."""
    logins = "\n".join(f"    {login.name:<8} {login.password:<14} {login.sees}" for login in state.logins)
    own = f"{address}airlines/{AIRLINES[0].name}/"
    mer, ksp = f"{address}airlines/{AIRLINES[1].name}/", f"{address}airlines/{AIRLINES[2].name}/"
    return f"""
  Portal:  {address}

  Sign in as
{logins}

  Pages
    {address:<48} The fleet: three airlines that are loading
    {own:<48} {AIRLINES[0].title}: a progress bar for each aircraft
    {f"{mer}tails/{CORRUPTED}/":<48} {CORRUPTED} receives a corrupted item: the checksum fails
    {f"{own}tails/{FLAKY}/":<48} {FLAKY} loses its link for a minute, then resumes
    {f"{ksp}tails/{LATE}/":<48} {LATE} joins a minute late
    {f"{own}tails/{STALLED.tail}/":<48} {STALLED.tail} is stalled; {SILENT.tail} is silent
    {f"{mer}tails/{WAITING.tail}/":<48} {WAITING.tail} waits for its loading window
    {f"{ksp}tails/{RESTARTED.tail}/":<48} {RESTARTED.tail} has restarted; {CONTRADICTORY.tail} is contradictory
    {f"{address}uploads/":<48} Uploads: an integrator sends a film. Drop a file of your own
    {f"{address}activity/":<48} Activity: the progress of everything that was requested
    {f"{address}admin/":<48} Administration, for the user admin
    {f"{address}api/docs/":<48} API documentation
  The demo writes the reports of {", ".join(one.tail for one in SCRIPTED)}.
  All other aircraft run the real loader. The next campaigns are published after three minutes; open pages show them.

  All data is in {state.folder}, logs are in its folder log. Press Ctrl-C to stop.
"""
