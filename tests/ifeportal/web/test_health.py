"""/healthz, /readyz and /metrics, also during a database outage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import OperationalError, connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from fleet.choices import Status
from fleet.models import Load
from fleet.stats.totals import recount
from ifeportal.jobs.broker import wake_workers
from ifeportal.jobs.leases import lease
from ifeportal.models import PACEMAKER, Airline, Job
from tests.conftest import Cast
from tests.support.api_fleet import make_load

Factory = Callable[..., Any]


@pytest.fixture
def no_database() -> Iterator[None]:
    """Make every query fail, as if the server were gone."""

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


HOSTS = ("10.0.3.7:8000", "10.0.3.7", "[fd00::7]:8000", "kubelet", "ife.example.org.evil.example", "no host!", "")


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("https", [False, True])
@override_settings(METRICS_TOKEN="the scraper's token", ALLOWED_HOSTS=["ife.example.org"], DEBUG=False)
def test_machines_are_answered_whatever_host_they_name_and_without_tls(
    cast: Cast, client: Client, host: str, https: bool
) -> None:
    poll("ACME", 3)
    headers = {"host": host, "Authorization": "Bearer the scraper's token"}
    with override_settings(SECURE_SSL_REDIRECT=https):
        for address in ("/healthz", "/readyz", "/metrics"):
            answer, head = client.get(address, headers=headers), client.head(address, headers=headers)
            assert (answer.status_code, head.status_code, head.content) == (200, 200, b""), address
        assert client.get("/readyz", headers=headers).json()["ready"]


@override_settings(ALLOWED_HOSTS=["ife.example.org"], DEBUG=False)
def test_pages_for_people_are_still_answered_at_their_own_host_only(cast: Cast, client: Client) -> None:
    client.force_login(cast.alice)
    for address in ("/", "/login/", "/healthz/", "/api/v1/", "/metrics/"):
        assert client.get(address, headers={"host": "10.0.3.7"}).status_code == 400, address
    assert client.get("/metrics", headers={"host": "10.0.3.7"}).status_code == 404, "not for users without staff"
    assert client.get("/", headers={"host": "ife.example.org"}).status_code == 200


def test_a_fresh_install_without_airlines_is_ready(db: None, client: Client) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["ready"]


def test_a_recent_poll_makes_ready_and_reports_its_age(cast: Cast, client: Client) -> None:
    poll("ACME", 3)
    poll("BETA", 4000)
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert 3 <= answer.json()["checks"]["polls"]["age_seconds"] < 30


def test_polls_that_are_all_too_old_make_unready_with_the_reason(cast: Cast, client: Client) -> None:
    poll("ACME", 4000)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reason"] == "The last successful poll was 4000 s ago. The limit is 180 s."


def test_airlines_that_were_never_polled_make_unready(cast: Cast, client: Client) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reason"] == "No poll has succeeded yet."


def test_readiness_names_no_airline_to_a_stranger(cast: Cast, client: Client) -> None:
    poll("ACME", 4000)
    body = client.get("/readyz").content.decode()
    assert "ACME" not in body


def test_a_quiet_fleet_at_the_ceiling_is_ready(cast: Cast, client: Client, settings: LazySettings) -> None:
    poll("ACME", settings.POLL_CEILING + 30)
    assert client.get("/readyz").status_code == 200
    assert settings.READY_WITHIN >= 3 * settings.POLL_CEILING


def test_readyz_counts_late_and_failing_jobs_and_remains_ready(cast: Cast, client: Client) -> None:
    now = timezone.now()
    poll("ACME", 3)
    for n in range(3):
        Job.objects.create(name=f"poll:LATE{n}", due_at=now - timedelta(minutes=1))
    Job.objects.create(name="poll:DONE NOW", due_at=now - timedelta(minutes=1), lease_until=now + timedelta(minutes=1))
    Job.objects.create(name="poll:FAILS", due_at=now + timedelta(minutes=1), failures=2)
    calls = wake_workers(timezone.now())
    assert calls == 4
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["alerts"] == {
        "jobs_late": 3,
        "jobs_failing": 1,
        "calls_waiting": calls,
        "pacemaker": False,
    }
    with lease(PACEMAKER):
        assert client.get("/readyz").json()["alerts"]["pacemaker"] is True


def test_readyz_reports_an_unavailable_database(db: None, client: Client, no_database: None) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reason"] == "The database is not responding."
    assert answer.json()["alerts"] is None


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

    monkeypatch.setattr("ifeportal.web.health.current_status", broken)
    client.raise_request_exception = False
    assert client.get("/readyz").status_code == 500


def test_metrics_are_visible_to_staff_only(cast: Cast, client: Client) -> None:
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


def test_metrics_count_rows_by_airline(cast: Cast, client: Client) -> None:
    poll("ACME", 10)
    Job.objects.filter(name="poll:ACME").update(failures=3)
    client.force_login(cast.olga)
    lines = client.get("/metrics").content.decode().splitlines()
    assert "ifeportal_database_up 1.0" in lines
    assert 'ifeportal_job_failures{job="poll:ACME"} 3.0' in lines
    assert "ifeportal_jobs_failing 1.0" in lines
    assert "ifeportal_jobs_late 0.0" in lines
    assert "ifeportal_pacemaker_alive 0.0" in lines
    assert "ifeportal_calls_waiting 0.0" in lines
    assert any(line.startswith('ifeportal_job_success_age_seconds{job="poll:ACME"} 1') for line in lines)


def test_metrics_have_the_duration_and_delay_of_a_job(cast: Cast, client: Client) -> None:
    now = timezone.now()
    started, behind = now - timedelta(hours=1), now - timedelta(minutes=30)
    Job.objects.create(name="discover", due_at=behind, started_at=started, finished_at=started + timedelta(seconds=1.5))
    with lease(PACEMAKER):
        client.force_login(cast.olga)
        lines = client.get("/metrics").content.decode().splitlines()
    assert 'ifeportal_job_duration_seconds{job="discover"} 1.5' in lines
    (overdue,) = [line for line in lines if line.startswith('ifeportal_job_overdue_seconds{job="discover"}')]
    assert float(overdue.split()[-1]) >= 1800
    assert "ifeportal_pacemaker_alive 1.0" in lines
    assert not any('job="pacemaker"' in line for line in lines)


def test_metrics_add_up_items_from_the_sums_of_loads(cast: Cast, client: Client) -> None:
    make_load(cast.acme, "N1", "2026-12", items=10, status=Status.COMPLETE, done=4000)
    moving = make_load(cast.acme, "N2", "2026-12", items=10)
    Load.objects.filter(pk=moving.pk).update(items_done=4, items_failed=1)
    unknown = make_load(cast.acme, "N3", "2026-11")
    Load.objects.filter(pk=unknown.pk).update(items_total=None, bytes_total=None, items_done=2)
    recount(cast.acme.pk)
    client.force_login(cast.olga)
    with CaptureQueriesContext(connection) as queries:
        lines = client.get("/metrics").content.decode().splitlines()
    assert not any("fleet_transfer" in query["sql"] for query in queries)
    found = {line.split()[1] for line in lines if line.startswith('ifeportal_items{airline="ACME"')}
    assert found == {"20.0", "14.0", "1.0"}  # totals leave out the load of unknown size


def test_metrics_cost_the_same_queries_for_any_number_of_airlines(
    cast: Cast, client: Client, django_assert_num_queries: Factory, django_assert_max_num_queries: Factory
) -> None:
    client.force_login(cast.olga)
    with django_assert_max_num_queries(15) as few:
        client.get("/metrics")
    for number in range(20):
        Airline.objects.create(name=f"A{number}")
        poll(f"A{number}", 1)
    with django_assert_num_queries(len(few)):
        client.get("/metrics")
