"""The live socket, for every kind of user and every airline."""

from __future__ import annotations

import pytest

from tests.conftest import Cast
from tests.support.live_sockets import open_socket, publish_now_async

pytestmark = pytest.mark.django_db(transaction=True)

HEARS: dict[str, tuple[int | list[str], int | list[str], int | list[str]]] = {
    # user: whether they receive changes when they watch ACME, BETA and all airlines
    "nick": (4404, 4404, []),
    "alice": (["ACME"], 4404, ["ACME"]),
    "bob": (4404, ["BETA"], ["BETA"]),
    "olga": (["ACME"], ["BETA"], ["ACME", "BETA"]),
    "ada": (["ACME"], ["BETA"], ["ACME", "BETA"]),
}


@pytest.mark.parametrize("missed", [True, False], ids=["missed", "live"])
@pytest.mark.parametrize("who", HEARS)
async def test_each_user_hears_of_the_airlines_they_may_see(cast: Cast, who: str, missed: bool) -> None:
    async def happen() -> None:
        await publish_now_async(cast.acme, 1, says="ACME")
        await publish_now_async(cast.beta, 2, says="BETA")

    if missed:
        await happen()
    for airline, expected in zip(("ACME", "BETA", None), HEARS[who], strict=True):
        async with open_socket(getattr(cast, who)) as socket:
            message = await socket.watch(airline=airline, rev=0)
            if isinstance(expected, int):
                assert message == {"error": "There is no such airline."}
                assert await socket.read() == {"closed": expected}
                continue
            received = [change["state"]["says"] for change in message["changes"]]
            if not missed:
                await happen()
            while len(received) < len(expected):
                received += [change["state"]["says"] for change in await socket.changes()]
            assert sorted(received[: len(expected)]) == expected
            if not expected:
                assert await socket.is_quiet(0.8)


async def test_an_anonymous_socket_receives_nothing(cast: Cast) -> None:
    async with open_socket(None) as socket:
        assert "error" in await socket.read()
        assert await socket.read() == {"closed": 4403}
