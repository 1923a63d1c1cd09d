"""The changes endpoint: immediate responses, long polls and streams; access to changes, and the end of a stream."""

from __future__ import annotations

import json
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from django.contrib.sessions.models import Session
from django.db import OperationalError, transaction
from django.test import override_settings
from rest_framework.test import APIClient

from ifeportal.accounts.sessions.revocation import end_sessions
from ifeportal.accounts.sessions.store import SessionStore
from ifeportal.accounts.tokens import create_token
from ifeportal.api import changes, changes_stream
from ifeportal.live.connections import in_thread, open_sockets
from ifeportal.live.feed import FeedChange, publish
from ifeportal.live.models import Counter
from ifeportal.live.pruning import FORGOTTEN_COUNTER_ID
from ifeportal.live.reader import FeedReader
from ifeportal.live.sockets.revocation import RevocationWatcher
from ifeportal.models import Membership, Token, User
from tests.conftest import Cast
from tests.support.api_fleet import ClientOf
from tests.support.asgi_client import AsgiExchange, open_exchange
from tests.support.live_sockets import publish_now, publish_now_async, sign_in

pytestmark = pytest.mark.django_db(transaction=True)
PATH = "/api/v1/changes/"
STREAM = {"accept": "text/event-stream"}
GUARDS = {
    *("content-security-policy", "x-content-type-options", "x-frame-options"),
    *("cross-origin-opener-policy", "referrer-policy", "permissions-policy"),
}


def objects(answer: Any) -> list[int]:
    return [change["object"] for change in answer["changes"]]


async def response_body(exchange: AsgiExchange) -> Any:
    """Return the JSON of the next event of a stream."""
    return json.loads((await exchange.event())["data"])


# Immediate responses


def test_only_the_current_revision_is_returned_without_since(cast: Cast, client_of: ClientOf) -> None:
    rev = publish_now(cast.acme, 1)
    assert client_of(cast.alice).get(PATH).json() == {"rev": rev, "more": False, "changes": []}


def test_since_a_revision_comes_what_is_newer_of_ones_own_airlines(cast: Cast, client_of: ClientOf) -> None:
    first = publish_now(cast.acme, 1)
    publish_now(cast.beta, 2)
    last = publish_now(cast.acme, 3, tail="N1", op="put", percent=7)
    answer = client_of(cast.alice).get(PATH, {"since": first}).json()
    change = {"topic": "load", "object": 3, "op": "put", "state": {"percent": 7}}
    assert answer == {"rev": last, "more": False, "changes": [change]}
    assert objects(client_of(cast.olga).get(PATH, {"since": first}).json()) == [2, 3]
    assert objects(client_of(cast.nick).get(PATH, {"since": first}).json()) == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"airline": "ACME"}, [1, 2, 3]),
        ({"tail": "N1"}, [2, 4]),
        ({"airline": "ACME", "campaign": "2026-12"}, [3]),
        ({"topic": ["tail", "transfer"]}, [3]),
    ],
)
def test_changes_are_filtered(cast: Cast, client_of: ClientOf, query: dict[str, Any], expected: list[int]) -> None:
    publish_now(cast.acme, 1)
    publish_now(cast.acme, 2, tail="N1")
    publish_now(cast.acme, 3, topic="transfer", campaign="2026-12")
    publish_now(cast.beta, 4, tail="N1")
    assert objects(client_of(cast.olga).get(PATH, {"since": 0, **query}).json()) == expected


def test_many_changes_come_in_parts_and_no_revision_is_cut(cast: Cast, client_of: ClientOf) -> None:
    for number in range(7):
        publish_now(cast.acme, number)
    client, since, received, parts = client_of(cast.alice), 0, [], 0
    while True:
        answer = client.get(PATH, {"since": since, "limit": 3}).json()
        received += objects(answer)
        since, parts = answer["rev"], parts + 1
        if not answer["more"]:
            break
    assert (received, parts) == (list(range(7)), 3)


