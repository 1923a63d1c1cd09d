"""Who may read: signed in or with a token, only the airlines of one's memberships, and not without end."""

from __future__ import annotations

import pytest
from rest_framework.authtoken.models import Token
from rest_framework.test import APIClient

from ifeportal.api import ENDPOINTS
from tests.api.conftest import ClientOf
from tests.conftest import PASSWORD, Cast

PATHS = ["", *(f"{name}/" for name in ENDPOINTS)]


@pytest.mark.parametrize("path", PATHS)
def test_nobody_gets_a_401_that_says_how_to_sign_in(db: None, path: str) -> None:
    answer = APIClient().get(f"/api/v1/{path}")
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == "Token"
    assert set(answer.json()) == {"type", "title", "status", "detail", "instance"}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_member_sees_the_rows_of_the_own_airline_only(fleet: Cast, client_of: ClientOf, endpoint: str) -> None:
    alice, olga = client_of(fleet.alice), client_of(fleet.olga)
    everything = olga.get(f"/api/v1/{endpoint}/").json()["results"]
    mine = alice.get(f"/api/v1/{endpoint}/").json()
    assert mine["results"] == [row for row in everything if row["airline"] == "ACME"]
    assert mine["count"] == len(mine["results"]) > 0
    for row in everything:
        expected = 200 if row["airline"] == "ACME" else 404
        assert alice.get(f"/api/v1/{endpoint}/{row['id']}/").status_code == expected


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_foreign_airline_looks_like_one_that_does_not_exist(fleet: Cast, client_of: ClientOf, endpoint: str) -> None:
    alice = client_of(fleet.alice)
    foreign, unknown = (alice.get(f"/api/v1/{endpoint}/?airline={name}") for name in ("BETA", "NOBODY"))
    assert foreign.json() == unknown.json()
    assert foreign.json()["count"] == 0


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_user_without_a_membership_sees_nothing(fleet: Cast, client_of: ClientOf, endpoint: str) -> None:
    assert client_of(fleet.nick).get(f"/api/v1/{endpoint}/").json()["count"] == 0


def test_a_token_is_obtained_with_name_and_password(fleet: Cast) -> None:
    answer = APIClient().post("/api/v1/token/", {"username": "alice", "password": PASSWORD})
    assert answer.status_code == 200
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {answer.json()['token']}")
    assert {row["airline"] for row in client.get("/api/v1/tails/").json()["results"]} == {"ACME"}


def test_a_wrong_password_gets_a_sentence_and_no_token(fleet: Cast) -> None:
    answer = APIClient().post("/api/v1/token/", {"username": "alice", "password": "wrong"})
    assert answer.status_code == 400
    assert "token" not in answer.json()
    assert not Token.objects.exists()


def test_the_token_of_a_disabled_user_opens_nothing(fleet: Cast) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {Token.objects.create(user=fleet.alice).key}")
    assert client.get("/api/v1/tails/").status_code == 200
    fleet.alice.is_active = False
    fleet.alice.save()
    assert client.get("/api/v1/tails/").status_code == 401


def test_guessing_at_one_account_is_stopped_wherever_it_comes_from(fleet: Cast) -> None:
    client = APIClient()
    answers = [
        client.post("/api/v1/token/", {"username": "Alice", "password": "x"}, REMOTE_ADDR=f"10.0.0.{n}")
        for n in range(12)
    ]
    assert [answer.status_code for answer in answers] == [400] * 10 + [429] * 2
    assert int(answers[-1]["Retry-After"]) > 0


def test_guessing_from_one_address_is_stopped_whatever_the_account(fleet: Cast) -> None:
    client = APIClient()
    codes = [client.post("/api/v1/token/", {"username": f"user{n}", "password": "x"}).status_code for n in range(22)]
    assert codes == [400] * 20 + [429] * 2


def test_an_invented_forwarding_address_does_not_help_to_guess(fleet: Cast) -> None:
    client = APIClient()
    codes = [
        client.post(
            "/api/v1/token/", {"username": f"user{n}", "password": "x"}, HTTP_X_FORWARDED_FOR=f"10.1.1.{n}"
        ).status_code
        for n in range(22)
    ]
    assert codes[-2:] == [429, 429]


@pytest.mark.parametrize("body", ["[]", "null", '{"username": ["a"]}', "{", '{"username": "\\u0000", "password": "x"}'])
def test_a_malformed_request_for_a_token_is_refused(db: None, body: str) -> None:
    assert APIClient().post("/api/v1/token/", body, content_type="application/json").status_code == 400
