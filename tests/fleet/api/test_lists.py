"""Rows, pages, filters and orders of the lists, as the contract defines them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from django.urls import get_resolver
from rest_framework.test import APIClient

from campaigns import api_urls as campaigns_urls
from campaigns.api import ContentRow, content_state
from campaigns.models import Campaign, ContentItem
from fleet.api import acknowledgements, activity, events, serializers
from fleet.api import urls as fleet_urls
from fleet.choices import Status
from fleet.models import Acknowledgement, Anomaly, Event, Load, Tail, ThroughputInterval, Transfer, Usage
from fleet.serialization import (
    serialize_airline,
    serialize_campaign,
    serialize_load,
    serialize_tail,
    serialize_transfer,
)
from fleet.stats import rollup
from ifeportal.api import urls
from ifeportal.api.audit import AuditSerializer, serialize_audit_entry
from ifeportal.api.viewsets import ReadOnlyViewSet, RowSerializer
from ifeportal.models import Airline, AuditEntry
from tests.conftest import Cast
from tests.support.api_fleet import ENDPOINTS, NOON, OTHER_ENDPOINTS, ClientOf, make_load

pytestmark = pytest.mark.both_databases

CONTRACT_TRANSFER = [
    "airline",
    "tail",
    "campaign",
    "content",
    "status",
    "bytes_done",
    "bytes_total",
    "percent",
    "error",
    "rate_bps",
    "eta_seconds",
    "as_of",
    "started_at",
    "finished_at",
]
CONTRACT_LOAD = [name for name in CONTRACT_TRANSFER if name != "content"] + [
    "items_total",
    "items_done",
    "items_failed",
]


@pytest.fixture
def olga(fleet: Cast, client_of: ClientOf) -> APIClient:
    return client_of(fleet.olga)


def rows(client: APIClient, path: str) -> list[dict[str, Any]]:
    answer = client.get(f"/api/v1/{path}")
    assert answer.status_code == 200, answer.content
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def test_the_root_lists_every_list_there_is(olga: APIClient) -> None:
    answer = olga.get("/api/v1/").json()
    assert tuple(answer) == (*ENDPOINTS, *OTHER_ENDPOINTS)
    assert all(olga.get(address).status_code == 200 for address in answer.values())
    served = {name[4:-5] for name in get_resolver().reverse_dict if isinstance(name, str) and name.endswith("-list")}
    assert served == set(ENDPOINTS)


def test_a_transfer_has_every_column_of_the_contract(olga: APIClient) -> None:
    row = rows(olga, "transfers/?airline=ACME&tail=N1")[0]
    assert set(CONTRACT_TRANSFER) <= set(row)
    assert (row["airline"], row["tail"], row["campaign"], row["content"]) == ("ACME", "N1", "2026-12", "movie-000")
    assert (row["status"], row["bytes_done"], row["bytes_total"], row["percent"]) == ("loading", 1_000, 4_000, 25)
    assert row["as_of"].endswith("Z")
    assert datetime.fromisoformat(row["as_of"]) == NOON
    assert row["eta_seconds"] is None


def test_a_load_has_every_column_of_the_contract(olga: APIClient) -> None:
    row = rows(olga, "loads/?tail=N2")[0]
    assert set(CONTRACT_LOAD) <= set(row)
    assert (row["status"], row["percent"], row["items_total"], row["items_done"]) == ("complete", 100, 1, 1)


def test_an_unknown_total_is_null_and_never_nought(fleet: Cast, olga: APIClient) -> None:
    Transfer.objects.update(bytes_total=None, status="loading")
    Load.objects.update(bytes_total=None, items_total=None, status="loading")
    transfer, load, tail = (rows(olga, f"{name}/?tail=N1")[0] for name in ("transfers", "loads", "tails"))
    assert transfer["bytes_total"] is None
    assert transfer["percent"] is None
    assert load["items_total"] is None
    assert tail["percent"] is None


@pytest.mark.parametrize(
    ("serializer", "build"),
    [
        (events.EventSerializer, lambda: events.serialize_event(Event.objects.all()[0])),
        (
            acknowledgements.AcknowledgementSerializer,
            lambda: acknowledgements.serialize_acknowledgement(Acknowledgement.objects.all()[0]),
        ),
        (activity.ThroughputSerializer, lambda: activity.serialize_throughput(ThroughputInterval.objects.all()[0])),
        (activity.UsageSerializer, lambda: activity.serialize_usage(Usage.objects.all()[0])),
        (AuditSerializer, lambda: serialize_audit_entry(AuditEntry.objects.all()[0])),
        (serializers.TransferSerializer, lambda: serialize_transfer(Transfer.objects.all()[0])),
        (serializers.LoadSerializer, lambda: serialize_load(Load.objects.all()[0])),
        (serializers.TailSerializer, lambda: serialize_tail(rollup.tails(Tail.objects.all())[0])),
        (serializers.CampaignSerializer, lambda: serialize_campaign(rollup.campaigns(Campaign.objects.all())[0])),
        (serializers.AirlineSerializer, lambda: serialize_airline(rollup.airlines(Airline.objects.all())[0])),
        (serializers.AnomalySerializer, lambda: serializers.serialize_anomaly(Anomaly.objects.all()[0])),
        (ContentRow, lambda: content_state(ContentItem.objects.all()[0])),
    ],
)
def test_the_schema_names_the_columns_that_are_sent(
    fleet: Cast, serializer: type[RowSerializer[Any]], build: Any
) -> None:
    assert set(serializer().fields) == set(build())


def test_lists_come_in_pages(cast: Cast, client_of: ClientOf) -> None:
    make_load(cast.acme, "N1", "2026-12", items=250)
    olga = client_of(cast.olga)
    first = olga.get("/api/v1/transfers/").json()
    assert (first["count"], len(first["results"]), first["previous"]) == (250, 100, None)
    second = olga.get(first["next"]).json()
    last = olga.get(second["next"]).json()
    assert last["next"] is None
    seen = [row["id"] for page in (first, second, last) for row in page["results"]]
    assert len(set(seen)) == 250


def test_a_page_holds_as_many_rows_as_asked_up_to_a_thousand(cast: Cast, client_of: ClientOf) -> None:
    make_load(cast.acme, "N1", "2026-12", items=1_001)
    olga = client_of(cast.olga)
    assert len(olga.get("/api/v1/transfers/?page_size=3").json()["results"]) == 3
    assert len(olga.get("/api/v1/transfers/?page_size=1000").json()["results"]) == 1_000
    assert len(olga.get("/api/v1/transfers/?page_size=5000").json()["results"]) == 1_000


@pytest.mark.parametrize(
    ("query", "tails"),
    [
        ("airline=ACME", ["N1", "N2"]),
        ("tail=D-1", ["D-1"]),
        ("campaign=2026-12", ["N1", "N2"]),
        ("status=complete", ["N2"]),
        ("status=complete&status=loading&airline=ACME", ["N1", "N2"]),
        ("stalled=true", ["D-1"]),
        ("stalled=false", ["N1", "N2"]),
        ("error_code=NO_SPACE", ["D-1"]),
        ("q=d-", ["D-1"]),
        ("airline=NOBODY", []),
        ("unknown=parameter", ["D-1", "N1", "N2"]),
    ],
)
@pytest.mark.parametrize("path", ["transfers", "loads"])
def test_filters_narrow_the_list(fleet: Cast, olga: APIClient, path: str, query: str, tails: list[str]) -> None:
    Transfer.objects.filter(load__tail__name="D-1").update(stalled=True, error_code="NO_SPACE", error="full")
    Load.objects.filter(tail__name="D-1").update(stalled=True, error_code="NO_SPACE", error="full")
    assert sorted(row["tail"] for row in rows(olga, f"{path}/?{query}")) == tails


@pytest.mark.parametrize(
    ("query", "tails"),
    [
        ("status=loading", ["D-1", "N1"]),
        ("status=complete", ["N2"]),
        ("status=failed", ["N3"]),
        ("status=pending", ["N4"]),
        ("status=failed&status=pending", ["N3", "N4"]),
        ("campaign=winter", ["D-1"]),
        ("airline=ACME&q=2", ["N2"]),
    ],
)
def test_tails_are_found_by_the_word_their_loads_come_to(
    fleet: Cast, olga: APIClient, query: str, tails: list[str]
) -> None:
    make_load(fleet.acme, "N3", "2026-12", status=Status.FAILED)
    make_load(fleet.acme, "N3", "2026-11")
    Tail.objects.create(airline=fleet.acme, name="N4")
    found = rows(olga, f"tails/?{query}")
    assert sorted(row["tail"] for row in found) == tails
    if query.startswith("status"):
        assert {row["status"] for row in found} <= set(query.replace("status=", "").split("&"))


def test_sums_of_a_member_are_those_of_staff(fleet: Cast, client_of: ClientOf) -> None:
    """A user's memberships must not multiply the summed rows."""
    mine = rows(client_of(fleet.alice), "airlines/")
    assert mine == rows(client_of(fleet.olga), "airlines/?airline=ACME")
    assert (mine[0]["tails"], mine[0]["loads"], mine[0]["bytes_done"], mine[0]["bytes_total"]) == (2, 2, 5_000, 8_000)
    assert rows(client_of(fleet.alice), "tails/?q=N1")[0]["bytes_done"] == 1_000


