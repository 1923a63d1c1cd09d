"""Access to the API: by session or token, only to the user's airlines, and with a rate limit."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from tests.conftest import Cast
from tests.support.api_fleet import ENDPOINTS, ClientOf

PATHS = ["", *(f"{name}/" for name in ENDPOINTS)]


@pytest.mark.parametrize("path", PATHS)
def test_an_anonymous_request_gets_a_401_with_sign_in_instructions(db: None, path: str) -> None:
    answer = APIClient().get(f"/api/v1/{path}")
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == 'Bearer realm="ifeportal"'
    assert set(answer.json()) == {"type", "title", "status", "detail", "instance"}


FOR_MEMBERS = [name for name in ENDPOINTS if name not in ("audit", "usage")]


@pytest.mark.parametrize("endpoint", FOR_MEMBERS)
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
