"""DatabaseTimeout: which requests get a 503, and which continue."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from ifeportal.web import database_timeout
from ifeportal.web.database_timeout import DatabaseTimeout

Event = Mapping[str, Any]
START = {"type": "http.response.start", "status": 200, "headers": []}
END = {"type": "http.response.body", "body": b"whole"}


class Page:
    """A page that responds on command, and counts the probes of the database until then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, answers: bool) -> None:
        self.ready, self.ended = asyncio.Event(), asyncio.Event()
        self.sent: list[Event] = []
        self.asked = 0
        self.begins_at_once = False

        def ask() -> bool:
            self.asked += 1
            return answers

        monkeypatch.setattr(database_timeout, "_probe", ask)
        monkeypatch.setattr(database_timeout, "RESPONSE_TIMEOUT", 0.01)
        monkeypatch.setattr(database_timeout, "PROBE_TIMEOUT", 60.0)
        self.front = DatabaseTimeout(self.application)

    async def application(
        self, scope: dict[str, Any], receive: Callable[[], Awaitable[Event]], send: Callable[[Event], Awaitable[None]]
    ) -> None:
        try:
            if self.begins_at_once:
                await send(START)
            await self.ready.wait()
            if not self.begins_at_once:
                await send(START)
            await send(END)
        finally:
            self.ended.set()

    async def get(self, path: str = "/") -> None:
        async def receive() -> Event:
            return {"type": "http.request"}

        async def send(event: Event) -> None:
            self.sent.append(event)

        await self.front({"type": "http", "path": path}, receive, send)

    async def get_and_wait_until_asked(self, times: int, path: str = "/") -> None:
        """Request the page; it responds after this number of probes."""
        request = asyncio.ensure_future(self.get(path))
        while self.asked < times:
            await asyncio.sleep(0.005)
        self.ready.set()
        await request


async def test_a_slow_page_is_served_as_long_as_the_database_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(monkeypatch, answers=True)
    await page.get_and_wait_until_asked(3)
    assert page.sent == [START, END]


async def test_a_page_that_waits_for_a_lost_database_is_answered_with_503(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(monkeypatch, answers=False)
    await page.get()
    start, body = page.sent
    assert start["status"] == 503
    assert {b"retry-after", b"cache-control", b"content-security-policy"} <= {name for name, _ in start["headers"]}
    assert b"Temporarily unavailable" in body["body"]
    await page.ended.wait()  # cancelled, and its messages are dropped
    assert len(page.sent) == 2


async def test_a_program_gets_problem_details(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(monkeypatch, answers=False)
    await page.get("/api/v1/tails/")
    assert (b"content-type", b"application/problem+json") in page.sent[0]["headers"]


@pytest.mark.parametrize("path", database_timeout.EXCLUDED_PATHS)
async def test_responses_about_an_outage_are_not_changed(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    page = Page(monkeypatch, answers=False)
    page.ready.set()
    await page.get(path)
    assert (page.sent, page.asked) == ([START, END], 0)


async def test_an_answer_that_has_begun_is_never_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(monkeypatch, answers=False)
    page.begins_at_once = True
    request = asyncio.ensure_future(page.get())
    while not page.sent:
        await asyncio.sleep(0)
    page.ready.set()
    await request
    assert page.sent == [START, END]


async def test_a_failed_page_is_logged_on_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise KeyError("a fault of ours")

    page = Page(monkeypatch, answers=True)
    page.front = DatabaseTimeout(broken)
    with pytest.raises(KeyError):
        await page.get()


async def test_many_that_wait_ask_the_database_once(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(monkeypatch, answers=True)
    asked: list[int] = []
    go_on = threading.Event()

    def ask() -> bool:
        asked.append(1)
        return go_on.wait(60)

    monkeypatch.setattr(database_timeout, "_probe", ask)
    requests = [asyncio.ensure_future(page.get()) for _ in range(30)]
    while not asked:
        await asyncio.sleep(0.005)
    for _ in range(30):  # all other requests have timed out, too
        await asyncio.sleep(0.005)
    assert len(asked) == 1
    page.ready.set()
    go_on.set()
    await asyncio.gather(*requests)
    assert page.sent.count(END) == 30
