"""The layout of production: PostgreSQL, two pacemakers, three clusters of workers, two web servers behind a proxy.

While a fleet loads, one of each is killed. In the end every row and every open page must match the objects in the
bucket.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import psycopg
import pytest
from playwright.sync_api import Browser, Page

from fleet.simulation.expected import Expected, expected_after
from fleet.simulation.plan import FleetPlan, PlannedWrite, initial_reports, manifests
from fleet.simulation.traffic import changes
from ifeportal.embedded.processes import LOOPBACK, Process, Supervisor, free_port
from ifeportal.embedded.seaweedfs import SeaweedFS
from loader.s3.client import S3Bucket
from tests.support.browser_portal import chromium, copy_tables
from tests.support.portal_forks import popen
from tests.support.portal_system import ROOT, session_processes, wait_for
from tests.support.postgresql import postgresql

pytestmark = [pytest.mark.processes, pytest.mark.browser]

PLAN = FleetPlan(
    seed=3, airlines=3, tails=4, items=3, rate=25.0, size=35_000_000, failing=0.3, stalling=0, restarting=0.3
)
PATIENCE = 120.0  # seconds; only a fault takes that long
STEP = 0.2  # seconds between two looks that open a page or read all rows
FIELDS = ("bytes_done", "percent", "items_done", "items_failed", "error_code")
SHOWN = """() => Object.fromEntries([...document.querySelectorAll("[data-key]")].map(row => [
    row.dataset.key + " " + (row.dataset.tail ?? ""),
    [row.dataset.state ?? "", ...FIELDS.map(name => row.querySelector(`[data-field=${name}]`)?.textContent ?? "")],
]))""".replace("FIELDS", json.dumps(FIELDS))


class Proxy:
    """Forwards each connection to the first web server that accepts it, in turn, like a load balancer."""

    def __init__(self, ports: list[int]) -> None:
        self.served: dict[int, int] = dict.fromkeys(ports, 0)
        self._listener = socket.create_server((LOOPBACK, 0))
        self.address = f"http://{LOOPBACK}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        for port in sorted(self.served, key=lambda port: self.served[port]):
            with suppress(OSError):
                server = socket.create_connection((LOOPBACK, port), timeout=5)
                server.settimeout(None)
                self.served[port] += 1
                threading.Thread(target=_pump, args=(server, client), daemon=True).start()
                _pump(client, server)
                return
        client.close()


def _pump(one: socket.socket, other: socket.socket) -> None:
    """Copy everything from one socket to the other until either ends."""
    with suppress(OSError):
        while data := one.recv(65_536):
            other.sendall(data)
    for each in (one, other):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


class Machines:
    """The processes, by name, around one database and one store."""

    def __init__(self, folder: Path, environment: dict[str, str], supervisor: Supervisor) -> None:
        self.folder, self.environment, self._supervisor = folder, environment, supervisor
        self.processes: dict[str, Process] = {}
        self.ports = [free_port(), free_port()]

    def start(self) -> None:
        for number, port in enumerate(self.ports):
            self._start(f"web-{number}", "-m", "daphne", "-b", LOOPBACK, "-p", str(port), "ifeportal.asgi:application")
        for number in range(3):
            self._start(f"workers-{number}", "manage.py", "qcluster")
        for number in range(2):
            self._start(f"pacemaker-{number}", "manage.py", "pacemaker", stage=1)

    def manage(self, *arguments: str, **more: str) -> None:
        process = self._process("manage", "manage.py", *arguments)
        process.environment = self.environment | more
        process.start()
        code = wait_for(" ".join(arguments), lambda: None if process.ended is None else (process.ended,), PATIENCE)
        assert code == (0,), process.log_tail()

    def kill(self, name: str) -> None:
        """Kill all processes of the machine with SIGKILL."""
        pid = self.processes[name].pid
        assert pid, f"{name} had ended by itself: {self.processes[name].log_tail()}"
        os.killpg(pid, signal.SIGKILL)
        wait_for(f"{name} is dead", lambda: not session_processes(pid))

    def _start(self, name: str, *command: str, stage: int = 0) -> None:
        self.processes[name] = self._supervisor.start(self._process(name, *command, stage=stage))

    def _process(self, name: str, *command: str, stage: int = 0) -> Process:
        log = self.folder / f"{name}.log"
        return Process(
            name,
            [sys.executable, *command],
            log=log,
            environment=self.environment,
            folder=ROOT,
            stage=stage,
            popen=popen,
        )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def database() -> Iterator[str]:
    with postgresql() as url:
        yield url


@pytest.fixture
def machines(
    django_db_setup: None,
    browser: Browser,
    tmp_path: Path,
    database: str,
    seaweed: SeaweedFS,
    media: S3Bucket,
    status: S3Bucket,
) -> Iterator[Machines]:
    environment = {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "DEBUG": "1",
        "DATABASE_URL": database,
        "MEDIA_BUCKET": media.name,
        "STATUS_BUCKET": status.name,
        "POLL_INTERVAL": "1s",
        **seaweed.environment(),
    }
    with Supervisor() as supervisor:
        machines = Machines(tmp_path / "machines", environment, supervisor)
        if not copy_tables(database):
            machines.manage("migrate", "-v0")
        machines.start()
        yield machines
    for name, process in machines.processes.items():
        print(f"--- {name}\n{process.log_tail(40)}")  # noqa: T201  shown where the test failed


@pytest.fixture
def proxy(machines: Machines) -> Iterator[Proxy]:
    for port in machines.ports:
        wait_for("a web server answers", lambda port=port: _answers(f"http://{LOOPBACK}:{port}/login/"), PATIENCE)  # type: ignore[misc]
    with closing(Proxy(machines.ports)) as proxy:
        yield proxy


def _answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=10):
            return True
    except (URLError, OSError):
        return False


class Office:
    """A user with open pages in one browser, through the proxy."""

    def __init__(self, browser: Browser, machines: Machines, proxy: Proxy) -> None:
        self.password = secrets.token_urlsafe(20)
        made = {"DJANGO_SUPERUSER_PASSWORD": self.password}
        machines.manage("createsuperuser", "--noinput", "--username=ops", "--email=ops@example.org", **made)
        self.context = browser.new_context(base_url=proxy.address)
        self.context.set_default_timeout(PATIENCE * 1000)
        self.proxy = proxy
        self.pages: dict[str, Page] = {}

    def sign_in(self) -> None:
        page = self.context.new_page()
        page.goto("/login/")
        page.get_by_label("User").fill("ops")
        page.get_by_label("Password").fill(self.password)
        page.get_by_role("button", name="Sign in", exact=True).click()
        page.get_by_role("heading", name=re.compile("Fleet|No airlines")).first.wait_for()
        page.close()

    def open(self, path: str) -> None:
        page = self.pages[path] = self.context.new_page()
        page.goto(path)
        page.locator('[data-live-status][data-state="live"]').wait_for()

    def shown(self, path: str) -> dict[str, list[str]]:
        """Return what an open page shows, row by row."""
        found: dict[str, list[str]] = self.pages[path].evaluate(SHOWN)
        return found

    def shown_anew(self, path: str) -> dict[str, list[str]]:
        """Return what the same page shows when loaded again."""
        page = self.context.new_page()
        page.goto(path)
        found: dict[str, list[str]] = page.evaluate(SHOWN)
        page.close()
        return found

    def transfers(self) -> list[dict[str, Any]]:
        """Return every transfer from the API."""
        found = self.context.request.get("/api/v1/transfers/?page_size=1000").json()
        assert found["next"] is None
        return list(found["results"])


class Fleet:
    """The loaders: they write the plan's changes at its rate until everything is loaded."""

    def __init__(self, media: S3Bucket, status: S3Bucket) -> None:
        self._status = status
        self._changes = changes(PLAN)
        self.written: list[PlannedWrite] = []
        for change in manifests(PLAN):
            media.put(change.key, change.body or b"")
        for change in initial_reports(PLAN):
            status.put(change.key, change.body or b"")

    def go_on(self, count: int | None = None) -> None:
        """Write this many more changes, or all of them."""
        began = time.monotonic()
        for done, change in enumerate(self._changes, 1):
            time.sleep(max(done / PLAN.rate - (time.monotonic() - began), 0.0))
            if change.body is None:
                self._status.delete(change.key)
            else:
                self._status.put(change.key, change.body)
            self.written.append(change)
            if done == count:
                return


