"""UserLimits: how many requests of one user run at a time, and who is one user."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from ifeportal.api.authentication import TokenAuthentication
from ifeportal.web import user_limits
from ifeportal.web.user_limits import MAX_RUNNING, MAX_WAITING, USER_KEY, AuthenticatedBy, UserLimits
from tests.conftest import Cast
from tests.support.asgi_client import open_exchange

Event = Mapping[str, Any]
START = {"type": "http.response.start", "status": 200, "headers": []}
SESSION, TOKEN = "sessionid=s{}", "Bearer ife_{}"


class Page:
    """A page that responds when `ready` is set, and counts the requests that run at the same time."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.running = self.most = 0
        self.user: AuthenticatedBy | None = None
        self.streams = False
        self.front = UserLimits(self.application)

    async def application(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await send(START)
            if self.streams:
                await send({"type": "http.response.body", "body": b"a part", "more_body": True})
            await self.ready.wait()
            await send({"type": "http.response.body", "body": b""})
        finally:
            self.running -= 1
        if self.user is not None:
            scope[USER_KEY] = self.user

    async def get(self, session: str = "", token: str = "", path: str = "/attention/") -> tuple[int, bytes]:
        headers = [(b"cookie", session.encode())] if session else []
        headers += [(b"authorization", token.encode())] if token else []
        sent: list[Event] = []

        async def send(event: Event) -> None:
            sent.append(event)

        await self.front({"type": "http", "path": path, "headers": headers}, None, send)  # type: ignore[arg-type]
        return sent[0]["status"], b"".join(event.get("body", b"") for event in sent)

    async def begin(self, count: int, **how: str) -> list[asyncio.Task[tuple[int, bytes]]]:
        """Start requests and let each run as far as it can."""
        tasks = [asyncio.create_task(self.get(**how)) for _ in range(count)]
        for _ in range(10):
            await asyncio.sleep(0)
        return tasks


async def test_twenty_costly_pages_of_one_user_run_a_few_at_a_time_and_delay_no_other_user() -> None:
    page = Page()
    mine = await page.begin(20, session=SESSION.format(1))
    assert page.running == MAX_RUNNING
    others = [*await page.begin(1), *await page.begin(1, session=SESSION.format(2))]
    assert page.running == MAX_RUNNING + 2, "a visitor without a session, and another user"
    page.ready.set()
    assert [status for status, _ in await asyncio.gather(*mine, *others)] == [200] * 22
    assert page.most == MAX_RUNNING + 2
    assert not page.front._shares, "nothing is remembered about who is not here"


@pytest.mark.parametrize("path", ["/attention/", "/api/v1/loads/"])
async def test_more_than_can_wait_are_refused_with_a_sentence(path: str) -> None:
    page = Page()
    waiting = await page.begin(MAX_RUNNING + MAX_WAITING, session=SESSION.format(1))
    status, body = await page.get(session=SESSION.format(1), path=path)
    assert status == 429
    assert b"too many requests running" in body
    assert (b"urn:problem-type:ifeportal:too-many-requests" in body) == path.startswith("/api/")
    page.ready.set()
    assert {status for status, _ in await asyncio.gather(*waiting)} == {200}


async def test_a_request_that_waits_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_limits, "WAIT_TIMEOUT", 0.01)
    page = Page()
    running = await page.begin(MAX_RUNNING, session=SESSION.format(1))
    assert (await page.get(session=SESSION.format(1)))[0] == 429
    page.ready.set()
    await asyncio.gather(*running)


async def test_sessions_and_tokens_of_one_user_are_counted_together() -> None:
    page = Page()
    page.ready.set()
    for by_token, how in ((False, {"session": SESSION.format(1)}), (True, {"token": TOKEN.format(1)})):
        page.user = AuthenticatedBy(7, by_token=by_token)
        await page.get(**how)
    page.ready.clear()
    mine = [*await page.begin(3, session=SESSION.format(1)), *await page.begin(3, token=TOKEN.format(1))]
    assert page.running == MAX_RUNNING
    page.ready.set()
    await asyncio.gather(*mine)


@pytest.mark.parametrize(
    ("by_token", "known"), [(False, {"session": SESSION.format(1)}), (True, {"token": TOKEN.format(1)})]
)
async def test_an_invented_credential_beside_a_valid_one_gives_no_further_share(
    by_token: bool, known: dict[str, str]
) -> None:
    page = Page()
    page.ready.set()
    page.user = AuthenticatedBy(7, by_token=by_token)
    await page.get(**known)
    page.ready.clear()
    other = "session" if by_token else "token"
    mine = [await page.begin(1, **known, **{other: f"sessionid={number}"}) for number in range(10)]
    assert page.running == MAX_RUNNING
    page.ready.set()
    await asyncio.gather(*(task for tasks in mine for task in tasks))


async def test_a_download_has_its_own_limit_and_gives_its_turn_back() -> None:
    page = Page()
    page.streams = True
    downloads = await page.begin(MAX_RUNNING + 3, session=SESSION.format(1))
    assert page.running == MAX_RUNNING + 3
    page.ready.set()
    await asyncio.gather(*downloads)


async def test_a_request_that_fails_or_is_given_up_frees_its_place() -> None:
    page = Page()
    mine = await page.begin(MAX_RUNNING + 2, session=SESSION.format(1))
    for task in (mine[0], mine[-1]):  # one runs, one waits
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert page.running == MAX_RUNNING
    page.ready.set()
    await asyncio.gather(*mine[1:-1])
    assert not page.front._shares


@pytest.mark.parametrize("path", user_limits.UNLIMITED_PATHS)
async def test_health_checks_never_wait(path: str) -> None:
    page = Page()
    many = await page.begin(MAX_RUNNING + 2, session=SESSION.format(1), path=path)
    assert page.running == MAX_RUNNING + 2
    page.ready.set()
    await asyncio.gather(*many)


@pytest.mark.django_db(transaction=True)
async def test_requests_are_counted_for_the_user_of_the_session_or_token(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[tuple[bool, int]] = []
    monkeypatch.setattr(UserLimits, "_remember", lambda self, credential, user: known.append((bool(credential), user)))
    async with open_exchange("/freshness/", cast.alice) as page:
        assert await page.read_status() == 200
    monkeypatch.setattr(TokenAuthentication, "authenticate", lambda self, request: (cast.bob, SimpleNamespace(pk=1)))
    async with open_exchange("/api/v1/", headers={"authorization": TOKEN.format(1)}) as api:
        assert await api.read_status() == 200
    async with open_exchange("/login/") as anonymous:
        assert await anonymous.read_status() == 200
    assert known == [(True, cast.alice.pk), (True, cast.bob.pk)]
