"""The tail page: the aircraft, its loads, what moves now, and every item with all that is odd about it."""

from __future__ import annotations

import pytest
from django.test import Client

from campaigns.models import Campaign, ContentItem, ManifestState
from fleet.models import Load, Tail, Transfer
from tests.conftest import Cast
from tests.pages.builders import a_campaign, a_load, a_tail
from tests.pages.reading import html, names, text

PAGE = "/airlines/ACME/tails/VP-ABC/"


@pytest.fixture
def tail(cast: Cast, client: Client) -> Tail:
    client.force_login(cast.alice)
    return a_tail(cast.acme, "VP-ABC")


@pytest.fixture
def load(cast: Cast, tail: Tail) -> Load:
    return a_load(tail, a_campaign(cast.acme, items=6), "loading")


def row(client: Client, transfer: Transfer, query: str = "") -> str:
    return text(client.get(f"{PAGE}{query}"), f"transfer:{transfer.pk}")


def test_the_head_tells_what_the_loader_says_of_itself(client: Client, tail: Tail) -> None:
    head = text(client.get(PAGE), f"tail:{tail.pk}")
    assert "Loader version 0.1.0" in head
    assert "Rate of the loader 11.2 MB/s" in head
    assert "Disk /var/content 187 GB free of 512 GB" in head
    assert "UTC" in head


def test_an_aircraft_that_said_nothing_of_itself_is_unknown_not_zero(cast: Cast, client: Client, tail: Tail) -> None:
    Tail.objects.filter(pk=tail.pk).update(
        heard_at=None, heartbeat_at=None, loader_version="", loader_state="", rate_bps=None, stores=[]
    )
    head = text(client.get(PAGE), f"tail:{tail.pk}")
    assert "Last heard never" in head
    assert "Loader unknown" in head
    assert "Disk not reported" in head


def test_a_disk_report_of_any_shape_is_survived(client: Client, tail: Tail) -> None:
    Tail.objects.filter(pk=tail.pk).update(stores=[{"path": "/a"}, {"path": "/b", "total": 0, "free": 0}])
    assert "unknown free of unknown" in text(client.get(PAGE))


def test_a_tail_without_loads_says_so(client: Client, tail: Tail) -> None:
    assert "No load yet" in text(client.get(PAGE))


def test_what_moves_stands_on_top_with_its_message(client: Client, load: Load) -> None:
    moving = load.transfers.filter(status="loading").first()
    assert moving
    Transfer.objects.filter(pk=moving.pk).update(error_code="TIMEOUT", error="no answer for 30 s")
    page = text(client.get(PAGE))
    now = page[page.index("Loading now") : page.index("Exhibition")]
    assert "movie-004 2026-12 loading" in now
    assert "TIMEOUT no answer for 30 s" in now
    assert "movie-001" not in now


def test_when_nothing_moves_the_page_says_so(cast: Cast, client: Client, tail: Tail) -> None:
    a_load(tail, a_campaign(cast.acme), "complete")
    assert "Nothing moves on VP-ABC at the moment" in text(client.get(PAGE))


def test_every_item_has_its_row_with_how_it_is_checked(client: Client, load: Load) -> None:
    ContentItem.objects.filter(name="movie-002").update(sha256="")
    first, second = load.transfers.order_by("content")[:2]
    assert (
        row(client, first)
        == "movie-001 The Long Way Up SHA-256 complete 100% Held 400 MB of 400 MB Rate — Left — As of "
        + (row(client, first).split("As of ")[1])
    )
    assert "size only complete" in row(client, second)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"restarted": True}, "restarted"),
        ({"unreadable": True}, "unreadable status"),
        ({"oversized": True, "bytes_reported": 500_000_000}, "size mismatch: reports 500 MB"),
        ({"listed": False}, "no longer listed"),
        ({"error": "disk wobbled", "error_past": True}, "disk wobbled past: it succeeded after this"),
        ({"error": "long story", "error_cut": True}, "long story cut at 4 KiB"),
        ({"error_code": "IO_ERROR"}, "IO_ERROR The disk reported an error while the item was written. What to do:"),
    ],
)
def test_what_is_odd_about_an_item_is_said_in_words(
    client: Client, load: Load, fields: dict[str, object], words: str
) -> None:
    first = load.transfers.order_by("content")[0]
    assert words not in row(client, first)
    Transfer.objects.filter(pk=first.pk).update(**fields)
    assert words in row(client, first)


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("?state=complete&sort=item", ["movie-001", "movie-002", "movie-003"]),
        ("?state=loading&sort=-item", ["movie-005", "movie-004"]),
        ("?state=failed", []),
        ("?q=006", ["movie-006"]),
        ("?sort=-bytes&state=complete", ["movie-003", "movie-002", "movie-001"]),
    ],
)
def test_items_are_filtered_and_ordered_by_the_address(
    client: Client, load: Load, query: str, shown: list[str]
) -> None:
    page = html(client.get(f"{PAGE}{query}"))
    items = page[page.index('<h2 id="items">') :]
    found = [name for name in (f"movie-{number:03}" for number in range(1, 7)) if f">{name} " in items]
    assert sorted(found) == sorted(shown)
    if shown:
        assert items.index(shown[0]) <= min(items.index(name) for name in shown)


def test_the_address_chooses_the_campaign_whose_items_are_listed(cast: Cast, client: Client, load: Load) -> None:
    a_load(load.tail, a_campaign(cast.acme, "2026-11", items=2), "complete")
    assert "Items of 2026-12" in text(client.get(PAGE))
    assert "Items of 2026-11" in text(client.get(f"{PAGE}?campaign=2026-11"))
    assert "Items of 2026-12" in text(client.get(f"{PAGE}?campaign=nonsense"))


def test_without_a_manifest_bytes_are_shown_and_totals_unknown(cast: Cast, client: Client, tail: Tail) -> None:
    load = a_load(tail, a_campaign(cast.acme), "unknown")
    Campaign.objects.update(manifest_state=ManifestState.MISSING, items_total=None, bytes_total=None)
    page = text(client.get(PAGE))
    assert "There is no campaign.json for this campaign" in page
    first = load.transfers.order_by("content")[0]
    assert "no manifest loading unknown Held 133 MB of unknown" in row(client, first)


def test_a_refused_manifest_raises_a_banner_that_names_the_place(client: Client, load: Load) -> None:
    Campaign.objects.update(manifest_state=ManifestState.REFUSED, manifest_problem="content[3].size: not a number.")
    page = text(client.get(PAGE))
    assert "was refused: content[3].size: not a number. The last good version (3) counts" in page


def test_many_items_come_in_pages(cast: Cast, client: Client, tail: Tail) -> None:
    a_load(tail, a_campaign(cast.acme, items=120), "pending")
    page = client.get(f"{PAGE}?sort=item&page=3")
    assert "of 120 items" in text(page)
    assert "movie-101" in text(page)
    assert "movie-100" not in text(page)
    assert names(page) == ["2026-12 December 2026"]
