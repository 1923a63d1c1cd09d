"""The campaign page: its manifest, tails by items, and how many tails hold each item."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from campaigns.models import Campaign, ContentItem, ManifestState
from fleet.models import Load, Transfer
from tests.conftest import Cast
from tests.pages.builders import a_campaign, a_fleet, a_load, a_tail
from tests.pages.reading import html, text

PAGE = "/airlines/ACME/campaigns/2026-12/"


@pytest.fixture
def alice(cast: Cast, client: Client) -> Client:
    client.force_login(cast.alice)
    return client


def test_the_head_tells_what_the_manifest_says(cast: Cast, alice: Client) -> None:
    campaign = a_campaign(cast.acme, items=6)
    head = text(alice.get(PAGE), f"campaign:{campaign.pk}")
    assert "December 2026" in head
    assert "version 3" in head
    assert "1 to 31 Dec 2026" in head
    assert "Items 6" in head
    assert "8.05 GB a tail" in head


def test_a_campaign_on_no_tail_says_so(cast: Cast, alice: Client) -> None:
    a_campaign(cast.acme)
    assert "On no tail yet" in text(alice.get(PAGE))


@pytest.mark.parametrize(
    ("state", "problem", "words"),
    [
        (ManifestState.MISSING, "", "There is no campaign.json under ACME/2026-12/"),
        (ManifestState.REFUSED, "content[0].name: missing.", "was refused. content[0].name: missing. What is shown is"),
    ],
)
def test_a_manifest_that_is_missing_or_refused_raises_a_banner(
    cast: Cast, alice: Client, state: str, problem: str, words: str
) -> None:
    a_campaign(cast.acme)
    Campaign.objects.update(manifest_state=state, manifest_problem=problem)
    assert words in text(alice.get(PAGE))


def test_the_matrix_has_a_word_in_every_cell(cast: Cast, alice: Client) -> None:
    campaign = a_campaign(cast.acme, items=4)
    a_load(a_tail(cast.acme, "VP-A"), campaign, "failed")
    a_load(a_tail(cast.acme, "VP-B"), campaign, "loading")
    third = a_load(a_tail(cast.acme, "VP-C"), campaign, "pending")
    Transfer.objects.filter(load=third, content="movie-002").delete()
    page = html(alice.get(PAGE))
    titles = re.findall(r'class="cell"[^>]*title="([^"]*)"', page)
    assert len(titles) == 12
    assert "VP-A · movie-003: failed 61%" in titles
    assert "VP-C · movie-002: not reported" in titles
    cells = re.findall(r'class="cell"[^>]*><span>([^<]*)</span>', page)
    assert set(cells) >= {"complete", "failed", "pending", "not reported"}
    assert any(cell.endswith("%") for cell in cells)


def test_items_say_how_many_tails_hold_them_and_where_they_fail(cast: Cast, alice: Client) -> None:
    campaign = a_campaign(cast.acme, items=4)
    for name, story in (("VP-A", "failed"), ("VP-B", "complete"), ("VP-C", "failed")):
        a_load(a_tail(cast.acme, name), campaign, story)
    page = text(alice.get(PAGE))
    items = page[page.index("Held by tails") :]
    assert re.search(r"movie-001 .*? 3 of 3 Loading 0 Failed 0", items)
    assert re.search(r"movie-003 .*? 1 of 3 Loading 0 Failed 2", items)


def test_items_that_only_aircraft_know_of_are_shown_after_those_of_the_manifest(cast: Cast, alice: Client) -> None:
    load = a_load(a_tail(cast.acme, "VP-A"), a_campaign(cast.acme, items=2), "complete")
    ContentItem.objects.filter(name="movie-001").update(listed=False)
    Transfer.objects.create(load=load, content="a-stranger", bytes_done=5)
    page = text(alice.get(PAGE))
    items = page[page.index("Held by tails") :]
    assert items.index("movie-002") < items.index("movie-001") < items.index("a-stranger")
    assert "no longer listed" in items
    assert "a-stranger not in the manifest" in items


def test_without_a_manifest_the_matrix_is_made_of_what_aircraft_report(cast: Cast, alice: Client) -> None:
    campaign = Campaign.objects.create(airline=cast.acme, name="2026-12")
    load = Load.objects.create(tail=a_tail(cast.acme, "VP-A"), campaign=campaign, status="loading", bytes_done=5)
    Transfer.objects.create(load=load, content="x", status="loading", bytes_done=5)
    page = html(alice.get(PAGE))
    assert 'title="VP-A · x: loading unknown"' in page


def test_tails_and_items_are_paged_apart(cast: Cast, alice: Client) -> None:
    a_fleet(cast.acme, 60, items=50)
    first = html(alice.get(f"{PAGE}?sort=tail"))
    assert first.count('class="cell"') == 50 * 40
    last = html(alice.get(f"{PAGE}?sort=tail&page=2&items=2"))
    assert last.count('class="cell"') == 10 * 10
    assert 'href="?sort=tail&amp;page=2&amp;items=1"' in last


def test_the_filter_narrows_the_tails(cast: Cast, alice: Client) -> None:
    campaign = a_campaign(cast.acme, items=4)
    a_load(a_tail(cast.acme, "VP-A"), campaign, "failed")
    a_load(a_tail(cast.acme, "VP-B"), campaign, "complete")
    page = text(alice.get(f"{PAGE}?state=failed"))
    assert "VP-A" in page
    assert "VP-B" not in page
    assert "No tail matches" in text(alice.get(f"{PAGE}?q=zeppelin"))
