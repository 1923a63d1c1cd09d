"""Every list takes the same number of queries for few rows and for many."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from fleet.models import Anomaly
from ifeportal.access import Role
from ifeportal.models import Airline, Membership
from tests.conftest import Cast
from tests.support.api_fleet import ENDPOINTS, NOON, ClientOf, make_history, make_load
from tests.support.profiles import scaled

pytestmark = pytest.mark.both_databases

MANY = scaled(300, quick=60)  # rows
Grow = Callable[[Cast, range], None]


def airlines(cast: Cast, numbers: range) -> None:
    for number in numbers:
        airline = Airline.objects.create(name=f"A{number:03}")
        Membership.objects.create(user=cast.alice, airline=airline)


def anomalies(cast: Cast, numbers: range) -> None:
    Anomaly.objects.bulk_create(
        Anomaly(
            airline=cast.acme, bucket="status", key="k", key_hash=f"{n}", problem="x", first_seen=NOON, last_seen=NOON
        )
        for n in numbers
    )


def tails(cast: Cast, numbers: range) -> None:
    for number in numbers:
        make_load(cast.acme, f"N{number:03}", "2026-12")


def campaigns(cast: Cast, numbers: range) -> None:
    for number in numbers:
        make_load(cast.acme, "N1", f"cycle {number:03}")


def histories(cast: Cast, numbers: range) -> None:
    """Create histories, each with its own tail so that joined tables grow too."""
    for number in numbers:
        at = NOON + timedelta(days=number)
        make_history(make_load(cast.acme, f"N{number:03}", "2026-12"), at)


def histories_of_a_manager(cast: Cast, numbers: range) -> None:
    Membership.objects.filter(user=cast.alice).update(role=Role.MANAGER)
    histories(cast, numbers)


GROWTH: dict[str, Grow] = {
    "acknowledgements": histories,
    "audit": histories_of_a_manager,
    "events": histories,
    "moved": histories,
    "usage": histories,
    "airlines": airlines,
    "anomalies": anomalies,
    "campaigns": campaigns,
    "content": campaigns,
    "loads": tails,
    "tails": tails,
    "transfers": tails,
}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("who", ["alice", "olga"])
def test_a_list_takes_the_same_queries_for_few_rows_and_many(
    cast: Cast, client_of: ClientOf, endpoint: str, who: str
) -> None:
    client = client_of(getattr(cast, who))
    counts = []
    for numbers in (range(3), range(3, MANY)):
        GROWTH[endpoint](cast, numbers)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            answer = client.get(f"/api/v1/{endpoint}/?page_size=1000").json()
        assert len(answer["results"]) >= len(numbers) or (endpoint, who) == ("usage", "alice")
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 5, [query["sql"] for query in queries]
