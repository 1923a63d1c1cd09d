"""Errors are RFC 9457 problems; an entity tag changes with any displayed value; a cursor misses no row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models import F, Value
from django.db.models.functions import Concat, Right
from django.test import Client, override_settings
from rest_framework.test import APIClient
from rest_framework.throttling import SimpleRateThrottle

from fleet.choices import ServiceStatus
from fleet.models import Load, Tail, Transfer
from fleet.service_status import set_service_status
from ifeportal.accounts.tokens import create_token
from ifeportal.models import Airline, Membership
from tests.conftest import Cast
from tests.support.api_fleet import ENDPOINTS, ClientOf, make_load


def assert_problem(answer: Any, status: int, kind: str = "about:blank") -> dict[str, Any]:
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["type"] == (kind if kind == "about:blank" else f"urn:problem-type:ifeportal:{kind}")
    assert problem["title"]
    assert problem["detail"]
    return problem


# Problems


@pytest.mark.parametrize("path", ["/api/nothing/", "/api/v1/nothing/", "/api/v1/loads/1/more/", "/api/v1/loads/x/"])
def test_an_address_that_is_not_there_is_a_problem(cast: Cast, client_of: ClientOf, path: str) -> None:
    assert assert_problem(client_of(cast.alice).get(path), 404)["instance"] == path
    assert_problem(APIClient().get(path), 401)


def test_a_path_no_name_can_have_is_a_problem(cast: Cast, client_of: ClientOf) -> None:
    assert_problem(client_of(cast.alice).get("/api/v1/%00/"), 404)


def test_a_write_with_a_cookie_but_without_its_csrf_token_is_a_problem(fleet: Cast) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(fleet.olga)
    answer = client.post("/api/v1/acknowledgements/", b"{}", content_type="application/json")
    assert "CSRF" in assert_problem(answer, 403)["detail"]


@pytest.mark.parametrize(
    ("body", "content_type", "status", "kind"),
    [
        ("{", "application/json", 400, "about:blank"),
        ("[" * 100_000, "application/json", 400, "about:blank"),
        ("{}", "application/json", 400, "bad-parameter"),
        ("[]", "application/json", 400, "bad-parameter"),
        (f'"{"x" * 1_100_000}"', "application/json", 413, "about:blank"),
        ("load=1", "application/x-www-form-urlencoded", 415, "about:blank"),
    ],
)
def test_a_body_that_cannot_be_taken_is_a_problem(
    fleet: Cast, client_of: ClientOf, body: str, content_type: str, status: int, kind: str
) -> None:
    answer = client_of(fleet.olga).post("/api/v1/acknowledgements/", body, content_type=content_type)
    problem = assert_problem(answer, status, kind)
    assert ("errors" in problem) == (kind == "bad-parameter")


def test_a_database_that_is_away_is_a_problem_with_a_time(
    fleet: Cast, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(fleet.alice)
    client.raise_request_exception = False

    def away() -> int:
        raise OperationalError("away")

    monkeypatch.setattr("ifeportal.api.viewsets.current_rev", away)
    answer = client.get("/api/v1/loads/")
    assert_problem(answer, 503, "database-away")
    assert int(answer["Retry-After"]) > 0


def test_an_internal_error_is_a_problem_without_details(
    fleet: Cast, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(fleet.alice)
    client.raise_request_exception = False

    def fail() -> int:
        raise ValueError("secret")

    monkeypatch.setattr("ifeportal.api.viewsets.current_rev", fail)
    assert "secret" not in str(assert_problem(client.get("/api/v1/loads/"), 500))


def test_each_token_is_throttled_separately_with_retry_after(
    fleet: Cast, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SimpleRateThrottle, "THROTTLE_RATES", {"user": "2/min"})
    keys = [create_token(fleet.alice, name, days=1, airline=None, may_write=False)[1] for name in ("one", "two")]
    for key in keys:
        client = APIClient(headers={"Authorization": f"Bearer {key}"})
        assert [client.get("/api/v1/").status_code for _ in range(2)] == [200, 200]
        answer = client.get("/api/v1/")
        assert_problem(answer, 429, "too-many-requests")
        assert 0 < int(answer["Retry-After"]) <= 60
    assert client_of(fleet.alice).get("/api/v1/").status_code == 200


@override_settings(ALLOWED_HOSTS=["ife.example.org"])
def test_another_host_is_a_problem(db: None) -> None:
    assert_problem(Client().get("/api/v1/"), 400)


# Entity tags


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_an_unchanged_response_is_not_sent_again(fleet: Cast, client_of: ClientOf, endpoint: str) -> None:
    client = client_of(fleet.olga)
    whole = client.get(f"/api/v1/{endpoint}/")
    for address in (f"/api/v1/{endpoint}/", f"/api/v1/{endpoint}/{whole.json()['results'][0]['id']}/"):
        tag = client.get(address)["ETag"]
        again = client.get(address, headers={"If-None-Match": f'"other", {tag}'})
        assert (again.status_code, again.content) == (304, b"")
        assert again["ETag"] == tag
        assert "X-Revision" in again
        assert "private" in again["Cache-Control"]
        assert {"Authorization", "Cookie"} <= set(again["Vary"].split(", "))
        assert client.get(address, headers={"If-None-Match": '"other"'}).status_code == 200


def renewed(client: APIClient, address: str, change: Callable[[], object]) -> bool:
    """Whether the response is sent again after the change, which is not published in the feed."""
    tag = client.get(address)["ETag"]
    assert client.get(address, headers={"If-None-Match": tag}).status_code == 304
    change()
    return client.get(address, headers={"If-None-Match": tag}).status_code == 200


def test_a_tag_is_out_of_date_once_anything_shown_is_another(fleet: Cast, client_of: ClientOf) -> None:
    client, load = client_of(fleet.alice), Load.objects.get(tail__name="N1")
    loads = Load.objects.filter(pk=load.pk)
    assert renewed(client, "/api/v1/loads/", lambda: loads.update(bytes_done=1_001))
    assert renewed(client, f"/api/v1/loads/{load.pk}/", lambda: loads.update(at_risk=True))
    assert renewed(client, "/api/v1/transfers/", lambda: loads.update(silent=True))
    assert renewed(client, "/api/v1/tails/", lambda: loads.update(silent=False, stalled=True))
    tail = Tail.objects.select_related("airline").get(name="N1")
    assert renewed(client, "/api/v1/airlines/", lambda: set_service_status(tail, ServiceStatus.STORED))
    assert renewed(client, "/api/v1/airlines/", lambda: Airline.objects.filter(name="ACME").update(title="Acme"))
    assert renewed(client, "/api/v1/loads/", lambda: Tail.objects.filter(name="N1").update(name="N3"))


def test_a_tag_is_out_of_date_once_rows_come_or_go(fleet: Cast, client_of: ClientOf) -> None:
    client = client_of(fleet.alice)
    assert renewed(client, "/api/v1/transfers/", lambda: Transfer.objects.filter(load__tail__name="N2").delete())
    assert renewed(client, "/api/v1/loads/?page_size=1", lambda: make_load(fleet.acme, "N9", "2026-12"))
    assert renewed(client, "/api/v1/loads/?paging=cursor&page_size=3", lambda: make_load(fleet.acme, "N10", "2026-12"))


def test_a_tag_is_out_of_date_once_one_may_see_more_or_less(fleet: Cast, client_of: ClientOf) -> None:
    client = client_of(fleet.alice)
    joins = lambda: Membership.objects.create(user=fleet.alice, airline=fleet.beta)  # noqa: E731
    assert renewed(client, "/api/v1/loads/", joins)
    assert renewed(client, "/api/v1/loads/", lambda: Membership.objects.filter(airline=fleet.beta).delete())
    load = Load.objects.get(tail__name="N1")
    tag = client.get(f"/api/v1/loads/{load.pk}/")["ETag"]
    Membership.objects.all().delete()
    assert client.get(f"/api/v1/loads/{load.pk}/", headers={"If-None-Match": tag}).status_code == 404
    everything = client_of(fleet.olga).get("/api/v1/loads/")["ETag"]
    assert client.get("/api/v1/loads/", headers={"If-None-Match": everything}).status_code == 200


def test_another_question_has_another_tag(fleet: Cast, client_of: ClientOf) -> None:
    client = client_of(fleet.alice)
    tag = client.get("/api/v1/loads/")["ETag"]
    assert client.get("/api/v1/loads/?status=loading", headers={"If-None-Match": tag}).status_code == 200


# Cursors


def test_a_cursor_meets_each_row_once_however_rows_change_and_go(fleet: Cast, client_of: ClientOf) -> None:
    make_load(fleet.acme, "N5", "2026-12", items=40)
    client, address, received, turned = client_of(fleet.alice), "/api/v1/transfers/?paging=cursor&page_size=7", [], 0
    remaining = list(
        Transfer.objects.filter(load__tail__airline=fleet.acme).order_by("pk").values_list("pk", flat=True)
    )
    deleted = {remaining.pop(2), remaining.pop(30)}
    while address:
        page = client.get(address).json()
        assert (page["count"], page["previous"]) == (None, None)
        received += [row["id"] for row in page["results"]]
        Transfer.objects.filter(load__tail__name="N5").update(bytes_done=turned, content=turned_name(turned))
        Transfer.objects.filter(pk__in=deleted).delete()
        address, turned = page["next"], turned + 1
    assert [number for number in received if number not in deleted] == remaining
    assert turned > 5


def turned_name(turned: int) -> Any:
    """Names in random order."""
    return Concat(Value(str(9 - turned)), Right(F("content"), 3))


def test_a_log_by_cursor_begins_with_the_newest(fleet: Cast, client_of: ClientOf) -> None:
    rows = client_of(fleet.olga).get("/api/v1/events/?paging=cursor").json()["results"]
    assert [row["id"] for row in rows] == sorted((row["id"] for row in rows), reverse=True)


@pytest.mark.parametrize(
    "query", ["paging=x", "cursor=x", "cursor=1&page=2", "cursor=1&ordering=tail", "cursor=" + "9" * 30]
)
def test_a_cursor_that_cannot_be_is_refused(fleet: Cast, client_of: ClientOf, query: str) -> None:
    answer = client_of(fleet.alice).get(f"/api/v1/loads/?{query}")
    assert len(assert_problem(answer, 400, "bad-parameter")["errors"]) == 1
