"""The live socket from the browser's side: the newest state, missed changes, and reloads."""

from __future__ import annotations

import asyncio
import time

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from ifeportal.live import feed_query, reader, subscription
from ifeportal.live.connections import in_thread, open_sockets
from ifeportal.live.feed_query import changes_after
from ifeportal.live.models import Change, Counter
from ifeportal.live.reader import FeedReader
from ifeportal.live.subscription import PendingChange
from ifeportal.wakeups import CHANGES
from tests.conftest import Cast
from tests.support.live_sockets import PATIENCE, open_socket, publish_now, publish_now_async

pytestmark = pytest.mark.django_db(transaction=True)


async def read_by_the_reader(rev: int) -> None:
    """Wait until everything up to this revision has been offered to the sockets."""
    began = time.monotonic()
    while FeedReader.current().rev < rev:
        assert time.monotonic() - began < PATIENCE
        await asyncio.sleep(0.02)


def listening(channel: str) -> bool:
    """Wait until another connection listens to the channel."""
    began = time.monotonic()
    with connection.cursor() as cursor:
        while time.monotonic() - began < PATIENCE:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE query = %s", [f"LISTEN {channel}"])
            if cursor.fetchone()[0]:
                return True
            time.sleep(0.01)
    return False


async def test_a_change_published_after_the_page_reaches_the_socket(cast: Cast) -> None:
    async with open_socket(cast.alice) as socket:
        assert await socket.watch(airline="ACME", rev=0) == {"rev": 0, "changes": []}
        rev = await publish_now_async(cast.acme, 7, tail="N1", percent=40)
        message = await socket.read()
    assert message == {
        "rev": rev,
        "changes": [{"topic": "load", "object": 7, "op": "put", "state": {"percent": 40}}],
    }


async def test_a_reconnected_browser_gets_only_the_newest_state_of_missed_changes(cast: Cast) -> None:
    revision = await publish_now_async(cast.acme, 1, percent=1)
    for percent in (2, 3, 4):
        await publish_now_async(cast.acme, 2, percent=percent)
    last = await publish_now_async(cast.acme, 3, op="delete")
    async with open_socket(cast.alice) as socket:
        message = await socket.watch(airline="ACME", rev=revision)
    assert message["rev"] == last
    assert [(change["object"], change["op"], change["state"]) for change in message["changes"]] == [
        (2, "put", {"percent": 4}),
        (3, "delete", {}),
    ]


async def test_a_browser_that_names_no_revision_hears_only_what_comes(cast: Cast) -> None:
    rev = await publish_now_async(cast.acme, 1, percent=1)
    async with open_socket(cast.alice) as socket:
        assert await socket.watch(airline="ACME") == {"rev": rev, "changes": []}


async def test_changes_of_other_tails_campaigns_and_topics_are_not_sent(cast: Cast) -> None:
    async with open_socket(cast.alice) as socket:
        await socket.watch(airline="ACME", tail="N1", campaign="2026-12", topics=["load"], rev=0)
        await publish_now_async(cast.acme, 1, tail="N2", campaign="2026-12")
        await publish_now_async(cast.acme, 2, tail="N1", campaign="2026-11")
        await publish_now_async(cast.acme, 3, tail="N1", campaign="2026-12", topic="transfer")
        await publish_now_async(cast.acme, 4, tail="N1", campaign="2026-12")
        assert [change["object"] for change in await socket.changes()] == [4]


async def test_missed_changes_are_scoped_like_live_ones(cast: Cast) -> None:
    await publish_now_async(cast.acme, 1, tail="N2", campaign="2026-12")
    await publish_now_async(cast.acme, 3, tail="N1", campaign="2026-12", topic="transfer")
    await publish_now_async(cast.acme, 4, tail="N1", campaign="2026-12")
    async with open_socket(cast.alice) as socket:
        message = await socket.watch(airline="ACME", tail="N1", campaign="2026-12", topics=["load"], rev=0)
    assert [change["object"] for change in message["changes"]] == [4]


