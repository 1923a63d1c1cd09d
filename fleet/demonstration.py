"""The whole system on this machine: store, portal, jobs, pacemaker and a simulated fleet, for people to look at.

Everything it keeps lies in one folder, and everything it starts listens on the loopback interface and ends with it. The
database named in Django's settings must be the demo's own: `environment` tells how to start a process so that it is.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from django.core.management import call_command
from django.db import connection

from fleet import scripted
from fleet.roster import FLEET, OPERATORS, cycles
from fleet.simulation import MANAGE, MEDIA, STATUS, Simulation, identity
from ifeportal.conf.environment import Config
from ifeportal.embedded.processes import LOOPBACK, Process, Supervisor, free_port, wait_until_listening
from ifeportal.embedded.seaweedfs import Identity, SeaweedFS
from ifeportal.models import Airline, Membership, User

PORTAL: Final = Identity(
    "portal", (f"Read:{MEDIA}", f"List:{MEDIA}", f"Write:{MEDIA}", f"Read:{STATUS}", f"List:{STATUS}")
)
RESTARTS: Final = 3  # of one process within RESTART_WINDOW seconds; then something is really wrong
RESTART_WINDOW: Final = 300.0
STORE_PORT: Final = 8333


class DemoError(Exception):
    """The demo cannot start or go on; `str()` says why."""


@dataclass(frozen=True, slots=True)
class Login:
    """Somebody who may sign in."""

    name: str
    password: str
    sees: str


class State:
    """What the demo keeps between two starts. The folder is locked while it is open."""

    def __init__(self, folder: Path) -> None:
        """Raises DemoError if another demo runs in this folder."""
        self.folder = folder.absolute()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DemoError(f"A demo runs in {self.folder} already. Stop it first (Ctrl-C in its terminal).") from error
        self._secrets = self._read("secrets.json") or self._make_secrets()

    def reset(self) -> None:
        """Forget everything but the lock."""
        for path in self.folder.iterdir():
            if path.name == "lock":
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        self._secrets = self._make_secrets()

    @property
    def elapsed(self) -> float:
        """Seconds the demo has run so far, over all its starts."""
        return float(self._read("elapsed.json").get("seconds", 0.0))

    @elapsed.setter
    def elapsed(self, seconds: float) -> None:
        self._write("elapsed.json", {"seconds": round(seconds, 1)})

    @property
    def logins(self) -> list[Login]:
        """Who may sign in."""
        return [
            Login("ops", self._secrets["ops"], "every airline (operations, staff)"),
            Login("aurora", self._secrets["aurora"], f"{OPERATORS[0].title} only (a user of that airline)"),
            Login("admin", self._secrets["admin"], "everything, and /admin/ (superuser)"),
        ]

    def environment(self) -> dict[str, str]:
        """For processes of the portal: ours without anything that configures another portal, then the demo's."""
        known = {field.upper() for field in Config.__dataclass_fields__}
        ours = {n: v for n, v in os.environ.items() if n not in known and not n.startswith(("AWS_", "LOADER_"))}
        return {
            **ours,
            "DEBUG": "1",
            "SECRET_KEY": self._secrets["key"],
            "DATABASE_URL": f"sqlite:///{self.folder / 'ifeportal.sqlite3'}",
            "MEDIA_BUCKET": MEDIA,
            "STATUS_BUCKET": STATUS,
        }

    def close(self) -> None:
        """Let another demo use the folder."""
        self._lock.close()

    def _make_secrets(self) -> dict[str, str]:
        made = {name: secrets.token_urlsafe(9) for name in ("ops", "aurora", "admin")}
        made["key"] = secrets.token_urlsafe(50)
        self._write("secrets.json", made)
        return made

    def _read(self, name: str) -> dict[str, str]:
        try:
            found: dict[str, str] = json.loads((self.folder / name).read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return found

    def _write(self, name: str, values: Mapping[str, object]) -> None:
        new = self.folder / f".{name}.new"
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(values, file, indent=1)
        new.replace(self.folder / name)


class Demonstration:
    """The running system. Use as a context manager: whatever happens, everything it started is stopped."""

    def __init__(
        self, state: State, say: Callable[[str], None], *, port: int = 8000, aircraft: int = 9, speed: float = 1.0
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
        self._restarts: dict[str, list[float]] = {}
        self._elapsed = state.elapsed
        self._silent = False
        self._clock = time.monotonic()

    @property
    def address(self) -> str:
        """Of the portal, for a browser."""
        return f"http://{LOOPBACK}:{self.port}/"

    def prepare(self) -> None:
        """Start the store, bring the database up to date, start the portal. Raises DemoError."""
        self._state_is_ours()
        try:
            self._store.start()
            for name in (MEDIA, STATUS):
                self._store.create_bucket(name)
            call_command("migrate", verbosity=0, interactive=False)
            make_users(self._state.logins)
            connection.close()
            for process in self._portal():
                self._supervisor.start(process)
        except OSError as error:
            raise DemoError(str(error)) from error

    def take_off(self) -> None:
        """Publish the first campaigns, let the aircraft fly, wait until the portal answers. Raises DemoError."""
        simulation = Simulation(
            self._fleet,
            cycles(datetime.now(UTC).date()),
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

    def tick(self) -> None:
        """Let the fleet fly on and see that everything lives. Raises DemoError if something keeps ending."""
        now = time.monotonic()
        self._elapsed, self._clock = self._elapsed + now - self._clock, now
        if self._simulation:
            self._simulation.advance(self._elapsed)
        self._state.elapsed = self._elapsed
        self._silent = self._silent or scripted.fall_silent(datetime.now(UTC))
        if self._store.process.ended is not None:
            self._revive(self._store.process, self._restart_store)
        for process in self._supervisor.ended():
            self._revive(process, process.start)

    def close(self) -> None:
        """Stop everything: the loaders, which still report over their links, then the links, the store last."""
        with ExitStack() as last_first:
            last_first.callback(self._store.stop)
            if self._simulation:
                last_first.callback(self._simulation.close)
            last_first.callback(self._supervisor.stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _state_is_ours(self) -> None:
        wanted = self._state.folder / "ifeportal.sqlite3"
        if Path(str(connection.settings_dict["NAME"])) != wanted:
            raise DemoError(f"Django uses {connection.settings_dict['NAME']}, not {wanted}.")

    def _portal(self) -> list[Process]:
        environment = self._state.environment() | self._store.environment(PORTAL.name)
        environment["PORTAL_URL"] = self.address.rstrip("/")
        daphne = ["daphne", "-b", LOOPBACK, "-p", str(self.port), "ifeportal.asgi:application"]
        commands: dict[str, list[str | Path]] = {
            "portal": [sys.executable, "-m", *daphne],
            "jobs": [sys.executable, MANAGE, "qcluster"],
            "pacemaker": [sys.executable, MANAGE, "pacemaker"],
        }
        return [
            Process(
                name,
                command,
                log=self._state.folder / "log" / f"{name}.log",
                environment=environment,
                folder=MANAGE.parent,
                stage=2 if name == "pacemaker" else 1,
            )
            for name, command in commands.items()
        ]

    def _wait_for_portal(self) -> None:
        portal = next(process for process in self._supervisor.processes if process.name == "portal")
        try:
            wait_until_listening(self.port, portal)
            with urllib.request.urlopen(f"{self.address}healthz", timeout=20):  # noqa: S310  our own address
                pass
        except OSError as error:
            raise DemoError(f"The portal does not answer: {error}\n{portal.tail()}") from error

    def _revive(self, process: Process, start: Callable[[], None]) -> None:
        """Say who ended and why, and start it again, unless it did so too often."""
        now = time.monotonic()
        recent = [at for at in self._restarts.get(process.name, []) if now - at < RESTART_WINDOW]
        why = f"{process.name} ended by itself (exit {process.ended}). Its last words, from {process.log}:"
        told = f"{why}\n{process.tail() or '(none)'}"
        if len(recent) >= RESTARTS:
            raise DemoError(f"{told}\nThat happened {RESTARTS + 1} times in {RESTART_WINDOW:.0f} s: stopping.")
        self._restarts[process.name] = [*recent, now]
        self._say(f"{told}\nStarting it again.")
        with suppress(OSError):
            start()

    def _restart_store(self) -> None:
        endpoint = self._store.endpoint
        self._store.stop()
        self._store.start()
        if self._store.endpoint != endpoint:
            raise DemoError(f"The store came back at another port: {self._store.endpoint}. Start the demo again.")


def make_users(logins: list[Login]) -> None:
    """The airlines of the demo and their thresholds, and who may see them; passwords as the state has them."""
    airlines = {
        operator.name: Airline.objects.get_or_create(
            name=operator.name, defaults={"title": operator.title, **scripted.THRESHOLDS.get(operator.name, {})}
        )[0]
        for operator in OPERATORS
    }
    scripted.make_stored(airlines)
    for login in logins:
        user, new = User.objects.get_or_create(
            username=login.name,
            defaults={"is_staff": login.name in ("ops", "admin"), "is_superuser": login.name == "admin"},
        )
        if new or not user.check_password(login.password):
            user.set_password(login.password)
            user.save()
        if not user.is_staff:
            Membership.objects.get_or_create(user=user, airline=airlines[OPERATORS[0].name])
