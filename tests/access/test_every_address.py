"""Every address for every kind of user, generated from the URL resolver. An address without a rule here fails."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from django.apps import apps
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from ifeportal.live.models import Change, Counter
from ifeportal.models import Airline, User
from tests.access.world import Holding, addresses, furnish
from tests.conftest import Cast

USERS = ("anonymous", "nick", "alice", "bob", "olga", "ada")
UNSAFE = ("post", "put", "patch", "delete")
Arguments = Callable[[Holding], list[Any]]


@dataclass(frozen=True)
class Rule:
    """What GET answers for an address of ACME: to nobody, to Nick of no airline, to Alice, to Bob of BETA, to staff.

    `writes`: the methods besides GET that the address takes from anybody.
    """

    anonymous: int
    nick: int
    alice: int
    bob: int
    staff: int
    arguments: Arguments = lambda holding: []
    writes: tuple[str, ...] = ()

    def expected(self, user: str) -> int:
        answer: int = getattr(self, "staff" if user in ("olga", "ada") else user)
        return answer


def open_to_all(status: int = 200, *, writes: tuple[str, ...] = ()) -> Rule:
    return Rule(status, status, status, status, status, writes=writes)


def signed_in(anonymous: int) -> Rule:
    """For everyone who signed in; each sees their own."""
    return Rule(anonymous, 200, 200, 200, 200)


def own_airline(anonymous: int, arguments: Arguments) -> Rule:
    """Only for the airline it belongs to; for others it isn't there."""
    return Rule(anonymous, 404, 200, 404, 200, arguments)


PAGE, API = 302, 401  # how a stranger is turned away: to the sign-in page, or with a status
RULES = {
    "login": open_to_all(writes=("post", "put")),  # Django's form views take either
    "logout": Rule(302, 405, 405, 405, 405, writes=("post",)),
    "healthz": open_to_all(),
    "readyz": open_to_all(503),  # the airlines of these tests were never polled
    "metrics": Rule(401, 404, 404, 404, 200),
    "fleet": signed_in(PAGE),
    "freshness": signed_in(PAGE),
    "fleet-moved": signed_in(PAGE),
    "airline-moved": own_airline(PAGE, lambda its: [its.airline.name]),
    "tail-rate": own_airline(PAGE, lambda its: [its.airline.name, its.tail.name]),
    "readiness": own_airline(PAGE, lambda its: [its.airline.name, its.campaign.name]),
    "airline": own_airline(PAGE, lambda its: [its.airline.name]),
    "tail": own_airline(PAGE, lambda its: [its.airline.name, its.tail.name]),
    "campaign": own_airline(PAGE, lambda its: [its.airline.name, its.campaign.name]),
    "api-root": signed_in(API),
    "api-changes": signed_in(API),
    "api-airlines-list": signed_in(API),
    "api-airlines-detail": own_airline(API, lambda its: [its.airline.pk]),
    "api-campaigns-list": signed_in(API),
    "api-campaigns-detail": own_airline(API, lambda its: [its.campaign.pk]),
    "api-content-list": signed_in(API),
    "api-content-detail": own_airline(API, lambda its: [its.item.pk]),
    "api-tails-list": signed_in(API),
    "api-tails-detail": own_airline(API, lambda its: [its.tail.pk]),
    "api-loads-list": signed_in(API),
    "api-loads-detail": own_airline(API, lambda its: [its.load.pk]),
    "api-transfers-list": signed_in(API),
    "api-transfers-detail": own_airline(API, lambda its: [its.transfer.pk]),
    "api-anomalies-list": signed_in(API),
    "api-anomalies-detail": own_airline(API, lambda its: [its.anomaly.pk]),
    "api-unknown": Rule(API, 404, 404, 404, 404, lambda its: [f"v1/{its.airline.pk}/"]),
    "schema": signed_in(API),
    "docs": signed_in(PAGE),
}
ADMIN = sorted({name for name, _ in addresses() if name.startswith("admin:")})
ADMIN_OPEN = {"admin:login", "admin:logout"}
ORDINARY = [name for name, _ in addresses() if not name.startswith("admin:")]


