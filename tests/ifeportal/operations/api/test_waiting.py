"""Long polls and event streams of one operation, through the complete ASGI application."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import override_settings

from ifeportal.api import changes_stream
from ifeportal.live.connections import in_thread, open_sockets
from ifeportal.models import Membership
from ifeportal.operations.models import Operation
from tests.conftest import Cast
from tests.support.api_fleet import ClientOf
from tests.support.asgi_client import AsgiExchange, open_exchange
from tests.support.operation_rows import MEBIBYTE, create_operation, tell

pytestmark = pytest.mark.django_db(transaction=True)


def path_of(row: Operation, end: str = "") -> str:
    return f"/api/v1/operations/{row.uuid}/{end}"


async def create(cast: Cast, **columns: Any) -> Operation:
    return await in_thread(lambda: create_operation(cast.acme, cast.mona, **columns))


async def change(row: Operation, **columns: Any) -> int:
    return await in_thread(lambda: tell(row, **columns))


async def waits(exchange: AsgiExchange) -> None:
    """Return once the request has subscribed to the feed."""
    while not open_sockets:
        await in_thread(lambda: None)


async def events_until_end(exchange: AsgiExchange) -> list[tuple[str, Any]]:
    """Return the rest of a stream: kinds of events and their data."""
    while await exchange.part() is not None:
        pass
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in exchange.text.split("\n\n")]
    return [(fields["event"], json.loads(fields["data"])) for fields in blocks if "event" in fields]


# Long polls


async def test_a_request_that_waits_is_answered_when_the_operation_changes(cast: Cast) -> None:
    row = await create(cast)
    async with open_exchange(path_of(row), cast.alice, wait=60) as exchange:
        await waits(exchange)
        await change(row, bytes_done=50 * MEBIBYTE)
        assert await exchange.read_status() == 200
        assert (await exchange.read_json())["percent"] == 50
        assert exchange.headers["etag"]


async def test_another_operation_does_not_end_the_wait(cast: Cast) -> None:
    row, other = await create(cast), await create(cast)
    async with open_exchange(path_of(row), cast.alice, wait=60) as exchange:
        await waits(exchange)
        await change(other, bytes_done=1)
        await change(row, bytes_done=60 * MEBIBYTE)
        assert await exchange.read_status() == 200
        assert (await exchange.read_json())["percent"] == 60


async def test_with_a_status_the_wait_ends_only_when_that_changes(cast: Cast) -> None:
    row = await create(cast)
    async with open_exchange(path_of(row), cast.alice, wait=60, status="running") as exchange:
        await waits(exchange)
        await change(row, bytes_done=50 * MEBIBYTE)
        await change(row, state="failed", error_code="NETWORK")
        assert await exchange.read_status() == 200
        assert (await exchange.read_json())["state"] == "failed"


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ({"status": "queued"}, {}),
        ({"as_of": "2026-12-01T12:00:00Z"}, {}),
        ({}, {"if-none-match": 'W/"0"'}),
    ],
)
async def test_what_has_already_changed_is_returned_at_once(cast: Cast, query: Any, headers: Any) -> None:
    row = await create(cast)
    async with open_exchange(path_of(row), cast.alice, headers=headers, wait=60, **query) as exchange:
        assert await exchange.read_status() == 200
        assert (await exchange.read_json())["percent"] == 40


async def test_an_ended_operation_is_returned_at_once(cast: Cast) -> None:
    row = await create(cast, state="succeeded")
    async with open_exchange(path_of(row), cast.alice, wait=60) as exchange:
        assert await exchange.read_status() == 200
        assert (await exchange.read_json())["percent"] == 100


async def test_at_the_end_of_the_wait_the_operation_is_returned_as_it_is(cast: Cast, client_of: ClientOf) -> None:
    row = await create(cast)
    async with open_exchange(path_of(row), cast.alice, wait=1) as exchange:
        assert await exchange.read_status() == 200
        assert (await exchange.read_json())["percent"] == 40
        tag = exchange.headers["etag"]
    async with open_exchange(path_of(row), cast.alice, headers={"if-none-match": tag}, wait=1) as exchange:
        assert await exchange.read_status() == 304


@pytest.mark.parametrize("wait", ["0", "61", "x"])
async def test_a_wait_out_of_bounds_is_a_problem(cast: Cast, wait: str) -> None:
    row = await create(cast)
    async with open_exchange(path_of(row), cast.alice, wait=wait) as exchange:
        assert await exchange.read_status() == 400
        assert "wait" in (await exchange.read_json())["errors"]


async def test_a_request_that_waits_is_answered_when_access_is_lost(cast: Cast) -> None:
    row = await create(cast)
    async with open_exchange(path_of(row), cast.alice, wait=60) as exchange:
        await waits(exchange)
        await in_thread(Membership.objects.filter(user=cast.alice).delete)
        assert await exchange.read_status() == 404


# Event streams


async def test_a_stream_sends_the_state_each_change_and_the_end(cast: Cast) -> None:
    row = await create(cast)
    async with open_exchange(path_of(row, "events/"), cast.alice) as exchange:
        assert await exchange.read_status() == 200
        assert exchange.headers["content-type"] == "text/event-stream"
        first = await exchange.event()
        assert (first["event"], json.loads(first["data"])["percent"]) == ("state", 40)
        await change(row, bytes_done=50 * MEBIBYTE)
        second = await exchange.event()
        assert json.loads(second["data"])["percent"] == 50
        assert int(second["id"]) > int(first["id"])
        await change(row, state="succeeded", bytes_done=100 * MEBIBYTE)
        assert [(kind, data.get("percent")) for kind, data in await events_until_end(exchange)][-2:] == [
            ("state", 100),
            ("end", None),
        ]


async def test_the_stream_of_an_ended_operation_ends_at_once(cast: Cast) -> None:
    row = await create(cast, state="failed")
    async with open_exchange(path_of(row, "events/"), cast.alice) as exchange:
        await exchange.read_status()
        assert [kind for kind, _ in await events_until_end(exchange)] == ["state", "end"]


async def test_a_stream_resumes_after_the_last_event(cast: Cast) -> None:
    row = await create(cast)
    rev = await change(row, bytes_done=41 * MEBIBYTE)
    async with open_exchange(path_of(row, "events/"), cast.alice, headers={"last-event-id": str(rev)}) as exchange:
        await exchange.read_status()
        await waits(exchange)
        await change(row, bytes_done=42 * MEBIBYTE)
        assert json.loads((await exchange.event())["data"])["percent"] == 42
    async with open_exchange(path_of(row, "events/"), cast.alice, headers={"last-event-id": str(rev)}) as exchange:
        await exchange.read_status()
        assert json.loads((await exchange.event())["data"])["percent"] == 42
        await change(row, state="cancelled")
        assert [kind for kind, _ in await events_until_end(exchange)][-1] == "end"


async def test_a_client_that_has_everything_gets_only_the_end(cast: Cast) -> None:
    row = await create(cast)
    rev = await change(row, state="succeeded")
    async with open_exchange(path_of(row, "events/"), cast.alice, headers={"last-event-id": str(rev)}) as exchange:
        await exchange.read_status()
        assert [kind for kind, _ in await events_until_end(exchange)] == ["end"]


@pytest.mark.parametrize("last", ["x", "-1", "9" * 30])
async def test_an_impossible_last_event_id_is_a_problem(cast: Cast, last: str) -> None:
    row = await create(cast)
    async with open_exchange(path_of(row, "events/"), cast.alice, headers={"last-event-id": last}) as exchange:
        assert await exchange.read_status() == 400
        await exchange.read_json()


async def test_a_queued_operation_is_sent_with_its_position(cast: Cast) -> None:
    first, row = await create(cast, state="queued"), await create(cast, state="queued", bytes_done=0)
    async with open_exchange(path_of(row, "events/"), cast.alice) as exchange:
        await exchange.read_status()
        assert json.loads((await exchange.event())["data"])["position"] == 2
        await in_thread(Operation.objects.filter(pk=first.pk).update, state="running")
        await change(row, waiting_for="Waiting for space.")
        state = json.loads((await exchange.event())["data"])
        assert (state["position"], state["waiting_for"]) == (1, "Waiting for space.")


async def test_a_quiet_stream_sends_comments(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes_stream, "PING", 0.05)
    row = await create(cast)
    async with open_exchange(path_of(row, "events/"), cast.alice) as exchange:
        await exchange.read_status()
        while not (await exchange.part() or "").startswith(":"):
            pass


@override_settings(LIVE_SOCKETS_PER_USER=1)
async def test_a_user_has_a_limited_number_of_streams(cast: Cast) -> None:
    row = await create(cast)
    async with open_exchange(path_of(row, "events/"), cast.alice) as first:
        assert await first.read_status() == 200
        async with open_exchange(path_of(row, "events/"), cast.alice) as second:
            assert await second.read_status() == 429
            assert (await second.read_json())["instance"] == path_of(row, "events/")


async def test_a_process_has_a_limited_number_of_streams(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes_stream, "OPEN_LIMIT", 1)
    row = await create(cast)
    async with open_exchange(path_of(row, "events/"), cast.alice) as first:
        assert await first.read_status() == 200
        async with open_exchange(path_of(row), cast.olga, wait=60) as second:
            assert await second.read_status() == 503
            assert second.headers["retry-after"]
            await second.read_json()


async def test_a_stream_ends_when_access_is_lost(cast: Cast) -> None:
    row = await create(cast)
    async with open_exchange(path_of(row, "events/"), cast.alice) as exchange:
        await exchange.read_status()
        await exchange.event()
        await in_thread(Membership.objects.filter(user=cast.alice).delete)
        assert "end" not in [kind for kind, _ in await events_until_end(exchange)]


def test_without_the_asgi_application_the_stream_has_the_state_only(cast: Cast, client_of: ClientOf) -> None:
    row = create_operation(cast.acme)
    answer = client_of(cast.alice).get(path_of(row, "events/"), headers={"accept": "text/event-stream"})
    assert answer["Content-Type"] == "text/event-stream"
    assert answer.content.decode().startswith("id: 0\nevent: state\ndata: {")
