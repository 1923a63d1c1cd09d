"""API tokens: creation, one-time display, stored hashes, limits, expiry and revocation."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from fleet.models import Tail
from ifeportal.accounts.tokens import TOKENS_PER_USER, create_token
from ifeportal.models import AuditEntry, Token
from tests.conftest import PASSWORD, Cast

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


def test_a_key_is_shown_once_and_only_a_hash_of_it_is_kept(cast: Cast, alice: Client) -> None:
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
def test_of_forms_sent_at_once_one_makes_a_token_and_the_others_are_told_why(cast: Cast) -> None:
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


def test_nobody_has_more_tokens_than_there_may_be(cast: Cast, alice: Client) -> None:
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
def test_what_is_no_token_is_refused_with_how_to_sign_in(db: None, key: str) -> None:
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
