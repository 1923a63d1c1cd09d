"""/healthz, /readyz and /metrics, and what is answered while the database is away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client, override_settings
from django.utils import timezone

from ifeportal.models import Airline, Job
from tests.conftest import Cast

Factory = Callable[..., Any]


@pytest.fixture
def no_database() -> Iterator[None]:
    """Every query fails, as when the server is gone."""

    def refuse(*_: object) -> None:
        raise OperationalError("connection to server failed: Connection refused")

    with connection.execute_wrapper(refuse):
        yield


def poll(name: str, seconds_ago: float) -> None:
    now = timezone.now()
    Job.objects.create(name=f"poll:{name}", due_at=now, succeeded_at=now - timedelta(seconds=seconds_ago))


def test_healthz_answers_without_signing_in_and_without_the_database(client: Client) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.content) == (200, b"ok\n")
    assert "no-store" in answer.headers["Cache-Control"]


def test_healthz_asks_no_question_of_the_database_even_with_a_session(
    cast: Cast, client: Client, no_database: None
) -> None:
    client.cookies["sessionid"] = "a" * 32
    assert client.get("/healthz").status_code == 200


def test_a_fresh_install_without_airlines_is_ready(db: None, client: Client) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["ready"]


def test_a_recent_poll_makes_ready_and_its_age_is_told(cast: Cast, client: Client) -> None:
    poll("ACME", 3)
    poll("BETA", 4000)
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert 3 <= answer.json()["checks"]["polls"]["age_seconds"] < 30


def test_polls_that_are_all_too_old_make_unready_with_the_reason(cast: Cast, client: Client) -> None:
    poll("ACME", 4000)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reason"] == "The last good poll is 4000 s old; 60 s are allowed."


def test_airlines_that_were_never_polled_make_unready(cast: Cast, client: Client) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reason"] == "No poll has succeeded yet."


def test_readiness_names_no_airline_to_a_stranger(cast: Cast, client: Client) -> None:
    poll("ACME", 4000)
    body = client.get("/readyz").content.decode()
    assert "ACME" not in body


def test_readyz_says_that_the_database_is_away(db: None, client: Client, no_database: None) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reason"] == "The database does not answer."


@pytest.mark.parametrize("address", ["/", "/airlines/ACME/", "/admin/"])
def test_a_page_is_answered_with_503_while_the_database_is_away(
    cast: Cast, client: Client, address: str, no_database: None
) -> None:
    client.raise_request_exception = False
    client.cookies["sessionid"] = "a" * 32
    answer = client.get(address)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert b"<h1>" in answer.content


def test_the_api_answers_503_as_json_while_the_database_is_away(cast: Cast, client: Client, no_database: None) -> None:
    client.raise_request_exception = False
    answer = client.get("/api/v1/tails/", headers={"Authorization": "Token 0123456789"})
    assert answer.status_code == 503
    assert "database" in answer.json()["detail"]


def test_a_fault_of_ours_is_still_a_500(cast: Cast, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise KeyError("a fault of ours")

    monkeypatch.setattr("ifeportal.health.look", broken)
    client.raise_request_exception = False
    assert client.get("/readyz").status_code == 500


def test_metrics_are_for_staff_and_hidden_from_everyone_else(cast: Cast, client: Client) -> None:
    assert client.get("/metrics").status_code == 401
    client.force_login(cast.alice)
    assert client.get("/metrics").status_code == 404
    client.force_login(cast.olga)
    assert client.get("/metrics").status_code == 200


@override_settings(METRICS_TOKEN="the scraper's token")
def test_metrics_are_for_the_holder_of_the_token(cast: Cast, client: Client) -> None:
    assert client.get("/metrics", headers={"Authorization": "Bearer the scraper's token"}).status_code == 200
    assert client.get("/metrics", headers={"Authorization": "Bearer another"}).status_code == 401


def test_without_a_token_set_an_empty_one_opens_nothing(db: None, client: Client) -> None:
    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 401


@override_settings(METRICS_TOKEN="the scraper's token")
def test_metrics_say_that_the_database_is_away(db: None, client: Client, no_database: None) -> None:
    answer = client.get("/metrics", headers={"Authorization": "Bearer the scraper's token"})
    assert answer.status_code == 200
    assert "ifeportal_database_up 0.0" in answer.content.decode()


def test_metrics_count_what_there_is_by_airline(cast: Cast, client: Client) -> None:
    poll("ACME", 10)
    Job.objects.filter(name="poll:ACME").update(failures=3)
    client.force_login(cast.olga)
    lines = client.get("/metrics").content.decode().splitlines()
    assert "ifeportal_database_up 1.0" in lines
    assert 'ifeportal_job_failures{job="poll:ACME"} 3.0' in lines
    assert any(line.startswith('ifeportal_job_success_age_seconds{job="poll:ACME"} 1') for line in lines)


def test_metrics_cost_the_same_queries_for_any_number_of_airlines(
    cast: Cast, client: Client, django_assert_num_queries: Factory, django_assert_max_num_queries: Factory
) -> None:
    client.force_login(cast.olga)
    with django_assert_max_num_queries(12) as few:
        client.get("/metrics")
    for number in range(20):
        Airline.objects.create(name=f"A{number}")
        poll(f"A{number}", 1)
    with django_assert_num_queries(len(few)):
        client.get("/metrics")
