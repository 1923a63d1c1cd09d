"""The feed between real processes: writers, two web servers, browsers' sockets. No Redis, no channel layer."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.db import connection
from websockets.asyncio.client import ClientConnection, connect

from ifeportal.embedded.processes import Process, free_port, wait_until_listening
from ifeportal.live.connections import in_thread
from tests.conftest import Cast
from tests.support.live_sockets import sign_in
from tests.support.portal_forks import popen, run

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 60.0  # seconds, reached only if the feed is broken
WRITER = """
import sys, time
from django.db import transaction
from ifeportal.live.feed import FeedChange, publish
first, last, airline = map(int, sys.stdin.read().split())
for number in range(first, last):
    with transaction.atomic():
        publish([FeedChange("load", number, airline, "N1", "2026-12", {"at": time.time()})])
    time.sleep(0.05)
"""


def environment() -> dict[str, str]:
    """Return the environment of a child process that uses the test's database."""
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        url = f"sqlite:///{database['NAME']}"
    else:
        login = f"{quote(database['USER'])}:{quote(database['PASSWORD'] or '')}"
        port = f":{database['PORT']}" if database["PORT"] else ""
        folder = database["OPTIONS"].get("host")  # the folder of its socket
        options = f"?{urlencode({'host': folder})}" if folder else ""
        url = f"postgres://{login}@{quote(database['HOST'] or '', safe='')}{port}/{database['NAME']}{options}"
    return {**os.environ, "DEBUG": "1", "DATABASE_URL": url}


class Web:
    """A daphne process."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        command = [
            sys.executable,
            "-m",
            "daphne",
            "-b",
            "127.0.0.1",
            "-p",
            str(self.port),
            "ifeportal.asgi:application",
        ]
        log = folder / f"{self.port}.log"
        self.process = Process("web", command, log=log, environment=environment(), folder=ROOT, popen=popen)

    def start(self) -> None:
        self.process.start()
        wait_until_listening(self.port, self.process, PATIENCE)

    def socket(self, cookie: str) -> connect:
        return connect(
            f"ws://127.0.0.1:{self.port}/ws/live/",
            origin=f"http://127.0.0.1:{self.port}",  # type: ignore[arg-type]  # a NewType of str
            additional_headers={"Cookie": f"sessionid={cookie}"},
            open_timeout=PATIENCE,
        )


@contextmanager
def running(folder: Path) -> Iterator[Web]:
    server = Web(folder)
    try:
        server.start()
        yield server
    finally:
        server.process.stop()


@pytest.fixture
def web(transactional_db: None, tmp_path: Path) -> Iterator[Web]:
    with running(tmp_path) as server:
        yield server


@pytest.fixture
def another(transactional_db: None, tmp_path: Path) -> Iterator[Web]:
    with running(tmp_path) as server:
        yield server


def write(cast: Cast, first: int, last: int) -> None:
    """Let another process publish these objects of ACME, one every 50 ms."""
    done = run(
        [sys.executable, "manage.py", "shell", "-v", "0", "-c", WRITER],
        input=f"{first} {last} {cast.acme.pk}",
        env=environment(),
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr


async def read(socket: ClientConnection) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(await socket.recv())
    if "changes" in answer:
        await socket.send(json.dumps({"ack": answer["rev"]}))
    return answer


async def watch(socket: ClientConnection, rev: int) -> dict[str, Any]:
    await socket.send(json.dumps({"watch": {"airline": "ACME"}, "rev": rev, "acks": True}))
    return await read(socket)


async def listen(socket: ClientConnection, expected: set[int]) -> list[float]:
    """Receive every expected object. Return the seconds between publication and receipt of each."""
    delays = []
    while expected:
        for change in (await read(socket)).get("changes", []):
            if change["object"] in expected:
                expected.discard(change["object"])
                delays.append(time.time() - change["state"]["at"])
    return delays


async def test_changes_of_one_process_reach_the_sockets_of_two_others(cast: Cast, web: Web, another: Web) -> None:
    cookie = await in_thread(sign_in, cast.alice)
    numbers = range(1, 21)
    async with web.socket(cookie) as first, another.socket(cookie) as second:
        for socket in (first, second):
            assert await watch(socket, 0) == {"rev": 0, "changes": []}
        _, *delays = await asyncio.gather(
            in_thread(write, cast, 1, 21),
            listen(first, set(numbers)),
            listen(second, set(numbers)),
        )
    all_delays = [delay for socket in delays for delay in socket]
    print(f"from writer to browser: {statistics.median(all_delays):.3f} s (median), {max(all_delays):.3f} s (most)")  # noqa: T201


async def test_a_browser_reconnects_after_a_restart_and_gets_missed_changes(cast: Cast, web: Web) -> None:
    cookie = await in_thread(sign_in, cast.alice)
    async with web.socket(cookie) as socket:
        await watch(socket, 0)
        await in_thread(write, cast, 1, 3)
        await listen(socket, {1, 2})
        revision = 2
    for step in (web.process.stop, lambda: write(cast, 3, 6), web.start):
        await in_thread(step)
    async with web.socket(cookie) as socket:
        message = await watch(socket, revision)
    assert [change["object"] for change in message["changes"]] == [3, 4, 5]
    assert message["rev"] == 5


async def test_a_browser_of_another_site_is_refused_by_the_real_server(cast: Cast, web: Web) -> None:
    cookie = await in_thread(sign_in, cast.alice)
    with pytest.raises(Exception, match="403"):
        async with connect(
            f"ws://127.0.0.1:{web.port}/ws/live/",
            origin="https://evil.example",  # type: ignore[arg-type]
            additional_headers={"Cookie": f"sessionid={cookie}"},
        ):
            pass
