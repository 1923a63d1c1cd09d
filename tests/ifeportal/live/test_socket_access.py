"""Access to the live socket: who may open it, for which airline, and what closes it."""

from __future__ import annotations

import pytest
from channels.testing import WebsocketCommunicator
from django.contrib.sessions.models import Session
from django.db import OperationalError
from django.test import override_settings
from django.utils import timezone

from ifeportal.asgi import application
from ifeportal.live.connections import in_thread, open_sockets
from ifeportal.live.sockets import consumer, revocation
from ifeportal.live.sockets.authentication import user_of_session
from ifeportal.live.sockets.origin import is_allowed
from ifeportal.models import Airline, Membership, User
from tests.conftest import Cast
from tests.support.live_sockets import HOST, PATIENCE, LiveSocket, open_socket, publish_now_async, sign_in

pytestmark = pytest.mark.django_db(transaction=True)


async def closed_with(socket: LiveSocket) -> int:
    """Receive the error and the close, and return both."""
    message = await socket.read()
    while "error" not in message:
        message = await socket.read()
    return int((await socket.read())["closed"])


async def test_anonymous_users_are_asked_to_sign_in(cast: Cast) -> None:
    async with open_socket(None) as socket:
        assert await closed_with(socket) == 4403


async def test_an_invented_session_has_no_access(cast: Cast) -> None:
    async with open_socket(None, cookie="a" * 32) as socket:
        assert await closed_with(socket) == 4403


@pytest.mark.parametrize(
    "origin",
    [
        *("https://evil.example", None, "null", "", "http://localhost.evil.example", "http://evil.example/?localhost"),
        *("https://localhost", "http://localhost:8000", "ws://localhost", "localhost", "http://127.0.0.1"),
    ],
)
async def test_another_site_is_refused_before_anything_else(cast: Cast, origin: str | None) -> None:
    """Another scheme or port is another origin too."""
    headers = [HOST, (b"cookie", f"sessionid={await in_thread(sign_in, cast.alice)}".encode())]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    communicator = WebsocketCommunicator(application, "/ws/live/", headers=headers)
    accepted, _ = await communicator.connect(PATIENCE)
    assert not accepted


@pytest.mark.parametrize(
    ("host", "origin", "settings", "own"),
    [
        ("ife.example.org", "https://ife.example.org", {"HTTPS": True}, True),
        ("ife.example.org", "https://ife.example.org:443", {"HTTPS": True}, True),
        ("ife.example.org", "http://ife.example.org", {"HTTPS": True}, False),
        ("ife.example.org:8443", "https://ife.example.org:8443", {"HTTPS": True}, True),
        ("ife.example.org:8443", "https://ife.example.org", {"HTTPS": True}, False),
        ("inside:8000", "https://ife.example.org", {"CSRF_TRUSTED_ORIGINS": ["https://ife.example.org"]}, True),
        ("inside:8000", "https://ife.example.org:444", {"CSRF_TRUSTED_ORIGINS": ["https://ife.example.org"]}, False),
        ("evil.example", "http://evil.example", {}, False),
        ("[::1]:8000", "http://[::1]:8000", {}, True),
    ],
)
def test_only_the_portals_own_address_to_the_letter_is_its_own(
    host: str, origin: str, settings: dict[str, object], own: bool
) -> None:
    hosts = ["ife.example.org", "inside", "[::1]"]
    with override_settings(**{"ALLOWED_HOSTS": hosts, "HTTPS": False, "CSRF_TRUSTED_ORIGINS": []} | settings):
        assert is_allowed({b"host": host, b"origin": origin}, "ws") is own


@pytest.mark.parametrize("behind_proxy", [True, False])
def test_the_tls_header_counts_only_behind_a_proxy(behind_proxy: bool) -> None:
    headers = {b"host": "localhost", b"origin": "https://localhost", b"x-forwarded-proto": "https"}
    with override_settings(ALLOWED_HOSTS=["localhost"], HTTPS=False, BEHIND_PROXY=behind_proxy):
        assert is_allowed(headers, "ws") is behind_proxy


