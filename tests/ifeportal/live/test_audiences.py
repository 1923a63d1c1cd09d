"""Changes for a role or for one user reach only them, over the socket, the long poll and the stream."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from ifeportal.access import Role
from ifeportal.accounts.tokens import create_token
from ifeportal.api import changes_stream
from ifeportal.live.connections import in_thread
from ifeportal.live.feed import FeedChange, current_rev, publish
from ifeportal.live.feed_query import changes_after
from ifeportal.live.models import Change
from ifeportal.live.reader import FeedReader
from ifeportal.live.sockets import consumer
from ifeportal.models import Airline, Membership, User
from tests.conftest import Cast
from tests.support.asgi_client import open_exchange
from tests.support.live_sockets import open_socket, publish_now, publish_now_async

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("gates")]
PATH = "/api/v1/changes/"
STREAM = {"accept": "text/event-stream"}
WAYS = ["open socket", "socket that comes back", "list", "long poll", "open stream", "stream that comes back"]
LAST = 99  # object of the last change, which every user receives

Publish = Callable[[], Any]
ReceivedChanges = dict[int, tuple[str, Any]]


async def changes_received_by(user: User, way: str, publish_all: Publish, **watch: str) -> ReceivedChanges:
    """Return what the user receives of the published changes: objects with the operation and the state."""
    since = await in_thread(current_rev)
    follow = {"open socket": _open_socket, "long poll": _long_poll, "open stream": _open_stream}
    if way in follow:
        changes = await follow[way](user, since, publish_all, watch)
    else:
        await in_thread(publish_all)
        changes = await _afterwards(user, way, since, watch)
    return {change["object"]: (change["op"], change["state"]) for change in changes if change["object"] != LAST}


async def _open_socket(user: User, since: int, publish_all: Publish, watch: Any) -> list[Any]:
    async with open_socket(user) as socket:
        await socket.watch(rev=since, **watch)
        await in_thread(publish_all)
        changes: list[Any] = []
        while not any(change["object"] == LAST for change in changes):
            changes += await socket.changes()
        return changes


async def _long_poll(user: User, since: int, publish_all: Publish, watch: Any) -> list[Any]:
    changes: list[Any] = []
    while not any(change["object"] == LAST for change in changes):
        async with open_exchange(PATH, user, since=since, wait=30, **watch) as wire:
            while not changes and since and not len(FeedReader.current()):
                await in_thread(int)
            if not changes:
                await in_thread(publish_all)
            assert await wire.read_status() == 200
            answer = await wire.read_json()
        changes, since = changes + answer["changes"], answer["rev"]
    return changes


async def _open_stream(user: User, since: int, publish_all: Publish, watch: Any) -> list[Any]:
    async with open_exchange(PATH, user, headers=STREAM, since=since, **watch) as wire:
        await wire.read_status()
        changes: list[Any] = json.loads((await wire.event())["data"])["changes"]
        await in_thread(publish_all)
        while not any(change["object"] == LAST for change in changes):
            changes += json.loads((await wire.event())["data"])["changes"]
        return changes


async def _afterwards(user: User, way: str, since: int, watch: Any) -> list[Any]:
    if way == "socket that comes back":
        async with open_socket(user) as socket:
            return list((await socket.watch(rev=since, **watch))["changes"])
    headers = STREAM if way.startswith("stream") else {}
    async with open_exchange(PATH, user, headers=headers, since=since, **watch) as wire:
        assert await wire.read_status() == 200
        answer = json.loads((await wire.event())["data"]) if headers else await wire.read_json()
        return list(answer["changes"])


def publish_one(airline: Airline, number: int, **fields: Any) -> Publish:
    """Publish one change of a gate, and the last one."""

    def both() -> None:
        publish_now(airline, number, topic="gate", **fields)
        publish_now(airline, LAST)

    return both


@pytest.mark.parametrize("way", WAYS)
async def test_each_user_receives_only_their_own_changes(cast: Cast, way: str) -> None:
    def publish_all() -> None:
        with transaction.atomic():
            publish(
                [
                    FeedChange("gate", 1, cast.acme.pk, min_role=Role.OPERATOR),
                    FeedChange("gate", 2, cast.acme.pk, min_role=Role.MANAGER),
                    FeedChange("gate", 3, cast.acme.pk, user_id=cast.alice.pk),
                    FeedChange("gate", 4, cast.acme.pk, user_id=cast.bob.pk),
                    FeedChange("ticket", 5, None, user_id=cast.otto.pk),
                    FeedChange("ticket", 6, None, user_id=cast.ada.pk),
                    FeedChange("gate", 7, cast.acme.pk, min_role=Role.VIEWER),
                    FeedChange("load", LAST, cast.acme.pk),
                    FeedChange("airline", LAST, cast.beta.pk),
                ]
            )

    expected = {
        **{cast.alice: {3, 7}, cast.otto: {1, 5, 7}, cast.mona: {1, 2, 7}, cast.bob: set(), cast.bruno: set()},
        **{cast.olga: {1, 2, 7}, cast.ada: {1, 2, 6, 7}},
    }
    await publish_now_async(cast.acme, LAST)
    received = {user: set(await changes_received_by(user, way, publish_all)) for user in expected}
    assert received == expected


@pytest.mark.parametrize("way", WAYS)
async def test_a_page_of_one_airline_and_tail_hears_personal_changes_too(cast: Cast, way: str) -> None:
    def publish_all() -> None:
        publish_now(None, 1, topic="ticket", user_id=cast.otto.pk)
        publish_now(None, 2, topic="ticket", user_id=cast.alice.pk)
        publish_now(cast.acme, 3, topic="gate", min_role="operator")  # without a tail
        publish_now(cast.acme, LAST, tail="N1")

    await publish_now_async(cast.acme, LAST)
    assert set(await changes_received_by(cast.otto, way, publish_all, airline="ACME", tail="N1")) == {1}


@pytest.mark.parametrize("way", WAYS)
async def test_users_who_lose_access_to_an_object_receive_its_deletion(cast: Cast, way: str) -> None:
    await publish_now_async(cast.acme, 1, topic="gate", code="0000")
    operators = publish_one(cast.acme, 1, code="1234", min_role="operator")
    assert await changes_received_by(cast.alice, way, operators) == {1: ("delete", {})}
    assert await changes_received_by(cast.otto, way, operators) == {1: ("put", {"code": "1234"})}
    managers = publish_one(cast.acme, 1, code="5678", min_role="manager")
    assert await changes_received_by(cast.otto, way, managers) == {1: ("delete", {})}
    assert await changes_received_by(cast.olga, way, managers) == {1: ("put", {"code": "5678"})}
    publish_to_all = publish_one(cast.acme, 1, code="")
    assert await changes_received_by(cast.alice, way, publish_to_all) == {1: ("put", {"code": ""})}


@pytest.mark.parametrize("way", WAYS)
async def test_users_who_never_saw_an_object_receive_no_deletion(cast: Cast, way: str) -> None:
    await publish_now_async(cast.acme, 1, topic="gate", min_role="operator")
    managers = publish_one(cast.acme, 1, min_role="manager")
    assert await changes_received_by(cast.alice, way, managers) == {}
    assert await changes_received_by(cast.otto, way, managers) == {1: ("delete", {})}


@pytest.mark.parametrize("way", WAYS)
async def test_an_object_that_becomes_personal_is_deleted_for_other_users(cast: Cast, way: str) -> None:
    await publish_now_async(cast.acme, 1, topic="gate")
    personal = publish_one(cast.acme, 1, user_id=cast.alice.pk)
    assert await changes_received_by(cast.alice, way, personal) == {1: ("put", {})}
    for other in (cast.mona, cast.ada):
        assert await changes_received_by(other, way, personal) == {1: ("delete", {})}


def test_an_object_of_one_user_does_not_become_anothers(cast: Cast) -> None:
    publish_now(None, 1, topic="ticket", user_id=cast.alice.pk)
    publish_now(None, 1, topic="ticket", user_id=cast.alice.pk)
    with pytest.raises(ValueError, match="another user"):
        publish_now(None, 1, topic="ticket", user_id=cast.otto.pk)


async def test_with_a_lower_role_an_open_socket_hears_less_at_once(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "REAUTHORISE", 3600.0)
    async with open_socket(cast.mona) as socket:
        await socket.watch(rev=await in_thread(current_rev))
        await publish_now_async(cast.acme, 1, topic="gate", min_role="manager")
        assert await socket.changes()
        await in_thread(Membership.objects.filter(user=cast.mona).update, role=Role.OPERATOR)
        assert await socket.read() == {"reload": True}
        await publish_now_async(cast.acme, 2, topic="gate", min_role="manager")
        await publish_now_async(cast.acme, 3, topic="gate", min_role="operator")
        assert [change["object"] for change in await socket.changes()] == [3]


async def test_with_a_higher_role_an_open_socket_hears_more(cast: Cast) -> None:
    async with open_socket(cast.alice) as socket:
        await socket.watch(rev=0)
        await in_thread(Membership.objects.filter(user=cast.alice).update, role=Role.OPERATOR)
        for number in range(100):
            await publish_now_async(cast.acme, number, topic="gate", min_role="operator")
            if not await socket.is_quiet(0.3):
                break
        assert await socket.changes()


async def test_with_a_lower_role_a_stream_ends(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes_stream, "REAUTHORISE", 0.05)
    async with open_exchange(PATH, cast.otto, headers=STREAM) as wire:
        await wire.read_status()
        await wire.event()
        await in_thread(Membership.objects.filter(user=cast.otto).update, role=Role.VIEWER)
        assert await wire.event() == {}


def test_a_token_that_reads_only_one_airline_hears_its_users_role_there_and_nothing_personal(
    cast: Cast,
) -> None:
    for airline, number in ((cast.acme, 1), (cast.beta, 2)):
        publish_now(airline, number, topic="gate", min_role="operator")
    publish_now(None, 3, topic="ticket", user_id=cast.otto.pk)
    publish_now(None, 4, topic="ticket", user_id=cast.olga.pk)
    for user in (cast.otto, cast.olga):
        _, key = create_token(user, "it", days=1, airline=cast.acme, may_write=False)
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
        answer = client.get(PATH, {"since": 0}).json()
        assert [change["object"] for change in answer["changes"]] == [1]


def test_rows_of_the_feed_are_visible_to_those_they_are_for(cast: Cast) -> None:
    publish_now(cast.acme, 1, topic="gate", min_role="operator")
    publish_now(cast.acme, 2, topic="gate")
    publish_now(None, 3, topic="ticket", user_id=cast.alice.pk)
    publish_now(cast.acme, 2, topic="gate", min_role="manager")

    def visible(user: User) -> set[int]:
        return set(Change.objects.visible_to(user).values_list("object", flat=True))

    assert {user.username: visible(user) for user in (cast.alice, cast.otto, cast.ada, cast.bob)} == {
        "alice": {3},
        "otto": {1},
        "ada": {1, 2},
        "bob": set(),
    }


@pytest.mark.parametrize(("min_role", "statements"), [("", 3), ("operator", 4)])
def test_only_what_is_scoped_costs_one_statement_more_to_publish(cast: Cast, min_role: str, statements: int) -> None:
    publish_now(cast.acme, 0, topic="gate")
    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        publish([FeedChange("gate", number, cast.acme.pk, min_role=min_role) for number in range(50)])
    assert len(queries) == statements


def test_reading_for_every_socket_takes_one_statement(cast: Cast) -> None:
    publish_now(cast.acme, 1, topic="gate", min_role="operator")
    publish_now(None, 2, topic="ticket", user_id=cast.alice.pk)
    with CaptureQueriesContext(connection) as queries:
        assert len(changes_after(0)) == 2
    assert len(queries) == 1
