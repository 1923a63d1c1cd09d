"""The complete system on this machine: store, portal, jobs, pacemaker and a simulated fleet.

All processes listen on the loopback interface and end with the demo. The database in Django's settings must be the
demo's own (`DemoFolder.environment`).
"""

from __future__ import annotations

import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from django.core.management import call_command
from django.db import connection

from campaigns.drafts.requests import request_scan
from campaigns.models import Draft
from fleet.demo import scripted_tails
from fleet.demo.aircraft import MANAGE, MEDIA, STATUS, Simulation, identity
from fleet.demo.integrator import Integrator
from fleet.demo.scenario import (
    AIRLINES,
    FLEET,
    INTEGRATOR,
    UPLINK,
    DemoCampaign,
    demo_campaigns,
    draft_campaign,
    films_to_upload,
)
from fleet.demo.state import DemoError, DemoFolder, Login
from ifeportal.access import Role
from ifeportal.accounts.tokens import create_token
from ifeportal.audit import Actor
from ifeportal.embedded.processes import LOOPBACK, Process, Supervisor, free_port, wait_until_listening
from ifeportal.embedded.seaweedfs import Identity, SeaweedFS
from ifeportal.models import Airline, Membership, Token, User
from loader.s3.cors import upload_rule

PORTAL: Final = Identity(
    "portal", (f"Read:{MEDIA}", f"List:{MEDIA}", f"Write:{MEDIA}", f"Read:{STATUS}", f"List:{STATUS}")
)
RESTARTS: Final = 3  # of one process within RESTART_WINDOW seconds, before the demo gives up
RESTART_WINDOW: Final = 300.0
STORE_PORT: Final = 8333


