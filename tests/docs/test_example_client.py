"""The example client of the documents with a real server: pages, changes, problems, and retries."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from ifeportal_client import Change, ChangesExpired, Portal, Problem, Transfer

from fleet.choices import Status
from ifeportal.accounts.tokens import create_token
from tests.conftest import Cast
from tests.ifeportal.live.test_across_processes import Web
from tests.support.api_fleet import make_load
from tests.support.live_sockets import publish_now


@pytest.fixture
def web(transactional_db: None, tmp_path: Path) -> Iterator[str]:
    server = Web(tmp_path)
    try:
        server.start()
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.process.stop()


@pytest.mark.processes
def test_the_client_reads_pages_follows_changes_and_parses_problems(web: str, cast: Cast) -> None:
    _, key = create_token(cast.alice, "program", days=1, airline=None, may_write=False)
    make_load(cast.acme, "N1", "2026-12", items=5)
    make_load(cast.beta, "D-1", "winter")
    rev = publish_now(cast.acme, 1)
    with Portal(web, key) as portal:
        rows = list(portal.transfers(airline="ACME", page_size=2, stalled=False))
        assert [row.content for row in rows] == [f"movie-{n:03}" for n in range(5)]
        first = rows[0]
        assert isinstance(first, Transfer)
        assert (first.status, first.percent, first.eta_seconds) == (Status.LOADING, 25, None)
        assert first.as_of is not None
        assert first.as_of.tzinfo == UTC
        assert [load.tail for load in portal.loads(status=["loading", "failed"])] == ["N1"]
        assert portal.revision == rev

        received: list[Change] = []
        listener = threading.Thread(target=lambda: received.extend(islice(portal.changes(topic="load"), 2)))
        listener.start()
        publish_now(cast.beta, 7)
        for number in (8, 9):
            publish_now(cast.acme, number, percent=number)
        listener.join()
        assert [(change.object, change.op, change.state) for change in received] == [
            (8, "put", {"percent": 8}),
            (9, "put", {"percent": 9}),
        ]

        with pytest.raises(ChangesExpired):
            next(portal.changes(since=rev + 99))
        with pytest.raises(Problem, match="404 Not Found") as foreign:
            next(portal.changes(since=rev, airline="BETA"))
        assert foreign.value.status == 404
        with pytest.raises(Problem) as wrong:
            list(portal.transfers(status="lost"))
        assert list(wrong.value.errors) == ["status"]
    with Portal(web, "ife_wrong") as stranger, pytest.raises(Problem, match="401 Unauthorized"):
        list(stranger.transfers())


class Limping(BaseHTTPRequestHandler):
    """Answers 429, 503 and then an empty page."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.headers["Authorization"])
        status, wait = {1: (429, "7"), 2: (503, "3")}.get(len(self.asked), (200, ""))
        body = json.dumps({"next": None, "results": [], "title": "later"}).encode()
        self.send_response(status)
        for name, value in {"Retry-After": wait, "X-Revision": "4", "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Log nothing."""


def test_the_client_retries_after_the_requested_delay() -> None:
    Limping.asked = []
    pauses: list[float] = []
    with HTTPServer(("127.0.0.1", 0), Limping) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Portal(f"http://127.0.0.1:{server.server_port}", "key", sleep=pauses.append) as portal:
            assert list(portal.transfers()) == []
        server.shutdown()
    assert pauses == [7.0, 3.0]
    assert Limping.asked == ["Bearer key"] * 3
    assert portal.revision == 4
