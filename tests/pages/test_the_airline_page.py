"""The airline page: one row a tail, filtered, searched, ordered and paged by its address."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils.html import escape

from fleet.models import Anomaly, Load, Status, Tail
from ifeportal.models import Airline
from tests.conftest import Cast
from tests.pages.builders import a_campaign, a_fleet, a_load, a_tail, now
from tests.pages.reading import html, names, text


@pytest.fixture
def alice(cast: Cast, client: Client) -> Client:
    client.force_login(cast.alice)
    return client


def key(tail: str) -> str:
    return f"tail:{Tail.objects.get(name=tail).pk}"


def test_a_row_tells_where_the_tail_stands(cast: Cast, alice: Client) -> None:
    a_load(a_tail(cast.acme, "VP-ABC", timedelta(minutes=3)), a_campaign(cast.acme, items=4), "loading")
    row = text(alice.get("/airlines/ACME/"), key("VP-ABC"))
    assert row.startswith("VP-ABC 2026-12 loading")
    assert "Items 2 of 4" in row
    assert "MB/s" in row
    assert row.endswith("Heard 3 min ago")


def test_a_failed_row_says_which_item_why_and_what_to_do(cast: Cast, alice: Client) -> None:
    a_load(a_tail(cast.acme, "VP-ABC"), a_campaign(cast.acme, items=4), "full")
    row = text(alice.get("/airlines/ACME/"), key("VP-ABC"))
    assert "movie-003 NO_SPACE needs 2.1 GB, 0.3 GB free" in row
    assert "What to do: Free space in the content directory" in row


def test_an_error_of_another_loader_is_shown_as_it_is(cast: Cast, alice: Client) -> None:
    load = a_load(a_tail(cast.acme, "VP-ABC"), a_campaign(cast.acme), "failed")
    Load.objects.filter(pk=load.pk).update(error_code="", error="disque plein à 98 %")
    row = text(alice.get("/airlines/ACME/"), key("VP-ABC"))
    assert "disque plein à 98 %" in row
    assert "What to do" not in row


def test_the_load_that_moves_speaks_for_the_tail_and_failures_elsewhere_are_not_hidden(
    cast: Cast, alice: Client
) -> None:
    tail = a_tail(cast.acme, "VP-ABC")
    a_load(tail, a_campaign(cast.acme, "2026-11"), "failed")
    a_load(tail, a_campaign(cast.acme, "2026-12"), "loading")
    a_load(tail, a_campaign(cast.acme, "2027-01"), "pending")
    row = text(alice.get("/airlines/ACME/"), key("VP-ABC"))
    assert "2026-12" in row
    assert "+1 failed" in row
    failed = text(alice.get("/airlines/ACME/?state=failed"), key("VP-ABC"))
    assert "2026-11" in failed
    assert "+1 loading" in failed


def test_an_unknown_total_is_called_unknown(cast: Cast, alice: Client) -> None:
    a_load(a_tail(cast.acme, "VP-ABC"), a_campaign(cast.acme), "unknown")
    row = text(alice.get("/airlines/ACME/"), key("VP-ABC"))
    assert "of unknown" in row
    assert "0%" not in row


def test_a_deleted_load_speaks_for_no_tail(cast: Cast, alice: Client) -> None:
    load = a_load(a_tail(cast.acme, "VP-ABC"), a_campaign(cast.acme), "complete")
    Load.objects.filter(pk=load.pk).update(status=Status.DELETED)
    assert "no load yet" in text(alice.get("/airlines/ACME/"), key("VP-ABC"))
    assert "On no tail yet" in text(alice.get("/airlines/ACME/campaigns/2026-12/"))


def test_a_tail_without_a_load_is_listed(cast: Cast, alice: Client) -> None:
    a_tail(cast.acme, "VP-ABC")
    assert "no load yet" in text(alice.get("/airlines/ACME/"), key("VP-ABC"))


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", ["VP-F", "VP-L", "VP-S", "VP-P", "VP-C", "VP-0"]),
        ("?state=failed", ["VP-F"]),
        ("?state=stalled", ["VP-S"]),
        ("?state=loading", ["VP-L"]),
        ("?state=complete", ["VP-C"]),
        ("?state=nonsense", ["VP-F", "VP-L", "VP-S", "VP-P", "VP-C", "VP-0"]),
        ("?q=vp-c", ["VP-C"]),
        ("?q=hash_mismatch", ["VP-F"]),
        ("?q=2026-12", ["VP-F", "VP-L", "VP-S", "VP-P", "VP-C"]),
        ("?q=%00", ["VP-F", "VP-L", "VP-S", "VP-P", "VP-C", "VP-0"]),
        ("?sort=tail", ["VP-0", "VP-C", "VP-F", "VP-L", "VP-P", "VP-S"]),
        ("?sort=-tail", ["VP-S", "VP-P", "VP-L", "VP-F", "VP-C", "VP-0"]),
        ("?sort=-items", ["VP-C", "VP-F", "VP-L", "VP-S", "VP-P", "VP-0"]),
        ("?sort=-rate", ["VP-L", "VP-0", "VP-C", "VP-F", "VP-P", "VP-S"]),
        ("?sort=percent&page=99", ["VP-P", "VP-F", "VP-L", "VP-S", "VP-C", "VP-0"]),
        ("?page=nonsense&sort=heard", ["VP-C", "VP-F", "VP-L", "VP-P", "VP-S", "VP-0"]),
    ],
)
def test_the_address_says_which_tails_and_in_which_order(
    cast: Cast, alice: Client, query: str, shown: list[str]
) -> None:
    campaign = a_campaign(cast.acme, items=4)
    stories = {"VP-C": "complete", "VP-F": "failed", "VP-L": "loading", "VP-P": "pending", "VP-S": "stalled"}
    for place, (name, story) in enumerate(stories.items()):
        tail = a_tail(cast.acme, name, timedelta(minutes=9 - place))
        load = a_load(tail, campaign, story)
        if story == "stalled":
            Load.objects.filter(pk=load.pk).update(bytes_done=2_300_000_000)
        if story == "loading":
            Load.objects.filter(pk=load.pk).update(bytes_done=2_200_000_000)
    a_tail(cast.acme, "VP-0", timedelta(seconds=0))
    assert names(alice.get(f"/airlines/ACME/{query}")) == shown


def test_a_thousand_tails_come_fifty_a_page_and_the_links_keep_the_filter(cast: Cast, alice: Client) -> None:
    Tail.objects.bulk_create(Tail(airline=cast.acme, name=f"VP-{number:04}") for number in range(1000))
    page = alice.get("/airlines/ACME/?sort=tail&q=vp&page=3")
    assert names(page) == [f"VP-{number:04}" for number in range(100, 150)]
    assert "150 of 1,000 tails" in text(page)
    assert 'href="?sort=tail&amp;q=vp&amp;page=4"' in html(page)


def test_an_airline_without_tails_says_how_one_appears(cast: Cast, alice: Client) -> None:
    assert "No tail yet" in text(alice.get("/airlines/ACME/"))


def test_a_filter_that_leaves_nothing_offers_the_way_back(cast: Cast, alice: Client) -> None:
    a_fleet(cast.acme, 1)
    page = text(alice.get("/airlines/ACME/?q=zeppelin&state=failed"))
    assert "No tail matches" in page
    assert "Show all tails" in page


def test_the_airlines_campaigns_are_listed_latest_first_a_dozen_at_once(cast: Cast, alice: Client) -> None:
    for month in range(1, 15):
        campaign = a_campaign(cast.acme, f"cycle-{month:02}", items=1)
        campaign.exhibition_starts = campaign.exhibition_starts and campaign.exhibition_starts.replace(
            year=2025 + month // 13, month=(month - 1) % 12 + 1
        )
        campaign.save()
    page = alice.get("/airlines/ACME/")
    assert text(page).index("cycle-14") < text(page).index("cycle-13")
    assert "cycle-02" not in text(page)
    assert "cycle-02" in text(alice.get("/airlines/ACME/?all="))


def test_what_could_not_be_understood_is_counted_and_explained(cast: Cast, alice: Client) -> None:
    for number in range(13):
        Anomaly.objects.create(
            airline=cast.acme if number else cast.beta,
            bucket="status",
            key=f"ACME/VP-ABC/{number}",
            key_hash=str(number),
            problem="BAD_NAME",
            detail="It has a backslash.",
            first_seen=now() - timedelta(days=1),
            last_seen=now(),
            resolved_at=now() if number == 12 else None,
        )
    page = text(alice.get("/airlines/ACME/"))
    assert "11 objects in the buckets could not be read" in page
    assert "It has a backslash." in page
    assert "ACME/VP-ABC/0" not in page


def test_names_with_spaces_and_other_letters_have_addresses(cast: Cast, client: Client) -> None:
    airline = Airline.objects.create(name="Ünï Air & Söhne #1?")
    tail = a_tail(airline, "VP Ä+B%20/"[:-1])
    campaign = a_campaign(airline, "spring 'n' «été» 2027")
    a_load(tail, campaign, "failed")
    client.force_login(cast.olga)
    for address in (airline.get_absolute_url(), tail.get_absolute_url(), campaign.get_absolute_url()):
        page = client.get(address)
        assert "movie-004" in html(page)
    assert escape(tail.get_absolute_url()) in html(client.get(airline.get_absolute_url()))
