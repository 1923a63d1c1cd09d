"""A small fleet to query, and clients of the API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from django.core.cache import cache
from rest_framework.test import APIClient

from campaigns.library.models import LibraryItem
from campaigns.models import Campaign, ContentItem
from campaigns.uploads.models import Upload
from fleet.choices import State, Status
from fleet.models import Acknowledgement, Anomaly, Event, Load, Tail, ThroughputInterval, Transfer, Usage
from fleet.stats.totals import recount
from ifeportal.models import Airline, AuditEntry, User
from tests.conftest import Cast
from tests.support.counted_totals import count_before_requests
from tests.support.operation_rows import create_operation

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
# Below /api/v1/: endpoints that list rows, and others.
ENDPOINTS = (
    "acknowledgements",
    "airlines",
    "anomalies",
    "audit",
    "campaigns",
    "content",
    "events",
    "library",
    "loads",
    "moved",
    "operations",
    "tails",
    "transfers",
    "uploads",
    "usage",
)
OTHER_ENDPOINTS = ("attention", "changes")
ClientOf = Callable[[User], APIClient]


@pytest.fixture(autouse=True)
def fresh_throttles() -> Iterator[None]:
    """Clear the request counters, which are in the cache and survive a test."""
    cache.clear()
    yield
    cache.clear()


@pytest.fixture(autouse=True)
def counted_totals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of these tests are written by hand."""
    count_before_requests(monkeypatch)


@pytest.fixture
def client_of() -> ClientOf:
    def make(user: User) -> APIClient:
        client = APIClient()
        client.force_login(user)
        return client

    return make


def make_load(
    airline: Airline,
    tail: str,
    campaign: str,
    *,
    done: int = 1_000,
    status: Status = Status.LOADING,
    items: int = 1,
    counted: bool = True,
) -> Load:
    """Create a campaign of `items` items of 4,000 bytes on a tail, each with `done` bytes.

    With `counted` the totals are right afterwards; for many loads count them once instead.
    """
    on = Tail.objects.get_or_create(airline=airline, name=tail)[0]
    of, new = Campaign.objects.get_or_create(
        airline=airline, name=campaign, defaults={"items_total": items, "bytes_total": items * 4_000}
    )
    if new:
        ContentItem.objects.bulk_create(
            ContentItem(campaign=of, name=f"movie-{n:03}", position=n, size=4_000) for n in range(items)
        )
    load = Load.objects.create(
        tail=on,
        campaign=of,
        status=status,
        bytes_done=items * done,
        bytes_total=items * 4_000,
        items_total=items,
        items_done=items if status == Status.COMPLETE else 0,
        as_of=NOON,
    )
    Transfer.objects.bulk_create(
        Transfer(
            load=load,
            content=f"movie-{n:03}",
            status=status,
            bytes_done=done,
            bytes_total=4_000,
            listed=True,
            as_of=NOON,
        )
        for n in range(items)
    )
    if counted:
        recount(airline.pk)
    return load


@pytest.fixture
def fleet(cast: Cast) -> Cast:
    """Create a fleet: ACME has N1, which loads, and N2, which is complete; BETA has D-1, which loads. Adds one row of
    every other kind to each, and an anomaly and a day of usage without an airline.
    """
    make_load(cast.acme, "N1", "2026-12", counted=False)
    make_load(cast.acme, "N2", "2026-12", done=4_000, status=Status.COMPLETE)
    make_load(cast.beta, "D-1", "winter")
    for number, airline in enumerate([cast.acme, cast.beta, None]):
        Anomaly.objects.create(
            airline=airline,
            bucket="status",
            key=f"key {number}",
            key_hash=str(number),
            problem="BAD_NAME",
            first_seen=NOON,
            last_seen=NOON,
        )
    Usage.objects.create(airline=None, day=NOON.date(), list_requests=1)
    for airline in (cast.acme, cast.beta):
        operation = create_operation(airline, cast.olga)
        Upload.objects.create(
            operation=operation, name="clip", item="clip", size=5, part_size=2**24, parts_total=1, uploaded_at=NOON
        )
        LibraryItem.objects.create(airline=airline, name="reel", size=5, etag="e", sha256="b" * 64, added_at=NOON)
    for load in Load.objects.filter(tail__name__in=["N1", "D-1"]).select_related("tail__airline"):
        make_history(load)
    return cast


def make_history(load: Load, at: datetime = NOON) -> None:
    """Create one event, acknowledgement, throughput interval, day of usage and audit entry."""
    airline = load.tail.airline
    Event.objects.create(load=load, at=at, state=State.LOADING, bytes_done=0)
    Acknowledgement.objects.create(load=load, state="failed", note="Seen.", who="somebody", at=at)
    ThroughputInterval.objects.create(airline=airline, at=at, bytes=5)
    Usage.objects.create(airline=airline, day=at.date(), list_requests=1)
    AuditEntry.objects.create(at=at, who="somebody", airline=airline, whose=airline.name, action="a", via="page")
