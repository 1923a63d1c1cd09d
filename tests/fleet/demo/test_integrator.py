"""The demo's integrator: which film it uploads at a start of the demo, and what it sends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from campaigns.models import Draft
from campaigns.uploads.announcements.part_plan import plan_parts
from fleet.demo import integrator
from fleet.demo.integrator import PART, PortalClient, Rejected, Stopped, choose_film, part_of, sum_of
from fleet.demo.scenario import INTEGRATOR, UPLINK, Film, draft_campaign, films_to_upload
from fleet.demo.system import prepare_integrator
from ifeportal.access import Role
from ifeportal.models import Airline, Membership, Token, User
from loader.contract.names import content_name

FILMS = (Film("one.mp4", 10), Film("two.mp4", 10), Film("three.mp4", 10))
DRAFT = draft_campaign(date(2026, 11, 30))


def row(name: str, status: str, created_at: str, completed_at: str | None = None) -> dict[str, Any]:
    return {"name": name, "status": status, "created_at": created_at, "completed_at": completed_at}


@pytest.mark.parametrize(
    ("uploads", "expected"),
    [
        ([], "one.mp4"),
        ([row("one.mp4", "uploaded", "1", "1")], "two.mp4"),
        ([row("two.mp4", "loading", "2"), row("one.mp4", "uploaded", "1", "1")], "two.mp4"),
        ([row("two.mp4", "loading", "2", "2"), row("one.mp4", "uploaded", "1", "1")], "three.mp4"),
        ([row("one.mp4", "uploaded", "4", "4"), *(row(film.name, "deleted", "1") for film in FILMS)], "two.mp4"),
    ],
)
def test_an_unfinished_film_comes_first_then_a_new_one_then_the_oldest(uploads: Any, expected: str) -> None:
    assert choose_film(FILMS, uploads).name == expected


def test_the_same_part_has_the_same_bytes_at_every_start() -> None:
    film = Film("film.mp4", 25)
    assert [len(part_of(film, number, 10)) for number in (1, 2, 3)] == [10, 10, 5]
    first, sums = part_of(film, 1, 10), {sum_of(part_of(film, number, 10)) for number in (1, 2, 3)}
    integrator._noise.cache_clear()
    assert part_of(film, 1, 10) == first
    assert len(sums) == 3


def test_the_films_have_valid_names_and_the_parts_that_the_portal_plans() -> None:
    for film in films_to_upload():
        content_name(f"{film.name}.tgz")
        assert plan_parts(film.size).part_size == PART
        assert 60 < film.size / UPLINK < 120, "seconds to watch it"


@pytest.mark.django_db
def test_each_start_has_a_new_token_and_one_draft() -> None:
    airline = Airline.objects.create(name=DRAFT.airline)
    first, second = prepare_integrator(DRAFT), prepare_integrator(DRAFT)
    assert first != second
    user = User.objects.get(username=INTEGRATOR)
    assert not user.has_usable_password()
    assert (Membership.objects.get().role, Membership.objects.get().airline) == (Role.MANAGER, airline)
    token = Token.objects.get(user=user)
    assert (token.may_write, token.airline) == (True, airline)
    assert Draft.objects.get().title == DRAFT.title


class Answers(BaseHTTPRequestHandler):
    """Answers with the statuses of `statuses` in turn, then with 200."""

    statuses: list[int] = []
    bodies: list[bytes] = []

    def do_PUT(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(b"")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        address = f"http://{self.headers['Host']}/store"
        signed = f'{{"parts": [{{"number": 1, "url": "{address}", "method": "PUT", "headers": {{}}}}]}}'
        self._answer(signed.encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(self.statuses.pop(0) if self.statuses else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@contextmanager
def served(*statuses: int) -> Iterator[str]:
    Answers.statuses, Answers.bodies = list(statuses), []
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integrator, "PAUSE", 0.01)


def test_a_part_is_sent_again_after_an_error_of_the_store_or_the_portal(quick: None) -> None:
    # Signed, refused by the store, not signed, signed again, accepted.
    with served(200, 503, 503, 200, 200) as address:
        PortalClient(address, "token", threading.Event(), 1e9).send("id", 1, b"part")
    assert Answers.bodies == [b"part", b"part"]


def test_a_rejected_request_is_not_repeated(quick: None) -> None:
    with served(409) as address, pytest.raises(Rejected, match="409"):
        PortalClient(address, "token", threading.Event(), 1e9).call("POST", body={})


def test_it_stops_in_the_middle_of_a_part() -> None:
    stop = threading.Event()
    with served() as address:
        client = PortalClient(address, "token", stop, rate=integrator.BLOCK)
        timer = threading.Timer(0.1, stop.set)
        timer.start()
        with pytest.raises(Stopped):
            client.send("id", 1, bytes(600 * integrator.BLOCK))
        timer.join()
