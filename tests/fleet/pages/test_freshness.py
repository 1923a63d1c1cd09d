"""The age of figures on pages, at any polling interval."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.test import Client
from django.utils import timezone

from fleet.pages.freshness import Freshness, load_freshness, store_outage
from ifeportal.models import Airline, Job
from tests.conftest import Cast
from tests.support.html import page_text
from tests.support.page_rows import create_campaign, create_load, create_tail, mark_polled

NOW = timezone.now()


@pytest.fixture(autouse=True)
def interval(settings: LazySettings) -> None:
    settings.POLL_INTERVAL = 2.0


def job(name: str, read: float | None, due_in: float, **fields: object) -> None:
    """Create a job that last succeeded `seconds` ago, with its next run."""
    succeeded_at = None if read is None else NOW - timedelta(seconds=read)
    Job.objects.create(name=name, due_at=NOW + timedelta(seconds=due_in), succeeded_at=succeeded_at, **fields)


def fresh(airline: Airline) -> Freshness:
    return load_freshness([airline], NOW)[airline.name]


@pytest.mark.parametrize(
    ("read", "due_in", "failures", "stale"),
    [
        (1, 1, 0, False),
        (13, -11, 0, False),
        (15, -13, 0, True),
        (59, 1, 0, False),
        (129, -69, 0, False),
        (131, -71, 0, True),
        (13, 20, 3, False),
        (15, 20, 3, True),
        (300, 40, 9, True),
    ],
    ids=str,
)
def test_figures_are_stale_after_two_rounds_of_their_own_pace(
    cast: Cast, read: float, due_in: float, failures: int, stale: bool
) -> None:
    job("poll:ACME", read, due_in, failures=failures)
    assert fresh(cast.acme).stale is stale


def test_an_airline_that_was_never_read_is_stale(cast: Cast) -> None:
    assert fresh(cast.acme) == Freshness(read_at=None, failures=0, stale=True, next_at=None)
    job("poll:ACME", None, -1, failures=2)
    assert fresh(cast.acme) == Freshness(read_at=None, failures=2, stale=True, next_at=None)


def test_of_an_airline_in_parts_the_oldest_counts(cast: Cast) -> None:
    job("poll:ACME", 1, 59)
    job("poll:ACME/N1", 40, 20)
    job("poll:ACME/N2", 10, 50, failures=1)
    job("poll:BETA", 500, -400, failures=7)
    job("poll:ACMEX/N1", 500, -400, failures=7)
    assert fresh(cast.acme) == Freshness(
        NOW - timedelta(seconds=40), failures=1, stale=False, next_at=NOW + timedelta(seconds=20)
    )
    Job.objects.filter(name="poll:ACME/N1").update(due_at=NOW - timedelta(seconds=300))
    assert fresh(cast.acme).stale


def test_a_new_partition_is_stale_only_if_it_is_not_polled(cast: Cast) -> None:
    job("poll:ACME", 1, 1)
    job("poll:ACME/N1", None, -5)
    assert not fresh(cast.acme).stale
    Job.objects.filter(name="poll:ACME/N1").update(due_at=NOW - timedelta(seconds=11))
    assert fresh(cast.acme).stale


def test_freshness_takes_one_query_for_any_number_of_airlines(
    cast: Cast, django_assert_num_queries: Callable[..., object]
) -> None:
    airlines = [cast.acme, cast.beta, *(Airline.objects.create(name=f"A{n}") for n in range(30))]
    for airline in airlines:
        job(f"poll:{airline.name}", 1, 1)
        job(f"poll:{airline.name}/N1", 4, 1)
    with django_assert_num_queries(1):  # type: ignore[attr-defined]
        found = load_freshness(airlines, NOW)
    assert {each.read_at for each in found.values()} == {NOW - timedelta(seconds=4)}


def test_a_page_shows_the_next_poll_of_an_idle_airline(cast: Cast, client: Client) -> None:
    now = timezone.now()
    read_at, due_at = now - timedelta(minutes=40, seconds=30), now + timedelta(minutes=59, seconds=30)
    Job.objects.create(name="poll:ACME", succeeded_at=read_at, due_at=due_at)
    client.force_login(cast.alice)
    label = page_text(client.get("/airlines/ACME/"), "poll:ACME")
    assert label == "Last update 40 min ago, next in 59 min"
    assert "stale" not in label
    answer = client.get("/freshness/").json()["airlines"]["ACME"]
    assert answer["next_at"] > answer["read_at"]
    assert answer["stale"] is False


@pytest.mark.parametrize("address", ["/", "/airlines/ACME/", "/airlines/ACME/tails/N1/", "/airlines/ACME/campaigns/c/"])
def test_every_page_warns_that_the_store_was_not_read(cast: Cast, client: Client, address: str) -> None:
    create_load(create_tail(cast.acme, "N1"), create_campaign(cast.acme, "c"))
    mark_polled(cast.acme)
    mark_polled(cast.beta)
    client.force_login(cast.olga)
    assert "was last read" not in page_text(client.get(address))
    mark_polled(cast.acme, seconds=42 * 60)
    label = page_text(client.get(address), "poll:")
    assert label.startswith("The object store was last read 42 min ago")
    assert ("Airlines affected: 1 of 2" in label) is (address == "/")
    away = client.get("/freshness/").json()["away"]
    assert (away["stale"], away["stale_count"], away["airlines"]) == (True, 1, 2)
    assert client.get("/freshness/?airline=BETA").json()["away"]["stale"] is False


def test_an_airline_that_was_never_read_raises_no_alarm(cast: Cast) -> None:
    job("poll:ACME", None, -60, failures=2)
    assert not store_outage(list(load_freshness([cast.acme, cast.beta], NOW).values())).stale