async def test_a_socket_may_change_what_it_watches(cast: Cast) -> None:
    async with open_socket(cast.alice) as socket:
        await socket.watch(airline="ACME", tail="N1", rev=0)
        await socket.watch(airline="ACME", tail="N2", rev=0)
        await publish_now_async(cast.acme, 1, tail="N1")
        await publish_now_async(cast.acme, 2, tail="N2")
        assert [change["object"] for change in await socket.changes()] == [2]


async def test_too_many_missed_changes_mean_reload(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_query, "PENDING_LIMIT", 3)
    for number in range(4):
        await publish_now_async(cast.acme, number)
    async with open_socket(cast.alice) as socket:
        assert await socket.watch(airline="ACME", rev=0) == {"reload": True}


async def test_a_page_from_an_earlier_database_must_reload(cast: Cast) -> None:
    async with open_socket(cast.alice) as socket:
        assert await socket.watch(airline="ACME", rev=1000) == {"reload": True}


async def test_a_large_backlog_comes_in_bounded_messages_that_never_claim_too_much(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "BATCH_LIMIT", 2)
    revs = [await publish_now_async(cast.acme, number) for number in range(5)]
    async with open_socket(cast.alice) as socket:
        messages = [await socket.watch(airline="ACME", rev=0), await socket.read(), await socket.read()]
    assert [len(message["changes"]) for message in messages] == [2, 2, 1]
    assert [message["rev"] for message in messages] == [revs[1], revs[3], revs[4]]


async def test_a_browser_that_does_not_acknowledge_gets_only_the_newest_once_it_does(cast: Cast) -> None:
    async with open_socket(cast.alice) as socket:
        welcome = await socket.watch(airline="ACME", rev=0, acks=True)
        sent = [welcome["rev"]]
        for percent in range(3):
            await publish_now_async(cast.acme, 1, percent=percent)
            sent.append((await socket.read())["rev"])
        for percent in range(50, 60):
            newest = await publish_now_async(cast.acme, 1, percent=percent)
        await read_by_the_reader(newest)
        assert await socket.is_quiet(reader.TICK)
        await socket.say(ack=sent[-1])
        assert [change["state"] for change in await socket.changes()] == [{"percent": 59}]


async def test_a_slow_browser_is_asked_to_reload_and_nothing_grows(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "PENDING_LIMIT", 3)
    async with open_socket(cast.alice) as socket:
        await socket.watch(airline="ACME", rev=0, acks=True)
        for number in range(3):
            await publish_now_async(cast.acme, number)
            await socket.read()
        for number in range(10):
            newest = await publish_now_async(cast.acme, number)
        await read_by_the_reader(newest)
        assert await socket.is_quiet(reader.TICK)
        await socket.say(ack=2**40)
        assert await socket.read() == {"reload": True}


