"""The numbers of the charts: known and unknown values, few queries, and the download."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from fleet.models import Load, ProgressSample, Tail, ThroughputInterval
from fleet.pages.charts import rate_chart, received_chart
from fleet.stats.throughput import interval_start
from ifeportal.models import Airline
from tests.conftest import Cast
from tests.support.page_rows import create_campaign, create_load, create_tail, mark_polled

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
MINUTE = timedelta(minutes=1)
MOVED, RATE = "/airlines/ACME/moved/", "/airlines/ACME/tails/VP-AAA/rate/"
READY = "/airlines/ACME/campaigns/2026-12/readiness/"


@pytest.fixture
def load(cast: Cast) -> Load:
    Airline.objects.update(created_at=timezone.now() - timedelta(days=9))
    load = create_load(create_tail(cast.acme, "VP-AAA"), create_campaign(cast.acme))
    Tail.objects.update(created_at=timezone.now() - timedelta(days=9))
    return load


@pytest.fixture
def alice(cast: Cast, load: Load, client: Client) -> Client:
    client.force_login(cast.alice)
    return client


def values(data: dict[str, Any]) -> list[int | None]:
    return list(data["series"][0]["values"])


def test_bytes_are_rates_where_the_buckets_were_read_and_unknown_elsewhere(alice: Client, cast: Cast) -> None:
    now = interval_start(timezone.now()) + 4 * MINUTE
    begun = Airline(pk=cast.acme.pk, name="ACME", created_at=now - 60 * MINUTE)
    mark_polled(cast.acme)
    for back, number in ((50, 300_000), (25, 600_000), (24 * 60, 900_000)):
        ThroughputInterval.objects.create(airline=cast.acme, at=interval_start(now - back * MINUTE), bytes=number)
    chart = received_chart([begun], now)
    found = dict(zip(chart.at, values(chart.data), strict=True))
    assert found[interval_start(now - 50 * MINUTE)] == 1_000
    assert found[interval_start(now - 25 * MINUTE)] == 2_000
    assert found[interval_start(now - 30 * MINUTE)] == 0
    assert found[interval_start(now - 24 * 60 * MINUTE)] is None, "there were no records"
    assert "Peak: 2.00 kB/s" in chart.summary
    mark_polled(cast.acme, seconds=1_800)
    assert values(received_chart([begun], now).data)[-1] is None, "no poll"


def test_missing_readings_are_not_zero(alice: Client) -> None:
    data = alice.get(MOVED).json()
    assert set(values(data)) == {None}
    assert (data["as_of"], data["summary"]) == (None, "No data was recorded in the last 24 hours.")


def test_the_rate_of_an_aircraft_follows_from_the_samples_of_all_its_loads(load: Load, cast: Cast) -> None:
    tail = Tail.objects.select_related("airline").get()
    now = interval_start(timezone.now()) + MINUTE
    mark_polled(cast.acme)
    other = create_load(tail, create_campaign(cast.acme, "2027-01"))

    def sample(of: Load, back: int, number: int) -> None:
        ProgressSample.objects.create(load=of, at=now - back * MINUTE, bytes_done=number)

    for back, number in ((30, 5_000_000), (20, 5_300_000), (19, 5_600_000), (10, 100)):
        sample(load, back, number)
    for back, number in ((21, 0), (20, 30_000)):
        sample(other, back, number)
    with CaptureQueriesContext(connection) as queries:
        chart = rate_chart(tail, now)
    assert len(queries) == 2
    samples = [(moment, value) for moment, value in zip(chart.at, values(chart.data), strict=True) if value]
    assert sum(value for _, value in samples) == 2_100, "the first sample and a decrease are no received bytes"


@pytest.mark.parametrize("path", ["/moved/", MOVED, RATE, READY])
def test_a_chart_is_cheap_and_cached_by_the_browser_alone(alice: Client, path: str) -> None:
    with patch("fleet.pages.charts.timezone.now", return_value=timezone.now()):
        with CaptureQueriesContext(connection) as queries:
            answer = alice.get(path)
        again = alice.get(path, headers={"if-none-match": answer["ETag"]})
    assert len(queries) <= 2 + 4, "who it is, and the numbers"
    assert set(answer["Cache-Control"].split(", ")) == {"private", "max-age=10"}
    data = answer.json()
    assert len(data["at"]) == len(values(data)) > 2
    assert (again.status_code, again.content) == (304, b"")


def test_the_numbers_are_a_file_too(alice: Client, cast: Cast) -> None:
    mark_polled(cast.acme)
    answer = alice.get(RATE, {"export": "csv"})
    rows = list(csv.reader(io.StringIO(b"".join(answer.streaming_content).decode("utf-8-sig"))))  # type: ignore[attr-defined]
    assert rows[0] == ["at", "received_bps"]
    assert len(rows) == 1 + 289
    assert datetime.fromisoformat(rows[1][0]).tzinfo is not None
    assert "VP-AAA rate" in answer["Content-Disposition"]
    answer = alice.get(READY, {"export": "csv"})
    head = b"".join(answer.streaming_content).decode("utf-8-sig").splitlines()[0]  # type: ignore[attr-defined]
    assert head == "at,hold_it,expected_at_least,expected_at_most"


def test_readiness_has_the_start_of_the_exhibition_and_the_fleet_as_its_limit(alice: Client) -> None:
    data = alice.get(READY).json()
    assert data["limit"] == {"name": "tails in service", "value": 1}
    assert "exhibition starts" in [mark["name"] for mark in data["marks"]]
    assert [each["shape"] for each in data["series"]] == ["step", "low", "high"]
    assert data["summary"].startswith("0 of 1 tails in service hold the campaign; by 2026-12-01")