@dataclass(frozen=True)
class World:
    cast: Cast
    acme: Holding
    beta: Holding

    def client(self, user: str) -> Client:
        """A browser of the user, signed in unless anonymous."""
        client = Client(raise_request_exception=False)
        if user != "anonymous":
            client.force_login(self.person(user))
        return client

    def person(self, user: str) -> User:
        person: User = getattr(self.cast, user)
        return person

    def foreign_marks(self, user: str) -> tuple[str, ...]:
        """What must not stand in anything this user is answered."""
        hidden = {"alice": (self.beta,), "bob": (self.acme,), "nick": (self.acme, self.beta)}
        hidden["anonymous"] = hidden["nick"]
        return tuple(mark for holding in hidden.get(user, ()) for mark in holding.marks)


@pytest.fixture
def world(cast: Cast) -> World:
    cache.clear()  # the counts of the API's throttles
    Airline.objects.all().delete()
    acme = furnish(Airline(name="ACME"), member=cast.alice, first_id=4_100_000_000_000)
    beta = furnish(Airline(name="BETA"), member=cast.bob, first_id=8_700_000_000_000)
    return World(replace(cast, acme=acme.airline, beta=beta.airline), acme, beta)


def test_every_address_has_a_rule_and_every_rule_an_address() -> None:
    assert sorted(set(ORDINARY)) == sorted(RULES)


def test_no_two_addresses_share_a_name_so_that_a_rule_means_one_of_them() -> None:
    assert len(ORDINARY) == len(set(ORDINARY))


@pytest.mark.parametrize("name", ORDINARY)
def test_each_user_gets_what_the_rule_says_and_nothing_foreign(world: World, name: str) -> None:
    rule = RULES[name]
    swapped = {"alice": "bob", "bob": "alice"}
    for user in USERS:
        client = world.client(user)
        for holding, as_user in ((world.acme, user), (world.beta, swapped.get(user, user))):
            address = reverse(name, args=rule.arguments(holding))
            answer = client.get(address)
            assert answer.status_code == rule.expected(as_user), f"{user} at {address}"
            assert_nothing_foreign(world, user, address, answer)


@pytest.mark.parametrize("name", ORDINARY)
@pytest.mark.parametrize("method", UNSAFE)
def test_nobody_changes_anything_where_no_write_is_declared(world: World, name: str, method: str) -> None:
    rule = RULES[name]
    before = everything()
    for user in USERS:
        address = reverse(name, args=rule.arguments(world.acme))
        answer = getattr(world.client(user), method)(address, data=b"{}", content_type="application/json")
        assert answer.status_code < 500, f"{user}: {method} {address}"
        if method not in rule.writes:
            assert answer.status_code >= 400 or is_sent_to_sign_in(answer), f"{user}: {method} {address}"
        assert_nothing_foreign(world, user, address, answer)
    assert everything() == before


@pytest.mark.parametrize("name", [name for name in ORDINARY if name.startswith("api-") and name.endswith("-list")])
def test_a_list_filtered_by_a_foreign_airline_is_empty(world: World, name: str) -> None:
    for user, count in (("alice", 0), ("nick", 0), ("bob", 1), ("olga", 1)):
        answer = world.client(user).get(reverse(name), {"airline": "BETA"})
        assert answer.status_code == 200
        assert answer.json()["count"] == count, user


@pytest.mark.parametrize("name", ["airline", "tail", "campaign"])
def test_a_foreign_page_answers_exactly_like_one_that_is_not_there(world: World, name: str) -> None:
    client = world.client("alice")
    arguments = RULES[name].arguments(world.beta)
    foreign = client.get(reverse(name, args=arguments))
    unknown = client.get(reverse(name, args=["NOSUCH", *arguments[1:]]))
    assert foreign.status_code == unknown.status_code == 404
    assert without_token(foreign.content) == without_token(unknown.content)


@pytest.mark.parametrize("path", ["tails/{beta.tail.name}", "campaigns/{beta.campaign.name}"])
def test_what_is_foreign_is_not_reached_through_ones_own_airline(world: World, path: str) -> None:
    for user in ("alice", "olga"):
        answer = world.client(user).get(f"/airlines/ACME/{path.format(beta=world.beta)}/")
        assert answer.status_code == 404


