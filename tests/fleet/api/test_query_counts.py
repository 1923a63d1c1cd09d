"""Every list takes the same number of queries for few rows and for many."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns.uploads.models import Upload
from fleet.models import Anomaly
from ifeportal.access import Role
from ifeportal.models import Airline, Membership
from ifeportal.operations.models import Operation
from tests.conftest import Cast
from tests.support.api_fleet import ENDPOINTS, NOON, ClientOf, make_history, make_load
from tests.support.library import new_item
from tests.support.operation_rows import create_operation
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
        make_load(cast.acme, f"N{number:03}", "2026-12", counted=False)


def campaigns(cast: Cast, numbers: range) -> None:
    for number in numbers:
        make_load(cast.acme, "N1", f"cycle {number:03}", counted=False)


def histories(cast: Cast, numbers: range) -> None:
    """Create histories, each with its own tail so that joined tables grow too."""
    for number in numbers:
        at = NOON + timedelta(days=number)
        make_history(make_load(cast.acme, f"N{number:03}", "2026-12", counted=False), at)


def histories_of_a_manager(cast: Cast, numbers: range) -> None:
    Membership.objects.filter(user=cast.alice).update(role=Role.MANAGER)
    histories(cast, numbers)


def uploads(cast: Cast, numbers: range) -> None:
    for number in numbers:
        name = f"film-{number}"
        operation = Operation.objects.create(
            kind="upload", airline=cast.acme, user=cast.mona, title=name, state="waiting"
        )
        Upload.objects.create(operation=operation, name=name, item=name)


def operations(cast: Cast, numbers: range) -> None:
    for number in numbers:
        create_operation(cast.acme, cast.mona, title=f"work-{number}")


def library(cast: Cast, numbers: range) -> None:
    for number in numbers:
        new_item(cast.acme, f"film-{number}", added_by=cast.mona)


GROWTH: dict[Grow, tuple[str, ...]] = {
    histories: ("acknowledgements", "events", "moved", "usage"),
    histories_of_a_manager: ("audit",),
    airlines: ("airlines",),
    anomalies: ("anomalies",),
    campaigns: ("campaigns", "content"),
    library: ("library",),
    operations: ("operations",),
    uploads: ("uploads",),
    tails: ("loads", "tails", "transfers"),
}


def test_every_list_grows_here() -> None:
    assert sorted(endpoint for endpoints in GROWTH.values() for endpoint in endpoints) == sorted(ENDPOINTS)


@pytest.mark.parametrize("grow", GROWTH)
def test_a_list_takes_the_same_queries_for_few_rows_and_many(cast: Cast, client_of: ClientOf, grow: Grow) -> None:
    clients = {who: client_of(getattr(cast, who)) for who in ("alice", "olga")}
    counts: dict[tuple[str, str], list[int]] = {}
    for numbers in (range(3), range(3, MANY)):
        grow(cast, numbers)
        for who, client in clients.items():
            for endpoint in GROWTH[grow]:
                with CaptureQueriesContext(connection) as queries:
                    answer = client.get(f"/api/v1/{endpoint}/?page_size=1000").json()
                assert len(answer["results"]) >= len(numbers) or (endpoint, who) == ("usage", "alice")
                most = 6 if endpoint == "library" else 5  # one more for the campaigns that use its items
                assert len(queries) <= most, (endpoint, who, [query["sql"] for query in queries])
                counts.setdefault((endpoint, who), []).append(len(queries))
    assert not {which: pair for which, pair in counts.items() if pair[0] != pair[1]}