@pytest.mark.parametrize("forgotten", [True, False])
def test_expired_and_unknown_revisions_are_gone(cast: Cast, client_of: ClientOf, forgotten: bool) -> None:
    rev = publish_now(cast.acme, 1)
    if forgotten:
        Counter.objects.update_or_create(pk=FORGOTTEN_COUNTER_ID, defaults={"rev": rev})
    answer = client_of(cast.alice).get(PATH, {"since": rev - 1 if forgotten else rev + 1})
    assert answer.status_code == 410
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:problem-type:ifeportal:start-anew"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"since": "-1"}, 400),
        ({"since": "x"}, 400),
        ({"since": "9" * 30}, 400),
        ({"wait": "31"}, 400),
        ({"topic": "colour"}, 400),
        ({"limit": "0"}, 400),
        ({"airline": "N\0"}, 400),
        ({"airline": "BETA"}, 404),
        ({"airline": "NOSUCH"}, 404),
    ],
)
def test_invalid_queries_are_refused(cast: Cast, client_of: ClientOf, query: Any, status: int) -> None:
    answer = client_of(cast.alice).get(PATH, query)
    assert answer.status_code == status
    assert answer["Content-Type"] == "application/problem+json"
    if status == 400:
        assert list(answer.json()["errors"]) == list(query)


def test_the_lists_say_the_revision_to_go_on_from(cast: Cast, client_of: ClientOf) -> None:
    rev = publish_now(cast.acme, 1)
    for path in ("/api/v1/loads/", "/api/v1/loads/?paging=cursor"):
        assert client_of(cast.alice).get(path)["X-Revision"] == str(rev)


def assert_guarded(exchange: Any) -> None:
    """Responses sent in front of the application have the application's headers."""
    assert {*exchange.headers} >= GUARDS
    assert exchange.headers["content-type"] == "application/problem+json"
    assert exchange.headers["cache-control"] == "no-store"


# Long polls


async def test_a_waiting_request_is_answered_at_the_first_change(cast: Cast) -> None:
    rev = await publish_now_async(cast.acme, 1)
    async with open_exchange(PATH, cast.alice, since=rev, wait=30) as exchange:
        while not len(FeedReader.current()):
            await publish_now_async(cast.beta, 2)  # another airline
        last = await publish_now_async(cast.acme, 3)
        assert await exchange.read_status() == 200
        answer = await exchange.read_json()
    assert objects(answer) == [3]
    assert answer["rev"] >= last
    assert exchange.headers["content-type"] == "application/json"
    assert exchange.headers["cache-control"] == "no-store"
    assert "content-security-policy" in exchange.headers
    assert not open_sockets
    assert not len(FeedReader.current())


async def test_existing_changes_are_returned_without_waiting(cast: Cast) -> None:
    rev = await publish_now_async(cast.acme, 1)
    async with open_exchange(PATH, cast.alice, since=rev - 1, wait=30) as exchange:
        assert await exchange.read_status() == 200
        assert objects(await exchange.read_json()) == [1]


async def test_the_response_is_empty_after_the_requested_time(cast: Cast) -> None:
    rev = await publish_now_async(cast.acme, 1)
    async with open_exchange(PATH, cast.alice, since=rev, wait=1) as exchange:
        assert await exchange.read_status() == 200
        assert await exchange.read_json() == {"rev": rev, "more": False, "changes": []}