def test_a_disabled_user_is_nobody(world: World) -> None:
    client = world.client("alice")
    User.objects.filter(pk=world.cast.alice.pk).update(is_active=False)
    assert client.get("/").status_code == 302
    assert client.get("/api/v1/tails/").status_code == 401


@pytest.mark.parametrize("name", ADMIN)
def test_the_admin_is_for_staff_alone(world: World, name: str) -> None:
    address = admin_address(name, world)
    for user in ("anonymous", "nick", "alice", "bob"):
        client = world.client(user)
        for method in ("get", "post"):
            answer = getattr(client, method)(address)
            if name in ADMIN_OPEN:
                assert answer.status_code < 500
            else:
                assert is_sent_to_sign_in(answer), f"{user}: {method} {address} {answer.status_code}"
            assert_nothing_foreign(world, user, address, answer)


@pytest.mark.parametrize("name", ADMIN)
def test_every_page_of_the_admin_works_for_a_superuser(world: World, name: str) -> None:
    address = admin_address(name, world)
    answer = world.client("ada").get(address)
    assert answer.status_code in (200, 302, 403, 404, 405), address
    if name.endswith("_changelist"):
        assert answer.status_code == 200, address


@pytest.mark.parametrize("name", ADMIN)
def test_staff_without_permissions_change_nothing_in_the_admin(world: World, name: str) -> None:
    before = everything()
    client = world.client("olga")
    if name not in ADMIN_OPEN:
        assert client.post(admin_address(name, world), {"post": "yes"}).status_code < 500
    assert everything() == before


def assert_nothing_foreign(world: World, user: str, address: str, answer: Any) -> None:
    """What was asked for may be repeated, as in "next=/airlines/BETA/"; nothing else of another airline may show."""
    body = answer.content.decode().replace(address, "").lower()
    for mark in world.foreign_marks(user):
        assert mark.lower() not in body, f"{user} at {address} sees {mark}"
    for header, value in answer.headers.items():
        if header != "Location":
            for mark in world.foreign_marks(user):
                assert mark.lower() not in value.lower(), f"{user} at {address}: {header}"


def without_token(page: bytes) -> bytes:
    """The page without the one thing that differs each time."""
    return re.sub(rb'name="csrfmiddlewaretoken" value="[^"]+"', b"", page)


def is_sent_to_sign_in(answer: Any) -> bool:
    return answer.status_code == 302 and "login/?next=" in answer.headers["Location"]


def admin_address(name: str, world: World) -> str:
    """An address of the admin with an id that fits, if it needs one."""
    if name == "admin:":
        return "/admin/fleet/tail/1/"
    if name == "admin:app_list":
        return reverse(name, args=["fleet"])
    if not name.endswith(("_history", "_delete", "_change")) or name == "admin:password_change":
        return reverse(name)
    model = name.removeprefix("admin:").rsplit("_", 1)[0]
    rows = {
        "ifeportal_airline": world.acme.airline,
        "ifeportal_user": world.cast.nick,
        "auth_user_password": world.cast.nick,
        "campaigns_campaign": world.acme.campaign,
        "campaigns_contentitem": world.acme.item,
        "fleet_tail": world.acme.tail,
        "fleet_load": world.acme.load,
        "fleet_transfer": world.acme.transfer,
        "fleet_anomaly": world.acme.anomaly,
    }
    return reverse(name, args=[rows[model].pk if model in rows else 1])


def everything() -> dict[str, list[dict[str, Any]]]:
    """Every row of ours, except who signed in when."""
    passing = (Session, Change, Counter)
    rows = {}
    for model in apps.get_models():
        if model._meta.app_label in ("ifeportal", "live", "campaigns", "fleet", "auth") and (model not in passing):
            rows[model._meta.label] = [
                {key: value for key, value in row.items() if key != "last_login"}
                for row in model._default_manager.order_by("pk").values()
            ]
    return rows
