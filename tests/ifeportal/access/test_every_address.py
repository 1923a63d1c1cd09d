"""Every URL for every kind of user, generated from the URL resolver. A URL without a rule here fails."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoDbBlocker

from ifeportal.access import Role
from ifeportal.accounts.tokens import create_token
from ifeportal.airlines.branding import set_logo
from ifeportal.live.models import Change, Counter
from ifeportal.models import Airline, Token, User
from tests.conftest import Cast, create_cast
from tests.support.operation_rows import chores
from tests.support.populated_airlines import PopulatedAirline, populate_airline, portal_routes
from tests.support.shared_rows import shared_rows

USERS = ("anonymous", "nick", "alice", "otto", "mona", "bob", "bruno", "olga", "ada")
OUR_APPS = ("ifeportal", "live", "exports", "operations", "campaigns", "library", "uploads", "fleet", "auth")
UNSAFE = ("post", "put", "patch", "delete")
FORM = ("post", "put")  # Django's form views take either
Arguments = Callable[[PopulatedAirline], list[Any]]
# Statements that change no row of `everything`.
READS = re.compile(r"\s*(?:SELECT|SAVEPOINT|RELEASE|ROLLBACK|SET|SHOW)\b")
OTHER_WRITES = re.compile(
    r'\s*(?:INSERT INTO|UPDATE|DELETE FROM) "(?:django_session|usersessions_usersession|accounts_attemptcount)"'
)


@dataclass(frozen=True)
class Rule:
    """The status of GET for a route of ACME.

    For an anonymous user, for Nick without an airline, Alice, Bob and Bruno of BETA, and staff. For Otto the operator
    and Mona the manager only where it differs from Alice's. `writes`: methods besides GET that the route accepts;
    `empty`: the status of a POST with an empty form, where a role is needed. `apart`: methods that change something
    even without a body, tested elsewhere.
    """

    anonymous: int
    nick: int
    alice: int
    bob: int
    staff: int
    arguments: Arguments = lambda holding: []
    writes: tuple[str, ...] = ()
    otto: int | None = None
    mona: int | None = None
    empty: Rule | None = None
    apart: tuple[str, ...] = ()

    def expected(self, user: str) -> int:
        alike = {"olga": "staff", "ada": "staff", "bruno": "bob"}
        answer: int | None = getattr(self, alike.get(user, user))
        return self.alice if answer is None else answer


def open_to_all(status: int = 200, *, writes: tuple[str, ...] = ()) -> Rule:
    return Rule(status, status, status, status, status, writes=writes)


def signed_in(anonymous: int) -> Rule:
    """For all signed-in users; each sees their own data."""
    return Rule(anonymous, 200, 200, 200, 200)


def strangers_only(anonymous: int) -> Rule:
    """Only for anonymous users; others are redirected."""
    return Rule(anonymous, 302, 302, 302, 302, writes=UNSAFE)


def on_the_way(arguments: Arguments = lambda holding: []) -> Rule:
    """Only after a recent confirmation of identity, and if the object exists; others are redirected to confirm."""
    return Rule(302, 302, 302, 302, 302, arguments, writes=UNSAFE)


def own_airline(anonymous: int, arguments: Arguments) -> Rule:
    """Only for members of its airline; a 404 for others."""
    return Rule(anonymous, 404, 200, 404, 200, arguments)


def role_needed(role: Role, arguments: Arguments, *, status: int = 200, **more: Any) -> Rule:
    """A page of an airline for members with the role; a 403 for its other members."""
    otto = status if role == Role.OPERATOR else 403
    return Rule(302, 404, 403, 404, status, arguments, otto=otto, mona=status, **more)


def form_only(arguments: Arguments, empty: Rule) -> Rule:
    """A URL that accepts a form and shows no page."""
    return replace(open_to_all(405), anonymous=302, arguments=arguments, empty=empty)


def posted(role: Role, arguments: Arguments, status: int) -> Rule:
    """A form for members of an airline with the role."""
    return form_only(arguments, role_needed(role, arguments, status=status))


def action(arguments: Arguments) -> Rule:
    """An action of the API for operators of the airline."""
    empty = replace(posted(Role.OPERATOR, arguments, 202), anonymous=401)
    assert empty.empty
    return replace(empty, empty=replace(empty.empty, anonymous=401), apart=("post",))


PAGE, API = 302, 401  # the response to anonymous users: a redirect to the sign-in page, or a status
RULES = {
    "account_login": strangers_only(200),
    "mfa_authenticate": strangers_only(302),  # only during sign-in; others are redirected to its start
    "mfa_login_webauthn": strangers_only(302),
    "socialaccount_login_cancelled": open_to_all(),
    "openid_connect_login": replace(open_to_all(404), arguments=lambda its: ["sso"]),  # no service is configured
    "openid_connect_callback": replace(open_to_all(404), arguments=lambda its: ["sso"]),
    "account_reset_password": open_to_all(writes=FORM),
    "account_reset_password_done": open_to_all(),
    "account_reset_password_from_key": replace(open_to_all(writes=UNSAFE), arguments=lambda its: ["1", "set-password"]),
    "account_reset_password_from_key_done": open_to_all(),
    "account_inactive": open_to_all(),
    "account_logout": Rule(302, 200, 200, 200, 200, writes=("post",)),
    "mfa_index": signed_in(PAGE),
    "account_reauthenticate": replace(signed_in(PAGE), writes=FORM),
    "mfa_reauthenticate": on_the_way(),
    "mfa_reauthenticate_webauthn": on_the_way(),
    "account_change_password": replace(signed_in(PAGE), writes=FORM),
    "mfa_activate_totp": on_the_way(),
    "mfa_deactivate_totp": Rule(302, 404, 404, 404, 404),
    "mfa_view_recovery_codes": Rule(302, 404, 404, 404, 404),
    "mfa_generate_recovery_codes": on_the_way(),
    "mfa_download_recovery_codes": Rule(302, 404, 404, 404, 404),
    "mfa_add_webauthn": on_the_way(),
    "mfa_edit_webauthn": on_the_way(lambda its: [1]),
    "mfa_remove_webauthn": on_the_way(lambda its: [1]),
    "usersessions_list": replace(signed_in(PAGE), writes=FORM, apart=FORM),
    # Without a recent confirmation, a form is answered with a redirect to confirm.
    "tokens": replace(signed_in(PAGE), empty=Rule(302, 302, 302, 302, 302), writes=("post",)),
    "token-revoke": form_only(lambda its: [1], Rule(302, 404, 404, 404, 404)),
    "exports": replace(signed_in(PAGE), writes=("post",), empty=Rule(302, 302, 302, 302, 302)),
    "export-file": Rule(302, 404, 404, 404, 404, lambda its: [1]),
    "export-delete": form_only(lambda its: [1], Rule(302, 404, 404, 404, 404)),
    "activity": signed_in(PAGE),
    "operation-cancel": replace(posted(Role.OPERATOR, lambda its: [its.operation.uuid], 302), apart=("post",)),
    "operation-retry": replace(posted(Role.OPERATOR, lambda its: [its.operation.uuid], 302), apart=("post",)),
    "library": signed_in(PAGE),
    "library-item": replace(own_airline(PAGE, lambda its: [its.library_item.pk]), writes=("post",), apart=("post",)),
    "library-delete": role_needed(Role.MANAGER, lambda its: [its.library_item.pk], writes=("post",), apart=("post",)),
    "library-pick": role_needed(
        Role.MANAGER, lambda its: [its.airline.name, its.draft.name], writes=("post",), apart=("post",)
    ),
    "uploads": signed_in(PAGE),
    "upload-from-url": form_only(lambda its: [], Rule(302, 302, 302, 302, 302)),  # an empty form: back, with a message
    "upload-delete": replace(posted(Role.MANAGER, lambda its: [its.upload.operation.uuid], 302), apart=("post",)),
    "upload-retry": replace(posted(Role.MANAGER, lambda its: [its.upload.operation.uuid], 302), apart=("post",)),
    "attention": signed_in(PAGE),
    "acknowledgement": form_only(lambda its: [], Rule(302, 404, 404, 404, 404)),  # the request names no load
    "matrix": own_airline(PAGE, lambda its: [its.airline.name, its.campaign.name]),
    "audit": Rule(PAGE, 403, 403, 403, 200),
    "airline-audit": role_needed(Role.MANAGER, lambda its: [its.airline.name]),
    "airline-settings": role_needed(
        Role.OPERATOR,
        lambda its: [its.airline.name],
        writes=("post",),
        empty=role_needed(Role.OPERATOR, lambda its: [its.airline.name], status=400),
    ),
    "airline-logo": own_airline(PAGE, lambda its: [its.airline.name]),
    "airline-brand": own_airline(PAGE, lambda its: [its.airline.name]),
    "tail-duty": posted(Role.OPERATOR, lambda its: [its.airline.name, its.tail.name], 302),
    "manifest": open_to_all(),
    "service-worker": open_to_all(),
    "offline": open_to_all(),
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
    "api-attention": signed_in(API),
    "api-acknowledgements-list": replace(signed_in(API), writes=("post",)),
    "api-acknowledgements-detail": replace(
        own_airline(API, lambda its: [its.acknowledgement.pk]), writes=("delete",), apart=("delete",)
    ),
    "api-audit-list": signed_in(API),
    "api-audit-detail": replace(own_airline(API, lambda its: [its.entry.pk]), alice=404, mona=200),
    "api-events-list": signed_in(API),
    "api-events-detail": own_airline(API, lambda its: [its.event.pk]),
    "api-moved-list": signed_in(API),
    "api-moved-detail": own_airline(API, lambda its: [its.moved.pk]),
    "api-usage-list": signed_in(API),
    "api-usage-detail": replace(own_airline(API, lambda its: [its.usage.pk]), alice=404),
    "api-airlines-list": signed_in(API),
    "api-airlines-detail": own_airline(API, lambda its: [its.airline.pk]),
    "api-campaigns-list": signed_in(API),
    "api-campaigns-detail": own_airline(API, lambda its: [its.campaign.pk]),
    "api-content-list": signed_in(API),
    "api-content-detail": own_airline(API, lambda its: [its.item.pk]),
    "api-operations-list": signed_in(API),
    "api-operations-detail": own_airline(API, lambda its: [its.operation.uuid]),
    "api-operations-events": own_airline(API, lambda its: [its.operation.uuid]),
    "api-operations-cancel": action(lambda its: [its.operation.uuid]),
    "api-operations-retry": action(lambda its: [its.operation.uuid]),
    "api-tails-list": signed_in(API),
    "api-tails-detail": replace(own_airline(API, lambda its: [its.tail.pk]), writes=("patch",)),
    "api-loads-list": signed_in(API),
    "api-loads-detail": own_airline(API, lambda its: [its.load.pk]),
    "api-transfers-list": signed_in(API),
    "api-transfers-detail": own_airline(API, lambda its: [its.transfer.pk]),
    "api-anomalies-list": signed_in(API),
    "api-anomalies-detail": own_airline(API, lambda its: [its.anomaly.pk]),
    "api-library-list": signed_in(API),
    "api-library-detail": replace(
        own_airline(API, lambda its: [its.library_item.pk]), writes=("patch", "delete"), apart=("patch", "delete")
    ),
    "api-uploads-list": replace(signed_in(API), writes=("post",)),
    "api-uploads-detail": replace(
        own_airline(API, lambda its: [its.upload.operation.uuid]), writes=("delete",), apart=("delete",)
    ),
    "api-uploads-parts": own_airline(API, lambda its: [its.upload.operation.uuid]),
    "api-uploads-complete": replace(open_to_all(405), anonymous=API, arguments=lambda its: [its.upload.operation.uuid]),
    "api-unknown": Rule(API, 404, 404, 404, 404, lambda its: [f"v1/{its.airline.pk}/"]),
    "schema": signed_in(API),
    "docs": signed_in(PAGE),
}
ADMIN = sorted({name for name, _ in portal_routes() if name.startswith("admin:")})
ADMIN_OPEN = {"admin:login", "admin:logout"}
ORDINARY = [name for name, _ in portal_routes() if not name.startswith("admin:")]


class Writes:
    """Records whether a statement may have changed a row of ours, because to read all rows takes long."""

    def __init__(self) -> None:
        self.seen = False

    def __call__(self, execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        self.seen = self.seen or not (READS.match(sql) or OTHER_WRITES.match(sql))
        return execute(sql, *rest)


@dataclass(frozen=True)
class World:
    """Two airlines, the sessions of all users, and all rows as they are at the start of each test."""

    cast: Cast
    acme: PopulatedAirline
    beta: PopulatedAirline
    sessions: Mapping[str, str]
    rows: dict[str, list[dict[str, Any]]]
    writes: Writes = field(default_factory=Writes)

    def is_unchanged(self) -> bool:
        """Whether all rows are as at the start of the test."""
        return not self.writes.seen or everything() == self.rows

    def client(self, user: str) -> Client:
        """Return a client of the user, signed in unless anonymous."""
        client = Client(raise_request_exception=False)
        if user in self.sessions:
            client.cookies[settings.SESSION_COOKIE_NAME] = self.sessions[user]
        return client

    def person(self, user: str) -> User:
        person: User = getattr(self.cast, user)
        return person

    def foreign_marks(self, user: str) -> tuple[str, ...]:
        """Return texts that no response to this user may contain."""
        hidden = {
            **dict.fromkeys(("alice", "otto", "mona"), (self.beta,)),
            **dict.fromkeys(("bob", "bruno"), (self.acme,)),
            **dict.fromkeys(("nick", "anonymous"), (self.acme, self.beta)),
        }
        return tuple(mark for holding in hidden.get(user, ()) for mark in holding.marks)


@pytest.fixture(scope="module")
def shared_world(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    with shared_rows(django_db_blocker):
        yield create_world()


def create_world() -> World:
    cast = create_cast()
    Airline.objects.all().delete()
    of_acme = {cast.alice: Role.VIEWER, cast.otto: Role.OPERATOR, cast.mona: Role.MANAGER}
    of_beta = {cast.bob: Role.VIEWER, cast.bruno: Role.MANAGER}
    acme = populate_airline(Airline(name="ACME", colour="#aa2200"), members=of_acme, first_id=4_100_000_000_000)
    beta = populate_airline(Airline(name="BETA", colour="#0022aa"), members=of_beta, first_id=8_700_000_000_000)
    for holding in (acme, beta):
        set_logo(holding.airline, b"\x89PNG")
        holding.airline.save()
    sessions = {name: session_of(getattr(cast, name)) for name in USERS if name != "anonymous"}
    return World(replace(cast, acme=acme.airline, beta=beta.airline), acme, beta, sessions, everything())


def session_of(user: User) -> str:
    """Sign the user in and return the key of the session."""
    client = Client()
    client.force_login(user)
    key = client.session.session_key
    assert key
    return key


@pytest.fixture
def world(shared_world: World, db: None) -> Iterator[World]:
    cache.clear()  # throttle counts
    writes = Writes()
    with chores(), connection.execute_wrapper(writes):
        yield replace(shared_world, writes=writes)


def test_every_address_has_a_rule_and_every_rule_an_address() -> None:
    assert sorted(set(ORDINARY)) == sorted(RULES)


def test_every_address_has_a_unique_name() -> None:
    assert len(ORDINARY) == len(set(ORDINARY))


@pytest.mark.parametrize("name", ORDINARY)
def test_each_user_gets_the_response_of_the_rule_and_no_foreign_data(world: World, name: str) -> None:
    rule = RULES[name]
    swapped = {"alice": "bob", "otto": "bob", "mona": "bob", "bob": "alice", "bruno": "mona"}
    for user in USERS:
        client = world.client(user)
        for holding, as_user in ((world.acme, user), (world.beta, swapped.get(user, user))):
            address = reverse(name, args=rule.arguments(holding))
            answer = client.get(address)
            assert answer.status_code == rule.expected(as_user), f"{user} at {address}"
            assert_nothing_foreign(world, user, address, answer)


@pytest.mark.parametrize("name", ORDINARY)
def test_no_user_changes_data_where_no_write_is_declared(world: World, name: str) -> None:
    rule = RULES[name]
    address = reverse(name, args=rule.arguments(world.acme))
    for user in USERS:
        client = world.client(user)
        for method in (word for word in UNSAFE if word not in rule.apart):
            answer = getattr(client, method)(address, data=b"{}", content_type="application/json")
            assert answer.status_code < 500, f"{user}: {method} {address}"
            if method not in rule.writes and not (rule.empty and method == "post"):
                assert answer.status_code >= 300, f"{user}: {method} {address}"
            assert_nothing_foreign(world, user, address, answer)
    assert world.is_unchanged()


@pytest.mark.parametrize("name", [name for name in RULES if RULES[name].empty])
def test_only_users_named_by_the_rule_may_submit_a_form(world: World, name: str) -> None:
    rule = RULES[name]
    assert rule.empty
    address = reverse(name, args=rule.arguments(world.acme))
    for user in USERS:
        answer = world.client(user).post(address, {})
        assert answer.status_code == rule.empty.expected(user), f"{user} at {address}"


@pytest.mark.parametrize("name", [name for name in ORDINARY if name.startswith("api-")])
def test_a_token_opens_no_more_than_its_airline_and_one_that_reads_writes_nothing(world: World, name: str) -> None:
    rule = RULES[name]
    for user, may_write in (("olga", True), ("mona", False)):
        _, key = create_token(world.person(user), "test", days=1, airline=world.acme.airline, may_write=may_write)
        client = Client(raise_request_exception=False, headers={"Authorization": f"Bearer {key}"})
        for holding, as_user in ((world.acme, user), (world.beta, "bob" if user == "mona" else "alice")):
            address = reverse(name, args=rule.arguments(holding))
            answer = client.get(address)
            foreign = holding is world.beta and rule.bob == 404
            assert answer.status_code == (404 if foreign else rule.expected(as_user)), f"{user} at {address}"
            assert_nothing_foreign(world, "alice", address, answer)
            for method in UNSAFE if not may_write else ():
                assert getattr(client, method)(address).status_code == 403, f"{method} {address}"
    Token.objects.all().delete()
    assert world.is_unchanged()


@pytest.mark.parametrize("name", [name for name in ORDINARY if name.startswith("api-") and name.endswith("-list")])
def test_a_list_filtered_by_a_foreign_airline_is_empty(world: World, name: str) -> None:
    members = 0 if name in ("api-audit-list", "api-usage-list") else 1
    for user, count in (("alice", 0), ("nick", 0), ("bob", members), ("olga", 1)):
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
def test_foreign_objects_are_not_reachable_through_the_own_airline(world: World, path: str) -> None:
    for user in ("alice", "olga"):
        answer = world.client(user).get(f"/airlines/ACME/{path.format(beta=world.beta)}/")
        assert answer.status_code == 404


def test_a_disabled_user_has_no_access(world: World) -> None:
    client = world.client("alice")
    User.objects.filter(pk=world.cast.alice.pk).update(is_active=False)
    assert client.get("/").status_code == 302
    assert client.get("/api/v1/tails/").status_code == 401


@pytest.mark.parametrize("name", ADMIN)
def test_the_admin_is_for_staff_alone(world: World, name: str) -> None:
    address = admin_address(name, world)
    for user in ("anonymous", "nick", "alice", "otto"):
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
    client = world.client("olga")
    if name not in ADMIN_OPEN:
        assert client.post(admin_address(name, world), {"post": "yes"}).status_code < 500
    assert world.is_unchanged()


def assert_nothing_foreign(world: World, user: str, address: str, answer: Any) -> None:
    """A response may repeat the request, as in "next=/airlines/BETA/", but reveal nothing else of another airline."""
    body = answer.content.decode(errors="replace").replace(address, "").lower()
    body = re.sub(r"[\w-]{40,}", "", body)  # random values may contain any word
    for mark in world.foreign_marks(user):
        assert mark.lower() not in body, f"{user} at {address} sees {mark}"
    for header, value in answer.headers.items():
        if header != "Location":
            for mark in world.foreign_marks(user):
                assert mark.lower() not in value.lower(), f"{user} at {address}: {header}"


def without_token(page: bytes) -> bytes:
    """Return the page without the CSRF token, which differs each time."""
    return re.sub(rb'name="csrfmiddlewaretoken" value="[^"]+"', b"", page)


def is_sent_to_sign_in(answer: Any) -> bool:
    return answer.status_code == 302 and "login/?next=" in answer.headers["Location"]


def admin_address(name: str, world: World) -> str:
    """Return an admin URL, with an id that exists if it needs one."""
    if name == "admin:":
        return "/admin/fleet/tail/1/"
    if name == "admin:app_list":
        return reverse(name, args=["fleet"])
    if (
        not name.endswith(("_history", "_delete", "_change", "_progress", "_publish", "_withdraw"))
        or name == "admin:password_change"
    ):
        return reverse(name)
    model = name.removeprefix("admin:").rsplit("_", 1)[0]
    rows = {
        "ifeportal_airline": world.acme.airline,
        "ifeportal_user": world.cast.nick,
        "auth_user_password": world.cast.nick,
        "campaigns_campaign": world.acme.campaign,
        "campaigns_contentitem": world.acme.item,
        "campaigns_draft": world.acme.draft,
        "campaigns_draftitem": world.acme.draft_item,
        "fleet_tail": world.acme.tail,
        "fleet_load": world.acme.load,
        "fleet_transfer": world.acme.transfer,
        "fleet_anomaly": world.acme.anomaly,
    }
    return reverse(name, args=[rows[model].pk if model in rows else 1])


def everything() -> dict[str, list[dict[str, Any]]]:
    """Return all rows of our models, except times of sign-in."""
    passing = (Session, Change, Counter)
    rows = {}
    for model in apps.get_models():
        if model._meta.app_label in OUR_APPS and (model not in passing):
            rows[model._meta.label] = [
                {key: value for key, value in row.items() if key != "last_login"}
                for row in model._default_manager.order_by("pk").values()
                if row.get("action") != "user.signed-out"
            ]
    return rows