def holder(database: str, job: str) -> int:
    """Return the pid of the process that has the lease; 0 if none."""
    with psycopg.connect(database) as connection:
        row = connection.execute("SELECT holder FROM ifeportal_job WHERE name = %s", [job]).fetchone()
    return int(row[0].split(":")[1]) if row and row[0] else 0


def rows(database: str) -> set[Expected]:
    """Return every transfer in the database."""
    query = """
        SELECT a.name, t.name, x.content, x.status, x.bytes_done, x.bytes_total, x.error_code, x.error
        FROM fleet_transfer x JOIN fleet_load l ON l.id = x.load_id JOIN fleet_tail t ON t.id = l.tail_id
        JOIN ifeportal_airline a ON a.id = t.airline_id"""
    with psycopg.connect(database) as connection:
        return {Expected(*row) for row in connection.execute(query).fetchall()}


@pytest.mark.slow("seven processes, of which three are killed during a load")
def test_one_of_each_dies_during_a_load_and_every_row_and_page_is_right_in_the_end(
    machines: Machines, proxy: Proxy, browser: Browser, database: str, media: S3Bucket, status: S3Bucket
) -> None:
    fleet = Fleet(media, status)
    with ExitStack() as stack:
        office = Office(browser, machines, proxy)
        stack.callback(office.context.close)
        office.sign_in()
        all_found = lambda: len({row.airline for row in rows(database)}) == PLAN.airlines  # noqa: E731
        wait_for("all airlines are found", all_found, PATIENCE, step=STEP)
        airline, tail = PLAN.airline(0), PLAN.tail(1, 0)
        paths = ["/", f"/airlines/{airline}/", f"/airlines/{PLAN.airline(1)}/tails/{tail}/"]
        for path in [*paths, f"/airlines/{PLAN.airline(2)}/campaigns/{PLAN.campaign}/"]:
            office.open(path)

        fleet.go_on(60)
        leads = wait_for("a pacemaker leads", lambda: _name_of(machines, holder(database, "pacemaker")))
        machines.kill(leads)
        fleet.go_on(40)
        machines.kill("workers-1")
        fleet.go_on(40)
        served = dict(proxy.served)
        machines.kill("web-0")
        fleet.go_on()

        truth = set(expected_after(PLAN, fleet.written).transfers())
        wait_for("every row tells what the objects say", lambda: rows(database) == truth, PATIENCE, STEP)
        assert {row.status for row in truth} == {"complete"}
        assert all(served.values()), "both web servers had pages open"
        assert {(row["airline"], row["tail"], row["content"], row["status"]) for row in office.transfers()} == {
            row[:4] for row in truth
        }
        for path in office.pages:
            wait_for(f"{path} tells the truth", _same(office, path), PATIENCE, STEP)
        assert "100%" in str(office.shown(f"/airlines/{airline}/"))
        alive = [name for name, process in machines.processes.items() if process.ended is None]
        assert len(alive) == 4, f"only what was killed is gone: {alive}"


def _name_of(machines: Machines, pid: int) -> str | None:
    return next((name for name, process in machines.processes.items() if pid and process.pid == pid), None)


def _same(office: Office, path: str) -> Callable[[], bool]:
    return lambda: office.shown(path) == office.shown_anew(path)
