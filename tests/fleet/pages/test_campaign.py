"""The campaign page: its manifest, tails by items as a table, and the number of tails that have each item."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from django.test import Client

from campaigns.models import Campaign, ContentItem, Draft, ManifestState
from fleet.choices import ServiceStatus
from fleet.models import Load, Tail, Transfer
from tests.conftest import Cast
from tests.support.html import page_html, page_text, sent_text
from tests.support.page_rows import create_campaign, create_fleet, create_load, create_tail, now

PAGE = "/airlines/ACME/campaigns/2026-12/"


def test_the_header_shows_the_manifest(cast: Cast, alice: Client) -> None:
    campaign = create_campaign(cast.acme, items=6)
    head = page_text(alice.get(PAGE), f"campaign:{campaign.pk}")
    assert "December 2026" in head
    assert "version 3" in head
    assert "1 to 31 Dec 2026" in head
    assert "Items 6" in head
    assert "8.05 GB per tail" in head
    assert "Signature not signed" in head
    Campaign.objects.update(signed=True)
    assert "Signature signed" in page_text(alice.get(PAGE))


def test_a_withdrawn_campaign_is_marked(cast: Cast, alice: Client) -> None:
    campaign = create_campaign(cast.acme)
    create_load(create_tail(cast.acme, "VP-A"), campaign, "loading")
    assert "withdrawn" not in page_text(alice.get(PAGE))
    Campaign.objects.update(withdrawn_at=now(), manifest_state=ManifestState.MISSING)
    page = page_text(alice.get(PAGE))
    assert "This campaign was withdrawn" in page
    assert "There is no campaign.json" not in page


def test_campaign_managers_see_a_link_to_the_draft(cast: Cast, client: Client) -> None:
    campaign = create_campaign(cast.acme)
    for user, may in ((cast.alice, False), (cast.otto, False), (cast.mona, True), (cast.olga, False), (cast.ada, True)):
        client.force_login(user)
        assert ("Manage campaign" in client.get(PAGE).content.decode()) is may, user
    new = f"/admin/campaigns/draft/add/?airline={cast.acme.pk}&amp;name=2026-12"
    assert new in client.get(PAGE).content.decode()
    draft = Draft.objects.create(airline=cast.acme, name=campaign.name)
    assert f"/admin/campaigns/draft/{draft.pk}/change/" in client.get(PAGE).content.decode()


def test_an_empty_manifest_explains_itself(cast: Cast, alice: Client) -> None:
    create_campaign(cast.acme, items=0)
    assert "The manifest lists no items" in page_text(alice.get(PAGE))


def test_the_denominator_is_stated_and_leaves_out_what_is_not_in_service(cast: Cast, alice: Client) -> None:
    campaign = create_campaign(cast.acme, items=4)
    for name, story in (("VP-A", "complete"), ("VP-B", "failed"), ("VP-OLD", "failed")):
        create_load(create_tail(cast.acme, name), campaign, story)
    create_tail(cast.acme, "VP-LATE")
    Tail.objects.filter(name="VP-OLD").update(duty=ServiceStatus.RETIRED)
    page = page_text(alice.get(PAGE))
    assert "Counts cover the 3 tails of ACME in service: 2 started, 1 not started." in page
    assert "1 stored or retired tail is not counted." in page
    assert "complete on 1 of 3" in page
    assert "VP-OLD" not in page
    assert re.search(r"movie-003 .*? 1 of 3 Loading 0 Failing on 1 ", page[page.index("Complete on") :])


def test_the_manifest_is_listed_with_its_hashes(cast: Cast, alice: Client) -> None:
    create_campaign(cast.acme, items=3)
    ContentItem.objects.filter(name="movie-002").update(sha256="ab" * 32, required=False, kind="series")
    ContentItem.objects.filter(name="movie-003").update(sha256="")
    page = page_text(alice.get(PAGE))
    assert "movie-002 Slow Rivers, series optional SHA-256 abababababab…" in page
    assert f'title="{"ab" * 32}"' in page_html(alice.get(PAGE))
    assert "size only" in page


@pytest.mark.parametrize(
    ("table", "rows", "column", "values"),
    [
        ("loads", 2, "tail", ["VP-A", "VP-B"]),
        ("cells", 8, "content", ["movie-001", "movie-002", "movie-003", "movie-004"]),
        ("manifest", 4, "name", ["movie-001", "movie-002", "movie-003", "movie-004"]),
    ],
)
def test_each_table_is_sent_as_a_file(
    cast: Cast, alice: Client, table: str, rows: int, column: str, values: list[str]
) -> None:
    campaign = create_campaign(cast.acme, items=4)
    for name in ("VP-A", "VP-B"):
        create_load(create_tail(cast.acme, name), campaign, "failed")
    Load.objects.update(error="=cmd|'/C calc'!A0")
    Transfer.objects.update(error="@SUM(A1)")
    ContentItem.objects.update(title="+1+1")
    answer = sent_text(alice.get(f"{PAGE}?export=json&table={table}"))
    exported = json.loads(answer)
    assert exported["count"] == rows
    assert sorted({row[column] for row in exported["rows"]}) == values
    found = list(csv.reader(io.StringIO(sent_text(alice.get(f"{PAGE}?export=csv&table={table}")), newline="")))
    assert len(found) == rows + 1
    assert not [cell for row in found[1:] for cell in row if cell.startswith(("=", "+", "@"))]
    assert [cell for row in found[1:] for cell in row if cell.startswith("'")]


def test_the_file_of_tails_is_narrowed_as_the_page_is(cast: Cast, alice: Client) -> None:
    campaign = create_campaign(cast.acme, items=2)
    create_load(create_tail(cast.acme, "VP-A"), campaign, "failed")
    create_load(create_tail(cast.acme, "VP-B"), campaign, "complete")
    exported = json.loads(sent_text(alice.get(f"{PAGE}?export=json&table=loads&state=failed")))
    assert [row["tail"] for row in exported["rows"]] == ["VP-A"]


def test_a_campaign_on_no_tail_has_an_explanation(cast: Cast, alice: Client) -> None:
    create_campaign(cast.acme)
    assert "Not started on any tail" in page_text(alice.get(PAGE))


@pytest.mark.parametrize(
    ("state", "problem", "words"),
    [
        (ManifestState.MISSING, "", "There is no campaign.json under ACME/2026-12/"),
        (ManifestState.REFUSED, "content[0].name: missing.", "was refused. content[0].name: missing. This page"),
    ],
)
def test_a_manifest_that_is_missing_or_refused_raises_a_banner(
    cast: Cast, alice: Client, state: str, problem: str, words: str
) -> None:
    create_campaign(cast.acme)
    Campaign.objects.update(manifest_state=state, manifest_problem=problem)
    assert words in page_text(alice.get(PAGE))


def test_the_matrix_has_a_word_in_every_cell(cast: Cast, alice: Client) -> None:
    campaign = create_campaign(cast.acme, items=4)
    create_load(create_tail(cast.acme, "VP-A"), campaign, "failed")
    create_load(create_tail(cast.acme, "VP-B"), campaign, "loading")
    third = create_load(create_tail(cast.acme, "VP-C"), campaign, "pending")
    Transfer.objects.filter(load=third, content="movie-002").delete()
    page = page_html(alice.get(f"{PAGE}?table"))
    titles = re.findall(r'class="cell"[^>]*title="([^"]*)"', page)
    assert len(titles) == 12
    assert "VP-A · movie-003: failed 61%" in titles
    assert "VP-C · movie-002: not reported" in titles
    cells = re.findall(r'class="cell"[^>]*><span>([^<]*)</span>', page)
    assert set(cells) >= {"complete", "failed", "pending", "not reported"}
    assert any(cell.endswith("%") for cell in cells)


def test_items_say_how_many_tails_hold_them_and_where_they_fail(cast: Cast, alice: Client) -> None:
    campaign = create_campaign(cast.acme, items=4)
    for name, story in (("VP-A", "failed"), ("VP-B", "complete"), ("VP-C", "failed")):
        create_load(create_tail(cast.acme, name), campaign, story)
    page = page_text(alice.get(PAGE))
    items = page[page.index("Complete on") :]
    assert re.search(r"movie-001 .*? 3 of 3 Loading 0 Failing on 0", items)
    assert re.search(r"movie-003 .*? 1 of 3 Loading 0 Failing on 2", items)


def test_items_that_only_aircraft_know_of_are_shown_after_those_of_the_manifest(cast: Cast, alice: Client) -> None:
    load = create_load(create_tail(cast.acme, "VP-A"), create_campaign(cast.acme, items=2), "complete")
    ContentItem.objects.filter(name="movie-001").update(listed=False)
    Transfer.objects.create(load=load, content="a-stranger", bytes_done=5)
    page = page_text(alice.get(PAGE))
    items = page[page.index("Complete on") :]
    assert items.index("movie-002") < items.index("movie-001") < items.index("a-stranger")
    assert "no longer listed" in items
    assert "a-stranger not in the manifest" in items


def test_without_a_manifest_the_matrix_is_made_of_what_aircraft_report(cast: Cast, alice: Client) -> None:
    campaign = Campaign.objects.create(airline=cast.acme, name="2026-12")
    load = Load.objects.create(tail=create_tail(cast.acme, "VP-A"), campaign=campaign, status="loading", bytes_done=5)
    Transfer.objects.create(load=load, content="x", status="loading", bytes_done=5)
    page = page_html(alice.get(f"{PAGE}?table"))
    assert 'title="VP-A · x: loading unknown"' in page


def test_tails_and_items_are_paged_apart(cast: Cast, alice: Client) -> None:
    create_fleet(cast.acme, 60, items=50)
    first = page_html(alice.get(f"{PAGE}?sort=tail&table"))
    assert first.count('class="cell"') == 50 * 40
    last = page_html(alice.get(f"{PAGE}?sort=tail&page=2&items=2&table"))
    assert last.count('class="cell"') == 10 * 10
    assert 'href="?sort=tail&amp;page=2&amp;items=1&amp;table="' in last


def test_the_filter_narrows_the_tails(cast: Cast, alice: Client) -> None:
    campaign = create_campaign(cast.acme, items=4)
    create_load(create_tail(cast.acme, "VP-A"), campaign, "failed")
    create_load(create_tail(cast.acme, "VP-B"), campaign, "complete")
    page = page_text(alice.get(f"{PAGE}?state=failed"))
    assert "VP-A" in page
    assert "VP-B" not in page
    assert "No matching tails" in page_text(alice.get(f"{PAGE}?q=zeppelin"))