async def test_a_browser_that_never_acknowledges_is_dropped(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ifeportal.live.sockets.outbox.ACK_TIMEOUT", 0.0)
    async with open_socket(cast.alice) as socket:
        await socket.watch(airline="ACME", rev=0, acks=True)
        await publish_now_async(cast.acme, 1)
        assert "error" in await socket.read()
        assert await socket.read() == {"closed": 4408}


async def test_a_quiet_socket_gets_a_sign_of_life(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ifeportal.live.sockets.consumer.PING", 0.1)
    rev = await publish_now_async(cast.acme, 1)
    async with open_socket(cast.alice) as socket:
        await socket.watch(airline="ACME", rev=rev)
        assert await socket.read() == {"rev": rev}


async def test_many_sockets_cost_one_query_a_tick_and_the_last_one_ends_the_task(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []

    def counted(rev: int) -> list[PendingChange]:
        reads.append(rev)
        return changes_after(rev)

    monkeypatch.setattr(reader, "changes_after", counted)
    sockets = [open_socket(cast.olga) for _ in range(12)]
    opened = [await socket.__aenter__() for socket in sockets]
    for socket in opened:
        await socket.watch(rev=0)
    before, began = len(reads), time.monotonic()
    while len(reads) < before + 4:
        await asyncio.sleep(reader.TICK)
        assert time.monotonic() - began < PATIENCE
    assert len(reads) - before <= (time.monotonic() - began) / reader.TICK + 1
    assert len(FeedReader.current()) == 12
    for context in sockets:
        await context.__aexit__(None, None, None)
    assert len(FeedReader.current()) == 0
    assert not open_sockets
    ended = len(reads)
    await asyncio.sleep(3 * reader.TICK)
    assert len(reads) == ended


async def test_a_published_change_wakes_the_reader(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL wakes readers")
    monkeypatch.setattr(reader, "TICK", 10 * PATIENCE)
    async with open_socket(cast.alice) as socket:
        await socket.watch(airline="ACME", rev=0)
        assert await in_thread(listening, CHANGES)
        await publish_now_async(cast.acme, 1, percent=5)
        assert [change["state"] for change in await socket.changes()] == [{"percent": 5}]
    await publish_now_async(cast.acme, 2)  # ends the wait of its thread


async def test_the_reader_outlives_a_database_that_is_away(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [OperationalError("server closed the connection"), OperationalError("connection refused")]

    def flaky(rev: int) -> list[PendingChange]:
        if failures:
            raise failures.pop()
        return changes_after(rev)

    monkeypatch.setattr(reader, "changes_after", flaky)
    async with open_socket(cast.alice) as socket:
        await socket.watch(airline="ACME", rev=0)
        await publish_now_async(cast.acme, 1, percent=5)
        assert [change["state"] for change in await socket.changes()] == [{"percent": 5}]
    assert failures == []


async def test_a_restored_database_makes_pages_reload(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [OperationalError("terminating connection")]

    def flaky(rev: int) -> list[PendingChange]:
        if failures:
            Change.objects.all().delete()
            Counter.objects.update(rev=0)
            raise failures.pop()
        return changes_after(rev)

    rev = await publish_now_async(cast.acme, 1)
    async with open_socket(cast.alice) as socket:
        await socket.watch(airline="ACME", rev=rev)
        monkeypatch.setattr(reader, "changes_after", flaky)
        assert await socket.read() == {"reload": True}


async def test_a_reader_that_breaks_closes_its_sockets_so_that_browsers_come_again(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(rev: int) -> list[PendingChange]:
        raise KeyError("a fault of ours")

    async with open_socket(cast.alice) as socket:
        await socket.watch(airline="ACME", rev=0)
        monkeypatch.setattr(reader, "changes_after", broken)
        assert "error" in await socket.read()
        assert await socket.read() == {"closed": 1013}
        monkeypatch.undo()
    async with open_socket(cast.alice) as socket:
        await socket.watch(airline="ACME", rev=0)
        await publish_now_async(cast.acme, 1)
        assert len(await socket.changes()) == 1


def test_a_revision_is_never_split_between_two_reads(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_query, "READ_LIMIT", 3)
    first = publish_now(cast.acme, 1)
    for number in range(2, 6):
        publish_now(cast.acme, number)
    Change.objects.filter(object__gte=2).update(rev=first + 1)
    read = changes_after(0)
    assert [news.change.object for news in read] == [1]
    assert {news.change.object for news in changes_after(read[-1].change.rev)} == {2, 3, 4, 5}


def test_reading_new_changes_takes_one_query(cast: Cast) -> None:
    for number in range(5):
        publish_now(cast.acme, number)
    with CaptureQueriesContext(connection) as queries:
        changes_after(0)
    assert len(queries) == 1


async def test_many_writers_at_once_lose_nothing_on_the_way_to_a_socket(cast: Cast) -> None:
    async with open_socket(cast.alice) as socket:
        await socket.watch(airline="ACME", rev=0)
        await asyncio.gather(*(publish_now_async(cast.acme, number) for number in range(40)))
        received: set[int] = set()
        while len(received) < 40:
            received |= {change["object"] for change in await socket.changes()}
    assert received == set(range(40))
