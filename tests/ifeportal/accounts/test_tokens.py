"""API tokens: creation, one-time display, stored hashes, limits, expiry and revocation."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.core.management import call_command
from django.db import connection
from django.test import Client, override_settings
from django.utils import timezone

from fleet.models import Tail
from ifeportal.accounts.tokens import TOKENS_PER_USER, create_token
from ifeportal.models import AuditEntry, Membership, Token, User
from tests.conftest import PASSWORD, Cast
from tests.ifeportal.accounts.test_sign_in import code as code  # the fixture
from tests.ifeportal.accounts.test_sign_in import give_an_app, sign_in

MADE = {"name": "nightly export", "airline": "", "access": "read", "days": "90"}


@pytest.fixture
def alice(cast: Cast, client: Client) -> Client:
    client.force_login(cast.alice)
    confirm(client)
    return client


def confirm(client: Client) -> None:
    """Confirm the identity of the signed-in user with the password."""
    assert client.post("/account/confirm/", {"password": PASSWORD}).status_code == 302


def key_in(page: str) -> str:
    found = re.search(r'class="key"[^>]*>(ife_[0-9a-f]{64})<', page)
    assert found
    return found[1]


def ask(key: str, path: str = "/api/v1/tails/", method: str = "get", scheme: str = "Bearer") -> tuple[int, str]:
    answer = getattr(Client(raise_request_exception=False), method)(path, headers={"Authorization": f"{scheme} {key}"})
    return answer.status_code, answer.headers.get("WWW-Authenticate", "")


def test_a_key_is_shown_once_and_only_its_hash_is_stored(cast: Cast, alice: Client) -> None:
    made = alice.post("/account/tokens/", MADE)
    assert made.status_code == 201
    assert "no-store" in made.headers["Cache-Control"]
    key = key_in(made.content.decode())
    assert key not in alice.get("/account/tokens/").content.decode()
    row = Token.objects.get()
    assert key not in [str(value) for value in vars(row).values()]
    assert row.token_key == key[:15]
    assert timedelta(days=89) < row.expiry - timezone.now() < timedelta(days=91)
    assert key not in str(list(AuditEntry.objects.values()))
    assert ask(key)[0] == ask(key, scheme="Token")[0] == ask(key, scheme="bearer")[0] == 200


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"days": "0"}, "greater than or equal to 1"),
        ({"days": "366"}, "less than or equal to 365"),
        ({"name": ""}, "required"),
        ({"access": "all"}, "Select a valid choice"),
        ({"airline": "BETA"}, "Select a valid choice"),
    ],
)
def test_a_form_that_asks_for_too_much_makes_nothing(
    cast: Cast, alice: Client, wrong: dict[str, str], words: str
) -> None:
    given = wrong | ({"airline": str(cast.beta.pk)} if "airline" in wrong else {})
    answer = alice.post("/account/tokens/", MADE | given)
    assert answer.status_code == 400
    assert words in answer.content.decode()
    assert not Token.objects.exists()


def test_sending_the_form_twice_makes_one_token(cast: Cast, alice: Client) -> None:
    assert [alice.post("/account/tokens/", MADE).status_code for _ in range(2)] == [201, 400]
    assert Token.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_concurrent_forms_one_creates_a_token_and_the_others_get_an_error(cast: Cast) -> None:
    def send(browser: Client) -> int:
        try:
            return browser.post("/account/tokens/", MADE).status_code
        finally:
            connection.close()

    browsers = [Client(raise_request_exception=False) for _ in range(4)]
    for browser in browsers:
        browser.force_login(cast.alice)
        confirm(browser)
    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(send, browsers)) == [201, 400, 400, 400]
    assert Token.objects.count() == AuditEntry.objects.filter(action="token.made").count() == 1


def test_the_number_of_tokens_per_user_is_limited(cast: Cast, alice: Client) -> None:
    for number in range(TOKENS_PER_USER):
        create_token(cast.alice, f"token {number}", days=1, airline=None, may_write=False)
    assert alice.post("/account/tokens/", MADE).status_code == 400
    assert Token.objects.count() == TOKENS_PER_USER


def test_a_revoked_token_opens_nothing_and_only_its_user_revokes_it(cast: Cast, alice: Client) -> None:
    mine, key = create_token(cast.alice, "mine", days=1, airline=None, may_write=False)
    other, _ = create_token(cast.bob, "other", days=1, airline=None, may_write=False)
    assert alice.post(f"/account/tokens/{other.pk}/revoke/").status_code == 404
    assert ask(key)[0] == 200
    assert alice.post(f"/account/tokens/{mine.pk}/revoke/").status_code == 302
    assert ask(key) == (401, 'Bearer realm="ifeportal"')
    assert list(Token.objects.all()) == [other]


def test_a_token_ends_and_so_it_does_with_its_user(cast: Cast) -> None:
    _, key = create_token(cast.alice, "mine", days=1, airline=None, may_write=False)
    assert ask(key)[0] == 200
    Token.objects.update(expiry=timezone.now())
    assert ask(key)[0] == 401
    Token.objects.update(expiry=timezone.now() + timedelta(days=1))
    cast.alice.is_active = False
    cast.alice.save()
    assert ask(key)[0] == 401


@pytest.mark.parametrize("key", ["", "x", "ife_" + "0" * 64, "é", "a b", "x" * 5000, "ife_"])
def test_an_invalid_token_is_refused_with_sign_in_instructions(db: None, key: str) -> None:
    assert ask(key) == (401, 'Bearer realm="ifeportal"')


def test_a_token_for_one_airline_shows_staff_that_one_alone(cast: Cast) -> None:
    for airline in (cast.acme, cast.beta):
        Tail.objects.create(airline=airline, name=f"N-{airline.name}")
    _, key = create_token(cast.ada, "acme only", days=1, airline=cast.acme, may_write=True)
    answer = Client().get("/api/v1/tails/", headers={"Authorization": f"Bearer {key}"})
    assert [row["tail"] for row in answer.json()["results"]] == ["N-ACME"]


def test_a_token_that_reads_changes_nothing_and_one_that_writes_does(cast: Cast) -> None:
    tail = Tail.objects.create(airline=cast.acme, name="N1")
    codes = []
    for may_write in (False, True):
        _, key = create_token(cast.otto, f"{may_write}", days=1, airline=None, may_write=may_write)
        answer = Client().patch(
            f"/api/v1/tails/{tail.pk}/",
            {"duty": "stored"},
            content_type="application/json",
            headers={"Authorization": f"Bearer {key}"},
        )
        codes.append(answer.status_code)
    assert codes == [403, 200]
    assert AuditEntry.objects.get().who == "otto"


def test_a_token_opens_no_page(cast: Cast) -> None:
    _, key = create_token(cast.ada, "mine", days=1, airline=None, may_write=True)
    for path in ("/", "/admin/", "/account/tokens/", "/audit/"):
        assert ask(key, path)[0] == 302
    assert ask(key, "/metrics")[0] == 401


def test_when_a_token_was_last_used_is_noted_once_a_minute(cast: Cast) -> None:
    token, key = create_token(cast.alice, "mine", days=1, airline=None, may_write=False)
    ask(key)
    token.refresh_from_db()
    first = token.used_at
    assert first
    ask(key)
    token.refresh_from_db()
    assert token.used_at == first
    Token.objects.update(used_at=first - timedelta(minutes=2))
    ask(key)
    token.refresh_from_db()
    assert token.used_at >= first


# Confirmation, and what ends a token.


def test_a_session_alone_makes_no_token_and_a_confirmed_form_goes_on(cast: Cast, client: Client) -> None:
    sign_in(client)
    asked = client.post("/account/tokens/", MADE)
    assert asked["Location"] == "/account/confirm/?next=%2Faccount%2Ftokens%2F"
    assert not Token.objects.exists()
    assert client.post(asked["Location"], {"password": "wrong"}).status_code == 200
    assert not Token.objects.exists()
    made = client.post(asked["Location"], {"password": PASSWORD, "next": "/account/tokens/"})
    assert ask(key_in(made.content.decode()))[0] == 200
    assert "confirm your identity" in client.get("/account/tokens/").content.decode()


@pytest.mark.parametrize(("age", "made"), [(0, 1), (600, 0)])
def test_a_user_of_single_sign_on_must_have_signed_in_recently(cast: Cast, client: Client, age: int, made: int) -> None:
    cast.alice.set_unusable_password()
    cast.alice.save()
    client.force_login(cast.alice)
    session = client.session
    session["account_authentication_methods"] = [{"method": "socialaccount", "at": timezone.now().timestamp() - age}]
    session["account_authentication_methods_user"] = str(cast.alice.pk)
    session.save()
    client.post("/account/tokens/", MADE)
    assert Token.objects.count() == made
    assert ("signed in too long ago" in client.get("/account/tokens/").content.decode()) is not made


def new_password(cast: Cast) -> None:
    client = Client()
    sign_in(client)
    new = {"oldpassword": PASSWORD, "password1": "another long sentence", "password2": "another long sentence"}
    assert client.post("/account/password/", new).status_code == 302


def password_of_the_admin(cast: Cast) -> None:
    client = Client()
    client.force_login(cast.ada)
    new = {"password1": "another long sentence", "password2": "another long sentence", "usable_password": "true"}
    assert client.post(f"/admin/ifeportal/user/{cast.alice.pk}/password/", new).status_code == 302


def no_password(cast: Cast) -> None:
    user = User.objects.get(pk=cast.alice.pk)
    user.set_unusable_password()
    user.save()


def removed_app(cast: Cast) -> None:
    client = Client()
    client.force_login(cast.alice)
    give_an_app(cast.alice)
    confirm(client)
    assert client.post("/account/app/remove/").status_code == 302


def deleted_factor(cast: Cast) -> None:
    give_an_app(cast.alice)
    client = Client()
    client.force_login(cast.ada)
    rows = Authenticator.objects.filter(user=cast.alice)
    chosen = {"action": "delete_selected", "_selected_action": [row.pk for row in rows], "post": "yes"}
    assert client.post("/admin/mfa/authenticator/", chosen).status_code == 302
    assert not rows.all().exists()


ENDS: dict[str, Callable[[Cast], Any]] = {
    "a new password": new_password,
    "a password of the admin": password_of_the_admin,
    "no password": no_password,
    "a removed app": removed_app,
    "a factor that the admin deletes": deleted_factor,
    "reset_second_factor": lambda cast: call_command("reset_second_factor", "alice"),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_a_token_ends_with_the_credentials_of_its_user(cast: Cast, end: Callable[[Cast], Any]) -> None:
    _, key = create_token(cast.alice, "old", days=1, airline=None, may_write=False)
    _, other = create_token(cast.bob, "other", days=1, airline=None, may_write=False)
    assert ask(key)[0] == 200
    end(cast)
    assert ask(key)[0] == 401
    assert ask(other)[0] == 200
    client = Client()
    client.force_login(User.objects.get(pk=cast.alice.pk))
    assert "ended by a new password or second factor" in client.get("/account/tokens/").content.decode()
    _, new = create_token(cast.alice, "new", days=1, airline=None, may_write=False)
    assert ask(new)[0] == 200


def test_a_replaced_hash_of_the_same_password_ends_no_token(cast: Cast) -> None:
    _, key = create_token(cast.alice, "mine", days=1, airline=None, may_write=False)
    User.objects.filter(pk=cast.alice.pk).update(password=PBKDF2PasswordHasher().encode(PASSWORD, "s" * 22, 1))
    hashers = ["django.contrib.auth.hashers.MD5PasswordHasher", "django.contrib.auth.hashers.PBKDF2PasswordHasher"]
    with override_settings(PASSWORD_HASHERS=hashers):
        assert sign_in(Client()).status_code == 302
    assert User.objects.get(pk=cast.alice.pk).password.startswith("md5$")
    assert ask(key)[0] == 200


def test_a_token_records_whether_a_second_factor_was_used(
    cast: Cast, client: Client, monkeypatch: pytest.MonkeyPatch, code: Callable[[int], str]
) -> None:
    give_an_app(cast.alice)
    sign_in(client)
    client.post("/login/second-factor/", {"code": code(7)})
    confirm(client)
    key = key_in(client.post("/account/tokens/", MADE).content.decode())
    _, without = create_token(cast.alice, "without", days=1, airline=None, may_write=False)
    with override_settings(SECOND_FACTOR_FOR=("viewer",)):
        assert (ask(key)[0], ask(without)[0]) == (200, 403)
        Authenticator.objects.filter(user=cast.alice, type="totp").delete()
        assert ask(key)[0] == 403
        totp.TOTP.activate(cast.alice, "JBSWY3DPEHPK3PXP")
        assert ask(key)[0] == 200
    assert ask(without)[0] == 200


@override_settings(SECOND_FACTOR_FOR=("staff", "manager"))
def test_a_token_follows_its_user_to_another_role(cast: Cast) -> None:
    _, key = create_token(cast.alice, "mine", days=1, airline=None, may_write=True)
    assert ask(key)[0] == 200
    membership = Membership.objects.filter(user=cast.alice)
    membership.update(role="manager")
    answer = Client().get("/api/v1/audit/", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 403
    assert "requires a second factor" in answer.json()["detail"]
    give_an_app(cast.alice)
    answer = Client().get("/api/v1/audit/", headers={"Authorization": f"Bearer {key}"})
    assert "created without one" in answer.json()["detail"]
    membership.update(role="viewer")
    assert ask(key)[0] == 200
    User.objects.filter(pk=cast.alice.pk).update(is_staff=True)
    assert ask(key)[0] == 403


def test_a_token_loses_what_its_user_loses(cast: Cast) -> None:
    Tail.objects.create(airline=cast.acme, name="N1")
    AuditEntry.objects.create(at=timezone.now(), airline=cast.acme, whose="ACME", action="x", target="y", via="page")
    _, key = create_token(cast.mona, "all", days=1, airline=None, may_write=True)
    _, one = create_token(cast.mona, "one", days=1, airline=cast.acme, may_write=True)

    def visible_counts(key: str) -> list[int]:
        paths = ("/api/v1/audit/", "/api/v1/tails/")
        answers = (Client().get(path, headers={"Authorization": f"Bearer {key}"}) for path in paths)
        return [len(answer.json()["results"]) for answer in answers]

    assert visible_counts(key) == visible_counts(one) == [1, 1]
    Membership.objects.filter(user=cast.mona).update(role="viewer")
    assert visible_counts(key) == visible_counts(one) == [0, 1]
    Membership.objects.filter(user=cast.mona).delete()
    assert visible_counts(key) == visible_counts(one) == [0, 0]
