"""Events and long poll of an operation over a real daphne: what a program receives while a worker writes."""

from __future__ import annotations

import json
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
from django.utils import timezone

from ifeportal.accounts.tokens import create_token
from ifeportal.embedded.processes import LOOPBACK
from tests.conftest import Cast
from tests.support.operation_rows import MEBIBYTE, create_operation, tell
from tests.support.portal_system import PATIENCE
from tests.support.web_server import WebServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.processes]


def ask(server: WebServer, key: str, path: str) -> HTTPResponse:
    connection = HTTPConnection(LOOPBACK, server.port, timeout=PATIENCE)
    connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
    return connection.getresponse()


def next_event(response: HTTPResponse) -> tuple[str, int]:
    """Return the kind of the next event, and the percentage in its data."""
    kind = ""
    while raw := response.readline():
        line = raw.decode().strip()
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        if line.startswith("data: "):
            return kind, json.loads(line.removeprefix("data: ")).get("percent", -1)
    raise AssertionError("The stream ended.")


def test_a_program_follows_an_operation_to_its_end(cast: Cast, tmp_path: Path) -> None:
    row = create_operation(cast.acme, cast.mona)
    _, key = create_token(cast.mona, "x", days=1, airline=cast.acme, may_write=False)
    path = f"/api/v1/operations/{row.uuid}/"
    with WebServer(tmp_path) as server:
        events = ask(server, key, f"{path}events/")
        assert (events.status, next_event(events)) == (200, ("state", 40))
        tell(row, bytes_done=50 * MEBIBYTE)
        assert next_event(events) == ("state", 50)
        polled = ask(server, key, f"{path}?wait=60&as_of=2026-01-01T00:00:00Z")
        assert json.loads(polled.read())["percent"] == 50
        tell(row, state="succeeded", bytes_done=100 * MEBIBYTE, finished_at=timezone.now())
        assert [next_event(events) for _ in range(2)] == [("state", 100), ("end", -1)]
        assert events.read().strip() == b""