async def test_an_unknown_socket_address_is_refused(cast: Cast) -> None:
    communicator = WebsocketCommunicator(application, "/ws/other/", headers=[HOST, (b"origin", b"http://localhost")])
    accepted, _ = await communicator.connect(PATIENCE)
    assert not accepted


@pytest.mark.parametrize("airline", ["BETA", "NOSUCH", "acme"])
async def test_a_foreign_airline_answers_like_one_that_is_not_there(cast: Cast, airline: str) -> None:
    async with open_socket(cast.alice) as socket:
        message = await socket.watch(airline=airline, rev=0)
        assert message == {"error": "There is no such airline."}
        assert await socket.read() == {"closed": 4404}


async def test_without_an_airline_each_hears_exactly_what_they_may_see(cast: Cast) -> None:
    later = await in_thread(Airline.objects.create, name="LATER")
    async with open_socket(cast.alice) as alice, open_socket(cast.olga) as olga, open_socket(cast.nick) as nick:
        for socket in (alice, olga, nick):
            await socket.watch(rev=0)
        for number, airline in enumerate((cast.beta, later, cast.acme)):
            await publish_now_async(airline, number)
        assert [change["object"] for change in await alice.changes()] == [2]
        received: list[int] = []
        while len(received) < 3:
            received += [change["object"] for change in await olga.changes()]
        assert received == [0, 1, 2]
        assert await nick.is_quiet(1.0)


async def test_missed_changes_contain_no_foreign_data(cast: Cast) -> None:
    await publish_now_async(cast.beta, 1)
    rev = await publish_now_async(cast.acme, 2)
    async with open_socket(cast.alice) as alice:
        message = await alice.watch(rev=0)
    assert message["rev"] == rev
    assert [change["object"] for change in message["changes"]] == [2]