def test_anomalies_can_be_asked_for_by_whether_they_are_over(fleet: Cast, olga: APIClient) -> None:
    over = Anomaly.objects.first()
    assert over is not None
    Anomaly.objects.filter(pk=over.pk).update(resolved_at=over.last_seen)
    assert [row["id"] for row in rows(olga, "anomalies/?resolved=true")] == [over.pk]
    assert len(rows(olga, "anomalies/?resolved=false")) == 2


def test_rows_come_in_the_order_asked_for(olga: APIClient) -> None:
    assert [row["tail"] for row in rows(olga, "transfers/?ordering=-bytes_done,tail")] == ["N2", "D-1", "N1"]
    assert [row["tail"] for row in rows(olga, "tails/?ordering=-tail")] == ["N2", "N1", "D-1"]


def test_rows_without_a_value_come_last_either_way(fleet: Cast, olga: APIClient) -> None:
    Transfer.objects.filter(load__tail__name="D-1").update(rate_bps=9)
    for order in ("rate_bps", "-rate_bps"):
        assert rows(olga, f"transfers/?ordering={order}")[0]["tail"] == "D-1"


def test_every_offered_order_works(olga: APIClient) -> None:
    for endpoint, view, _ in (*fleet_urls.router.registry, *campaigns_urls.router.registry, *urls.router.registry):
        assert issubclass(view, ReadOnlyViewSet)
        for name in view.orderings:
            assert rows(olga, f"{endpoint}/?ordering=-{name}"), (endpoint, name)