async def test_a_waiting_request_occupies_no_thread_and_no_request_slot(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application has already responded, without changes; only a subscription remains."""
    rev = await publish_now_async(cast.acme, 1)
    answered: list[int] = []
    ask = changes_stream.WaitingRequest._authorise

    async def noting(self: Any, **how: Any) -> Any:
        found = await ask(self, **how)
        answered.append(found[1][0]["status"])
        return found

    monkeypatch.setattr(changes_stream.WaitingRequest, "_authorise", noting)
    async with open_exchange(PATH, cast.alice, since=rev, wait=30) as exchange:
        while not len(FeedReader.current()):
            await in_thread(int)
        assert answered == [200]
        assert exchange.came.empty()
        await publish_now_async(cast.acme, 2)
        await exchange.read_status()
        assert objects(await exchange.read_json()) == [2]


async def test_a_client_that_disconnects_while_waiting_leaves_no_resources(cast: Cast) -> None:
    rev = await publish_now_async(cast.acme, 1)
    async with open_exchange(PATH, cast.alice, since=rev, wait=30) as exchange:
        while not len(FeedReader.current()):
            await in_thread(int)
        await exchange.disconnect()
    assert exchange.came.empty()
    assert not open_sockets
    assert not len(FeedReader.current())


async def test_anonymous_and_foreign_requests_are_refused(cast: Cast) -> None:
    for user, query, status in ((None, {}, 401), (cast.alice, {"airline": "BETA"}, 404)):
        for headers in ({}, STREAM):
            async with open_exchange(PATH, user, headers=headers, since=0, wait=30, **query) as exchange:
                assert await exchange.read_status() == status
                assert (await exchange.read_json())["status"] == status
                assert exchange.headers["content-type"] == "application/problem+json"


async def test_an_expired_revision_is_reported_to_waiting_requests_too(cast: Cast) -> None:
    for headers in ({}, STREAM):
        async with open_exchange(PATH, cast.alice, headers=headers, since=99, wait=30) as exchange:
            assert await exchange.read_status() == 410
            assert (await exchange.read_json())["title"] == "The changes since that revision are no longer available"
            assert_guarded(exchange)


@override_settings(LIVE_SOCKETS_PER_USER=1)
async def test_the_connections_of_a_user_are_limited(cast: Cast) -> None:
    async with open_exchange(PATH, cast.alice, headers=STREAM) as first:
        assert await first.read_status() == 200
        async with open_exchange(PATH, cast.alice, headers=STREAM) as second:
            assert await second.read_status() == 429
            assert (await second.read_json())["type"] == "urn:problem-type:ifeportal:too-many-listeners"
            assert int(second.headers["retry-after"]) > 0
            assert_guarded(second)
        async with open_exchange(PATH, cast.bob, headers=STREAM) as third:
            assert await third.read_status() == 200


# Streams


async def test_a_stream_sends_missed_and_then_new_changes(cast: Cast) -> None:
    first = await publish_now_async(cast.acme, 1)
    await publish_now_async(cast.acme, 2)
    async with open_exchange(PATH, cast.alice, headers=STREAM, since=first) as exchange:
        assert await exchange.read_status() == 200
        assert exchange.headers["content-type"].startswith("text/event-stream")
        assert objects(await response_body(exchange)) == [2]
        await publish_now_async(cast.beta, 3)
        rev = await publish_now_async(cast.acme, 4)
        event = await exchange.event()
        assert objects(json.loads(event["data"])) == [4]
        assert int(event["id"]) == json.loads(event["data"])["rev"] >= rev
    assert not open_sockets


async def test_a_stream_goes_on_after_the_last_event_that_was_taken(cast: Cast) -> None:
    revs = [await publish_now_async(cast.acme, number) for number in range(3)]
    headers = {**STREAM, "last-event-id": str(revs[1])}
    async with open_exchange(PATH, cast.alice, headers=headers, since=0) as exchange:
        await exchange.read_status()
        assert objects(await response_body(exchange)) == [2]


async def test_a_stream_from_far_back_comes_in_parts(cast: Cast) -> None:
    for number in range(5):
        await publish_now_async(cast.acme, number)
    async with open_exchange(PATH, cast.alice, headers=STREAM, since=0, limit=2) as exchange:
        await exchange.read_status()
        received = [objects(await response_body(exchange)) for _ in range(3)]
    assert received == [[0, 1], [2, 3], [4]]


async def test_a_quiet_stream_shows_signs_of_life_with_the_revision(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes_stream, "PING", 0.05)
    rev = await publish_now_async(cast.beta, 1)
    async with open_exchange(PATH, cast.alice, headers=STREAM) as exchange:
        await exchange.read_status()
        assert json.loads((await exchange.event())["data"])["rev"] == rev
        assert await exchange.part() == f": still here\nid: {rev}\n\n"


@pytest.mark.parametrize("lost", ["membership", "account"])
async def test_a_stream_ends_once_its_user_may_hear_less(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    monkeypatch.setattr(changes_stream, "REAUTHORISE", 0.05)
    async with open_exchange(PATH, cast.alice, headers=STREAM) as exchange:
        await exchange.read_status()
        await exchange.event()
        if lost == "membership":
            await in_thread(Membership.objects.filter(user=cast.alice).delete)
        else:
            await in_thread(type(cast.alice).objects.filter(pk=cast.alice.pk).update, is_active=False)
        assert await exchange.event() == {}


@pytest.mark.parametrize("lost", ["token", "session"])
async def test_a_stream_ends_when_its_credentials_are_removed(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    monkeypatch.setattr(changes_stream, "REAUTHORISE", 0.05)
    token, key = await in_thread(lambda: create_token(cast.alice, "it", days=1, airline=None, may_write=False))
    headers = STREAM | ({"authorization": f"Bearer {key}"} if lost == "token" else {})
    async with open_exchange(PATH, None if lost == "token" else cast.alice, headers=headers) as exchange:
        assert await exchange.read_status() == 200
        await exchange.event()
        await in_thread((Token.objects.filter(pk=token.pk) if lost == "token" else Session.objects.all()).delete)
        assert await exchange.event() == {}


@pytest.fixture
def record_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have listeners notice lost access by the watcher alone."""
    monkeypatch.setattr(changes_stream, "REAUTHORISE", 3600.0)


def lose(cast: Cast, lost: str) -> None:
    """Take away what a listener of Mona, with a session or a token, depends on."""
    if lost == "membership":
        Membership.objects.filter(user=cast.mona).delete()
    elif lost == "role":
        Membership.objects.filter(user=cast.mona).update(role="viewer")
    elif lost == "user":
        User.objects.filter(pk=cast.mona.pk).update(is_active=False)
    elif lost == "password":
        cast.mona.set_password("another long sentence")
        cast.mona.save()
    elif lost == "all sessions":
        end_sessions(cast.mona)
    elif lost == "second factor":
        Authenticator.objects.filter(user=cast.mona).delete()
    else:
        (Token.objects.all() if lost == "token" else Session.objects.all()).delete()


BY_SESSION = ["membership", "role", "user", "password", "session", "all sessions", "second factor"]
BY_TOKEN = ["membership", "role", "user", "password", "token", "second factor"]
LISTENERS = [(False, lost) for lost in BY_SESSION] + [(True, lost) for lost in BY_TOKEN]


async def headers_of(cast: Cast, by_token: bool) -> dict[str, str]:
    """Return the credentials of Mona, who has used a second factor."""
    await in_thread(totp.TOTP.activate, cast.mona, "JBSWY3DPEHPK3PXP")
    if by_token:
        _, key = await in_thread(
            lambda: create_token(cast.mona, "it", days=1, airline=None, may_write=False, has_second_factor=True)
        )
        return {"authorization": f"Bearer {key}"}
    return {"cookie": f"sessionid={await in_thread(_session_with_second_factor, cast.mona)}"}


def _session_with_second_factor(user: User) -> str:
    key = sign_in(user)
    store = SessionStore(key)
    store["account_authentication_methods"] = [{"method": "mfa", "at": 1.0}]
    store["account_authentication_methods_user"] = str(user.pk)
    store.save()
    return key


@pytest.mark.parametrize(("by_token", "lost"), LISTENERS)
@pytest.mark.usefixtures("record_changes")
@override_settings(SECOND_FACTOR_FOR=("manager",))
async def test_a_stream_ends_when_its_user_loses_what_it_depends_on(cast: Cast, by_token: bool, lost: str) -> None:
    async with open_exchange(PATH, headers=STREAM | await headers_of(cast, by_token)) as exchange:
        assert await exchange.read_status() == 200
        await exchange.event()
        await in_thread(lose, cast, lost)
        assert await exchange.event() == {}
    assert not open_sockets


@pytest.mark.parametrize(("by_token", "lost"), LISTENERS)
@pytest.mark.usefixtures("record_changes")
@override_settings(SECOND_FACTOR_FOR=("manager",))
async def test_a_waiting_request_is_answered_when_its_user_loses_what_it_depends_on(
    cast: Cast, by_token: bool, lost: str
) -> None:
    rev = await publish_now_async(cast.acme, 1)
    async with open_exchange(PATH, headers=await headers_of(cast, by_token), since=rev, wait=30) as exchange:
        while not RevocationWatcher.current():
            await in_thread(int)
        await in_thread(lose, cast, lost)
        refused = {"membership": 200, "role": 200, "second factor": 403}.get(lost, 401)
        assert await exchange.read_status() == refused
        answer = await exchange.read_json()
        assert refused != 200 or answer == {"rev": rev, "more": False, "changes": []}


@pytest.mark.usefixtures("record_changes")
async def test_a_waiting_request_for_one_airline_is_refused_with_it(cast: Cast) -> None:
    rev = await publish_now_async(cast.acme, 1)
    async with open_exchange(PATH, cast.alice, airline="ACME", since=rev, wait=30) as exchange:
        while not RevocationWatcher.current():
            await in_thread(int)
        await in_thread(Membership.objects.filter(user=cast.alice).delete)
        assert await exchange.read_status() == 404


@pytest.mark.usefixtures("record_changes")
async def test_a_waiting_request_goes_on_when_its_user_gains_access(cast: Cast) -> None:
    rev = await publish_now_async(cast.acme, 1)
    async with open_exchange(PATH, cast.alice, since=rev, wait=30) as exchange:
        while not RevocationWatcher.current():
            await in_thread(int)
        await in_thread(Membership.objects.create, user=cast.alice, airline=cast.beta)
        while exchange.came.empty():
            await publish_now_async(cast.beta, 7)
        assert await exchange.read_status() == 200
        assert objects(await exchange.read_json())


async def test_looking_again_does_not_count_as_requests_and_goes_on(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    check = changes_stream.Follower._reauthorise

    async def noting(self: Any) -> None:
        await check(self)
        looked.append(1)

    monkeypatch.setattr(changes_stream, "REAUTHORISE", 0.0)
    monkeypatch.setattr(changes_stream.Follower, "_reauthorise", noting)
    monkeypatch.setattr(changes.ChangesView, "throttle_classes", [OnlyOnce])
    OnlyOnce.asked = 0
    async with open_exchange(PATH, cast.alice, headers=STREAM) as exchange:
        await exchange.read_status()
        await exchange.event()
        while len(looked) < 3:
            await in_thread(int)
        await publish_now_async(cast.acme, 5)
        assert objects(await response_body(exchange)) == [5]
    assert OnlyOnce.asked == 1


async def test_a_stream_that_was_long_enough_ends_so_that_its_reader_comes_again(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes_stream, "STREAM_LIMIT", 200)
    async with open_exchange(PATH, cast.alice, headers=STREAM) as exchange:
        await exchange.read_status()
        await exchange.event()
        await publish_now_async(cast.acme, 1, text="x" * 300)
        event = await exchange.event()
        assert objects(json.loads(event["data"])) == [1]
        assert await exchange.event() == {}
    headers = {**STREAM, "last-event-id": event["id"]}
    async with open_exchange(PATH, cast.alice, headers=headers) as again:
        await again.read_status()
        assert objects(await response_body(again)) == []


async def test_a_stream_with_too_many_pending_changes_must_restart(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ifeportal.live.subscription.PENDING_LIMIT", 2)
    async with open_exchange(PATH, cast.alice, headers=STREAM) as exchange:
        await exchange.read_status()
        await exchange.event()
        await in_thread(_publish_three_at_once, cast)
        assert (await exchange.event())["event"] == "reload"
        assert await exchange.event() == {}


def _publish_three_at_once(cast: Cast) -> None:
    with transaction.atomic():
        publish([FeedChange("load", number, cast.acme.pk) for number in range(3)])


async def test_a_long_poll_without_a_database_must_retry_later(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(hearing: Any) -> Any:
        raise OperationalError("away")

    monkeypatch.setattr(changes_stream, "changes_since", away)
    async with open_exchange(PATH, cast.alice, since=0, wait=30) as exchange:
        assert await exchange.read_status() == 503
        assert (await exchange.read_json())["type"] == "urn:problem-type:ifeportal:database-away"
        assert int(exchange.headers["retry-after"]) > 0
    assert not open_sockets


def test_a_stream_through_a_plain_server_is_one_answer(cast: Cast) -> None:
    rev = publish_now(cast.acme, 1)
    client = APIClient()
    client.force_login(cast.alice)
    answer = client.get(PATH, {"since": rev - 1}, HTTP_ACCEPT="text/event-stream")
    assert answer["Content-Type"] == "text/event-stream"
    assert answer.content.decode().startswith(f'id: {rev}\ndata: {{"rev":{rev},"more":false,"changes":[')


class OnlyOnce:
    """Allows one request and no more."""

    asked = 0

    def allow_request(self, request: Any, view: Any) -> bool:
        OnlyOnce.asked += 1
        return OnlyOnce.asked == 1

    def wait(self) -> None:
        return None