class Restarter:
    """Starts processes again that ended, unless one of them ends too often."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._restarts: dict[str, list[float]] = {}  # by process, when it was started again

    def restart(self, process: Process, start: Callable[[], None]) -> None:
        """Report why the process ended, and start it again. Raises DemoError if it ended too often."""
        now = time.monotonic()
        recent = [at for at in self._restarts.get(process.name, []) if now - at < RESTART_WINDOW]
        why = f"{process.name} exited (code {process.ended}). Last log lines, from {process.log}:"
        report = f"{why}\n{process.log_tail() or '(none)'}"
        if len(recent) >= RESTARTS:
            raise DemoError(f"{report}\nThis was exit {RESTARTS + 1} within {RESTART_WINDOW:.0f} s. Stopping the demo.")
        self._restarts[process.name] = [*recent, now]
        self._say(f"{report}\nRestarting it.")
        with suppress(OSError):
            start()


class DemoSystem:
    """The running system. Use it as a context manager, which stops everything that was started."""

    def __init__(
        self, state: DemoFolder, say: Callable[[str], None], *, port: int = 8000, aircraft: int = 9, speed: float = 1.0
    ) -> None:
        self._state = state
        self._say = say
        self._fleet = FLEET[:aircraft]
        self._speed = speed
        self.port = free_port(port)
        self._store = SeaweedFS(
            state.folder / "store", port=STORE_PORT, identities=[PORTAL, *(identity(a) for a in FLEET)]
        )
        self._supervisor = Supervisor()
        self._simulation: Simulation | None = None
        self._integrator: Integrator | None = None
        self._restarter = Restarter(say)
        self._elapsed = state.elapsed
        self._silent = False
        self._clock = time.monotonic()

    @property
    def address(self) -> str:
        """The portal's address, for a browser."""
        return address_of(self.port)

    def prepare(self) -> None:
        """Start the store, migrate the database, start the portal. Raises DemoError."""
        self._check_database()
        try:
            self._store.start()
            media, _ = (self._store.create_bucket(name) for name in (MEDIA, STATUS))
            media.put_cors([upload_rule(self._origins())])
            call_command("migrate", verbosity=0, interactive=False)
            create_users(self._state.logins)
            connection.close()
            environment = self._state.environment() | self._store.environment(PORTAL.name)
            for process in portal_processes(self._state.folder / "log", environment, self.port):
                self._supervisor.start(process)
        except OSError as error:
            raise DemoError(str(error)) from error

    def _origins(self) -> list[str]:
        """Return the origins of the portal's pages in a browser on this machine."""
        return [f"http://{host}:{self.port}" for host in (LOOPBACK, "localhost")]

    def start_fleet(self) -> None:
        """Publish the first campaigns, start the aircraft, wait for the portal. Raises DemoError."""
        simulation = Simulation(
            self._fleet,
            demo_campaigns(datetime.now(UTC).date()),
            self._store,
            self._state.folder,
            self._supervisor,
            self._say,
            speed=self._speed,
        )
        simulation.publish_first()
        self._simulation = simulation
        self._clock = time.monotonic()
        simulation.advance(self._elapsed)
        self._wait_for_portal()

    def start_integrator(self) -> None:
        """Start the upload of a film into a draft."""
        draft = draft_campaign(datetime.now(UTC).date())
        token = prepare_integrator(draft)
        connection.close()
        rate = UPLINK * self._speed
        self._integrator = Integrator(self.address, token, films_to_upload(), draft, self._say, rate)
        self._integrator.start()

    def step(self) -> None:
        """Advance the fleet and restart what has exited. Raises DemoError if a process keeps exiting."""
        now = time.monotonic()
        self._elapsed, self._clock = self._elapsed + now - self._clock, now
        if self._simulation:
            self._simulation.advance(self._elapsed)
        self._state.elapsed = self._elapsed
        self._silent = self._silent or scripted_tails.mark_silent(datetime.now(UTC))
        if self._store.process.ended is not None:
            self._restarter.restart(self._store.process, self._restart_store)
        for process in self._supervisor.ended():
            self._restarter.restart(process, process.start)

    def close(self) -> None:
        """Stop the integrator, the loaders, which still report over their links, then the links, then the store."""
        with ExitStack() as stack:  # runs the callbacks in reverse order
            stack.callback(self._store.stop)
            if self._simulation:
                stack.callback(self._simulation.close)
            stack.callback(self._supervisor.stop)
            if self._integrator:
                stack.callback(self._integrator.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_database(self) -> None:
        wanted = self._state.folder / "ifeportal.sqlite3"
        if Path(str(connection.settings_dict["NAME"])) != wanted:
            raise DemoError(f"Django uses the database {connection.settings_dict['NAME']}, not {wanted}.")

    def _wait_for_portal(self) -> None:
        portal = next(process for process in self._supervisor.processes if process.name == "portal")
        try:
            wait_until_listening(self.port, portal)
            with urllib.request.urlopen(f"{self.address}healthz", timeout=20):  # noqa: S310  our own address
                pass
        except OSError as error:
            raise DemoError(f"The portal does not respond: {error}\n{portal.log_tail()}") from error

    def _restart_store(self) -> None:
        endpoint = self._store.endpoint
        self._store.stop()
        self._store.start()
        if self._store.endpoint != endpoint:
            raise DemoError(f"The store has restarted on another port: {self._store.endpoint}. Start the demo again.")


def address_of(port: int) -> str:
    """Return the portal's address, for a browser."""
    return f"http://{LOOPBACK}:{port}/"


def portal_processes(logs: Path, environment: Mapping[str, str], port: int) -> list[Process]:
    """Return the portal's processes, not yet started. The pacemaker is stopped before the others."""
    environment = {**environment, "PORTAL_URL": address_of(port).rstrip("/")}
    daphne = ["daphne", "-b", LOOPBACK, "-p", str(port), "ifeportal.asgi:application"]
    commands: dict[str, list[str | Path]] = {
        "portal": [sys.executable, "-m", *daphne],
        "jobs": [sys.executable, MANAGE, "qcluster"],
        "pacemaker": [sys.executable, MANAGE, "pacemaker"],
    }
    return [
        Process(
            name,
            command,
            log=logs / f"{name}.log",
            environment=environment,
            folder=MANAGE.parent,
            stage=2 if name == "pacemaker" else 1,
        )
        for name, command in commands.items()
    ]


def create_users(logins: list[Login]) -> None:
    """Create the airlines of the demo with their thresholds, and the users, and set their passwords."""
    airlines = {
        operator.name: Airline.objects.get_or_create(
            name=operator.name, defaults={"title": operator.title, **scripted_tails.THRESHOLDS.get(operator.name, {})}
        )[0]
        for operator in AIRLINES
    }
    scripted_tails.create_stored_tail(airlines)
    for login in logins:
        user, new = User.objects.get_or_create(
            username=login.name,
            defaults={"is_staff": login.name in ("ops", "admin"), "is_superuser": login.name == "admin"},
        )
        if new or not user.check_password(login.password):
            user.set_password(login.password)
            user.save()
        if not user.is_staff:
            _make_manager(user, airlines[AIRLINES[0].name])


def prepare_integrator(campaign: DemoCampaign) -> str:
    """Create the integrator's user and the draft. Return a new token; those of earlier starts are deleted."""
    airline = Airline.objects.get(name=campaign.airline)
    user, new = User.objects.get_or_create(username=INTEGRATOR)
    if new:
        user.set_unusable_password()
        user.save()
    _make_manager(user, airline)
    dates = {"exhibition_starts": campaign.starts, "exhibition_ends": campaign.ends}
    draft, new = Draft.objects.get_or_create(
        airline=airline, name=campaign.name, defaults={"title": campaign.title, **dates}
    )
    if new:
        request_scan(draft, Actor.job(user))
    Token.objects.filter(user=user).delete()
    return create_token(user, "the demo", days=1, airline=airline, may_write=True)[1]


def _make_manager(user: User, airline: Airline) -> None:
    Membership.objects.update_or_create(user=user, airline=airline, defaults={"role": Role.MANAGER})