VALUES = {"Flag": ("true", "false"), "IsoDateTimeFilter": ("2026-12-01T12:00:00Z",), "DateFilter": ("2026-12-01",)}


def test_every_offered_filter_works(olga: APIClient) -> None:
    for endpoint, view, _ in (*fleet_urls.router.registry, *campaigns_urls.router.registry, *urls.router.registry):
        for name, each in view.filterset_class.base_filters.items():  # type: ignore[attr-defined]
            offered = each.extra.get("choices", [])
            choices = [word for word, _ in (offered() if callable(offered) else offered)]
            if callable(offered) and not choices:  # no kind of operation is registered
                continue
            for value in VALUES.get(type(each).__name__, choices or ("1",)):
                assert isinstance(rows(olga, f"{endpoint}/?{urlencode({name: value})}"), list), (endpoint, name, value)


def test_a_range_takes_its_beginning_and_leaves_out_its_end(olga: APIClient) -> None:
    at = "2026-12-01T12:00:00Z"
    for endpoint, name in (("transfers", "as_of"), ("loads", "as_of"), ("events", "at"), ("moved", "at")):
        assert rows(olga, f"{endpoint}/?{name}_after={at}")
        assert not rows(olga, f"{endpoint}/?{name}_before={at}")


def test_loads_are_found_by_what_lies_on_top_of_loading(fleet: Cast, olga: APIClient) -> None:
    Load.objects.filter(tail__name="N1").update(silent=True, at_risk=True, contradiction="error left", proof="hash")
    for query in ("state=silent", "silent=true", "at_risk=true", "contradiction=error+left", "proof=hash"):
        assert [row["tail"] for row in rows(olga, f"loads/?{query}")] == ["N1"], query
    assert [row["tail"] for row in rows(olga, "tails/?state=silent&state=failed")] == ["N1"]
    assert [row["airline"] for row in rows(olga, "airlines/?at_risk=true")] == ["ACME"]
    assert [row["tail"] for row in rows(olga, "transfers/?state=silent&duty=active")] == ["N1"]