@pytest.fixture(params=["seen as a change", "looked at anyway"])
def looking_again(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable one of the two mechanisms by which a socket notices lost access."""
    left_out = (consumer, "REAUTHORISE") if request.param == "seen as a change" else (revocation, "CHECK_INTERVAL")
    monkeypatch.setattr(*left_out, 3600.0)
    if request.param != "seen as a change":
        monkeypatch.setattr(consumer, "REAUTHORISE", 0.2)


LOSSES = ["disabled", "logged out", "session over", "all sessions ended", "password changed", "membership removed"]


@pytest.mark.parametrize("loss", [*LOSSES, "deleted"])
@pytest.mark.parametrize("airline", ["ACME", None])
@pytest.mark.usefixtures("looking_again")
async def test_a_socket_is_closed_when_its_user_loses_the_right(cast: Cast, loss: str, airline: str | None) -> None:
    def lose() -> None:
        if loss == "disabled":
            type(cast.alice).objects.filter(pk=cast.alice.pk).update(is_active=False)
        elif loss == "logged out":
            Session.objects.all().delete()
        elif loss == "session over":
            Session.objects.update(expire_date=timezone.now())
        elif loss == "all sessions ended":
            type(cast.alice).objects.filter(pk=cast.alice.pk).update(session_epoch=1)
        elif loss == "password changed":
            cast.alice.set_password("another one")
            cast.alice.save()
        elif loss == "membership removed":
            Membership.objects.filter(user=cast.alice).delete()
        else:
            cast.alice.delete()

    async with open_socket(cast.alice) as socket:
        assert "changes" in await socket.watch(airline=airline, rev=0)
        await in_thread(lose)
        assert await closed_with(socket) in (4403, 4404)
        await publish_now_async(cast.acme, 1)
        assert await socket.is_quiet(0.5)


@pytest.mark.usefixtures("looking_again")
async def test_a_socket_that_watches_nothing_yet_is_closed_on_logout_too(cast: Cast) -> None:
    async with open_socket(cast.alice) as socket:
        await in_thread(Session.objects.all().delete)
        assert await closed_with(socket) == 4403


@pytest.mark.usefixtures("looking_again")
async def test_staff_who_become_ordinary_lose_the_sight_of_all(cast: Cast) -> None:
    async with open_socket(cast.olga) as socket:
        await socket.watch(rev=0)
        await in_thread(type(cast.olga).objects.filter(pk=cast.olga.pk).update, is_staff=False)
        assert await closed_with(socket) == 4403


@pytest.mark.usefixtures("looking_again")
async def test_changes_of_a_new_membership_arrive_without_a_new_socket(cast: Cast) -> None:
    async with open_socket(cast.alice) as socket:
        await socket.watch(rev=0)
        await in_thread(Membership.objects.create, user=cast.alice, airline=cast.beta)
        for number in range(100):
            await publish_now_async(cast.beta, number)
            if not await socket.is_quiet(0.3):
                break
        assert await socket.changes()


async def test_changes_of_other_users_do_not_affect_a_socket(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "REAUTHORISE", 3600.0)
    looks: list[str] = []

    def counted(key: str) -> User:
        looks.append(key)
        return user_of_session(key)

    monkeypatch.setattr(consumer, "user_of_session", counted)
    async with open_socket(cast.alice) as alice, open_socket(cast.bob) as bob:
        for socket, airline in ((alice, "ACME"), (bob, "BETA")):
            await socket.watch(airline=airline, rev=0)
        before = len(looks)
        await in_thread(Membership.objects.filter(user=cast.bob).delete)
        assert await closed_with(bob) == 4404
        assert len(looks) == before + 1
        await publish_now_async(cast.acme, 1)
        assert await alice.changes()


async def test_the_second_factor_counts_for_sockets_too(cast: Cast) -> None:
    with override_settings(SECOND_FACTOR_FOR=("viewer",)):
        async with open_socket(cast.alice) as alice, open_socket(cast.olga) as olga:
            assert await closed_with(alice) == 4403
            assert "changes" in await olga.watch(rev=0)


@override_settings(LIVE_SOCKETS_PER_USER=2)
async def test_a_user_has_a_bounded_number_of_sockets(cast: Cast) -> None:
    async with open_socket(cast.alice) as first, open_socket(cast.alice) as second, open_socket(cast.bob) as bob:
        for socket in (first, second):
            await socket.watch(airline="ACME", rev=0)
        await bob.watch(airline="BETA", rev=0)
        async with open_socket(cast.alice) as third:
            assert await closed_with(third) == 4429
    async with open_socket(cast.alice) as again:
        assert "changes" in await again.watch(airline="ACME", rev=0)
    assert not open_sockets


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[" * 4000,
        "null",
        '{"watch": 1}',
        '{"watch": {"airline": 5}}',
        '{"watch": {"airline": "%s"}}' % ("x" * 201),
        '{"watch": {"airline": "AC\\u0000ME"}}',
        '{"watch": {"tail": "\\ud800"}}',
        '{"watch": {"topics": ["everything"]}}',
        '{"watch": {"topics": [[]]}}',
        '{"watch": {}, "rev": -1}',
        '{"watch": {}, "rev": 1.5}',
        '{"watch": {}, "rev": true}',
        '{"watch": {}, "rev": 1e999}',
        '{"watch": {}, "rev": 99999999999999999999}',
        '{"ack": "1"}',
        '{"watch": {}, "padding": "%s"}' % ("x" * 5000),
    ],
)
async def test_invalid_messages_close_the_socket_with_a_reason(cast: Cast, text: str) -> None:
    async with open_socket(cast.alice) as socket:
        await socket.communicator.send_input({"type": "websocket.receive", "text": text})
        assert await closed_with(socket) == 4400


async def test_binary_frames_are_refused(cast: Cast) -> None:
    async with open_socket(cast.alice) as socket:
        await socket.communicator.send_to(bytes_data=b"\x00\xff")
        assert await closed_with(socket) == 4400


async def test_a_socket_that_asks_without_end_is_closed(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "SUBSCRIBE_LIMIT", 2)
    async with open_socket(cast.alice) as socket:
        for _ in range(2):
            await socket.watch(rev=0)
        await socket.say(watch={}, rev=0)
        assert await closed_with(socket) == 4429


async def test_an_unavailable_database_is_reported_and_is_not_an_error(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise OperationalError("connection refused")

    async with open_socket(cast.alice) as socket:
        monkeypatch.setattr(consumer, "scope_for", away)
        await socket.say(watch={}, rev=0)
        assert await closed_with(socket) == 1013