@pytest.mark.parametrize(
    ("query", "parameter", "says"),
    [
        ("transfers/?status=lost", "status", "“lost” is not a valid value. Choose from pending, loading"),
        ("transfers/?stalled=perhaps", "stalled", "“perhaps” is not a boolean. Use true or false."),
        ("transfers/?ordering=colour", "ordering", "“colour” is not a valid value. Choose from airline, tail"),
        ("loads/?page_size=many", "page_size", "Write a whole number from 1 to 1,000."),
        ("loads/?page_size=0", "page_size", "Write a whole number from 1 to 1,000."),
        ("loads/?airline=%00", "airline", "Null characters are not allowed."),
        ("tails/?status=deleted", "status", "“deleted” is not a valid value"),
        ("anomalies/?bucket=pail", "bucket", "“pail” is not a valid value. Choose from media, status."),
    ],
)
def test_a_wrong_value_is_refused_with_a_sentence(olga: APIClient, query: str, parameter: str, says: str) -> None:
    answer = olga.get(f"/api/v1/{query}")
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["title"]) == (400, "A parameter has an invalid value")
    assert problem["errors"][parameter][0].startswith(says)


@pytest.mark.parametrize("query", ["transfers/?page=9", "transfers/?page=x", "transfers/?q=%00", "loads/?page=-1"])
def test_odd_requests_are_never_a_server_error(olga: APIClient, query: str) -> None:
    assert olga.get(f"/api/v1/{query}").status_code in (200, 400, 404)


@pytest.mark.parametrize("number", ["0", "999999", "9" * 40])
def test_a_row_that_is_not_there_is_not_found(olga: APIClient, number: str) -> None:
    for endpoint in ENDPOINTS:
        assert olga.get(f"/api/v1/{endpoint}/{number}/").status_code == 404


def test_one_row_says_what_the_list_says(olga: APIClient) -> None:
    for endpoint in ENDPOINTS:
        row = rows(olga, f"{endpoint}/")[0]
        assert olga.get(f"/api/v1/{endpoint}/{row['id']}/").json() == row


WRITES = {
    *(("tails", "patch"), ("acknowledgements", "delete"), ("acknowledgements", "post")),
    *(("library", "patch"), ("library", "delete"), ("uploads", "delete"), ("uploads", "post")),
}


def test_nothing_else_can_be_written(olga: APIClient) -> None:
    for endpoint in ENDPOINTS:
        row = rows(olga, f"{endpoint}/")[0]
        for method in ("put", "patch", "delete", "post"):
            address = f"/api/v1/{endpoint}/" + ("" if method == "post" else f"{row['id']}/")
            if (endpoint, method) not in WRITES:
                assert getattr(olga, method)(address, {}).status_code == 405, (endpoint, method)


def test_error_text_comes_through_as_text(fleet: Cast, olga: APIClient) -> None:
    Transfer.objects.filter(load__tail__name="N1").update(error="</script><b>ünïcode", error_code="")
    answer = olga.get("/api/v1/transfers/?tail=N1")
    assert answer["Content-Type"] == "application/json"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer.json()["results"][0]["error"] == "</script><b>ünïcode"
