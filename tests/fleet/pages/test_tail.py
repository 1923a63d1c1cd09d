"""The tail page: the aircraft, its loads, the items in progress, and every item with its anomalies."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from campaigns.models import Campaign, ContentItem, ManifestState
from fleet.choices import ServiceStatus, State
from fleet.models import Event, Load, Tail, Transfer
from tests.conftest import Cast
from tests.support.html import page_html, page_text, row_headers, sent_text
from tests.support.page_rows import GB, create_campaign, create_load, create_tail, now

PAGE = "/airlines/ACME/tails/VP-ABC/"


@pytest.fixture
def tail(cast: Cast, client: Client) -> Tail:
    client.force_login(cast.alice)
    return create_tail(cast.acme, "VP-ABC")


@pytest.fixture
def load(cast: Cast, tail: Tail) -> Load:
    return create_load(tail, create_campaign(cast.acme, items=6), "loading")


def row(client: Client, transfer: Transfer, query: str = "") -> str:
    return page_text(client.get(f"{PAGE}{query}"), f"transfer:{transfer.pk}")


def test_the_header_shows_the_heartbeat(client: Client, tail: Tail) -> None:
    head = page_text(client.get(PAGE), f"tail:{tail.pk}")
    assert "Loader version 0.1.0" in head
    assert "Loader rate 11.2 MB/s" in head
    assert "Disk /var/content 187 GB free of 512 GB" in head
    assert "UTC" in head


def test_missing_details_of_an_aircraft_are_unknown_and_not_zero(cast: Cast, client: Client, tail: Tail) -> None:
    Tail.objects.filter(pk=tail.pk).update(
        heard_at=None, heartbeat_at=None, loader_version="", loader_state="", rate_bps=None, stores=[]
    )
    head = page_text(client.get(PAGE), f"tail:{tail.pk}")
    assert "Last contact never" in head
    assert "Loader unknown" in head
    assert "Disk not reported" in head


def test_a_disk_report_of_any_shape_is_survived(client: Client, tail: Tail) -> None:
    Tail.objects.filter(pk=tail.pk).update(stores=[{"path": "/a"}, {"path": "/b", "total": 0, "free": 0}])
    assert "unknown free of unknown" in page_text(client.get(PAGE))


def test_a_tail_without_loads_has_an_explanation(client: Client, tail: Tail) -> None:
    assert "No loads yet" in page_text(client.get(PAGE))


def test_loading_items_are_listed_first_with_their_message(client: Client, load: Load) -> None:
    moving = load.transfers.filter(status="loading").first()
    assert moving
    Transfer.objects.filter(pk=moving.pk).update(error_code="TIMEOUT", error="no answer for 30 s")
    page = page_text(client.get(PAGE))
    now = page[page.index("Loading now") : page.index("Exhibition")]
    assert "movie-004 2026-12 loading" in now
    assert "TIMEOUT no answer for 30 s" in now
    assert "movie-001" not in now


def test_the_page_states_that_no_item_is_loading(cast: Cast, client: Client, tail: Tail) -> None:
    create_load(tail, create_campaign(cast.acme), "complete")
    assert "Nothing is loading on VP-ABC" in page_text(client.get(PAGE))


def test_every_item_has_its_row_with_how_it_is_checked(client: Client, load: Load) -> None:
    ContentItem.objects.filter(name="movie-002").update(sha256="")
    first, second = load.transfers.order_by("content")[:2]
    shown, as_of = row(client, first).split("As of ")
    assert shown == "movie-001 The Long Way Up SHA-256 claimed complete 100% Loaded 400 MB of 400 MB Rate — Left — "
    assert as_of.endswith(" ago")
    assert "size only size-checked complete" in row(client, second)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"restarted": True}, "restarted"),
        ({"unreadable": True}, "unreadable report"),
        ({"oversized": True, "bytes_reported": 500_000_000}, "size mismatch: reports 500 MB"),
        ({"listed": False}, "no longer listed"),
        ({"error": "disk wobbled", "error_past": True}, "disk wobbled resolved: the item succeeded later"),
        ({"error": "long story", "error_cut": True}, "long story truncated to 4 KiB"),
        ({"error_code": "IO_ERROR"}, "IO_ERROR The disk reported an error while the item was written. What to do:"),
    ],
)
def test_anomalies_of_an_item_are_described_in_words(
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
    page = page_html(client.get(f"{PAGE}{query}"))
    items = page[page.index('<h2 id="items">') :]
    found = [name for name in (f"movie-{number:03}" for number in range(1, 7)) if f">{name} " in items]
    assert sorted(found) == sorted(shown)
    if shown:
        assert items.index(shown[0]) <= min(items.index(name) for name in shown)


def test_the_address_selects_the_campaign_of_the_items(cast: Cast, client: Client, load: Load) -> None:
    create_load(load.tail, create_campaign(cast.acme, "2026-11", items=2), "complete")
    assert "Items of 2026-12" in page_text(client.get(PAGE))
    assert "Items of 2026-11" in page_text(client.get(f"{PAGE}?campaign=2026-11"))
    assert "Items of 2026-12" in page_text(client.get(f"{PAGE}?campaign=nonsense"))


def test_without_a_manifest_bytes_are_shown_and_totals_unknown(cast: Cast, client: Client, tail: Tail) -> None:
    load = create_load(tail, create_campaign(cast.acme), "unknown")
    Campaign.objects.update(manifest_state=ManifestState.MISSING, items_total=None, bytes_total=None)
    page = page_text(client.get(PAGE))
    assert "This campaign has no campaign.json" in page
    first = load.transfers.order_by("content")[0]
    assert "no manifest loading unknown Loaded 133 MB of unknown" in row(client, first)


def test_a_refused_manifest_raises_a_banner_that_names_the_place(client: Client, load: Load) -> None:
    Campaign.objects.update(manifest_state=ManifestState.REFUSED, manifest_problem="content[3].size: not a number.")
    page = page_text(client.get(PAGE))
    assert "was refused: content[3].size: not a number. The last valid version (3) applies" in page


def test_many_items_come_in_pages(cast: Cast, client: Client, tail: Tail) -> None:
    create_load(tail, create_campaign(cast.acme, items=120), "pending")
    page = client.get(f"{PAGE}?sort=item&page=3")
    assert "of 120 items" in page_text(page)
    assert "movie-101" in page_text(page)
    assert "movie-100" not in page_text(page)
    assert row_headers(page) == ["2026-12 December 2026"]


def test_the_header_shows_the_state_of_the_tail_and_the_reason_of_its_risk(client: Client, load: Load) -> None:
    left = (load.bytes_total or 0) - load.bytes_done
    Load.objects.filter(pk=load.pk).update(
        at_risk=True, rate_bps=left // 60, effective_bps=left // (40 * 86_400), items_failed=0
    )
    header = page_text(client.get(PAGE), f"load:{load.pk}")
    assert "December 2026 loading at risk 1 to 31 Dec 2026" in header
    assert "complete in 1 min to 40 d" in header
    assert "The exhibition" in header
    assert "At the observed rates, this load completes by" in header


def test_a_missing_forecast_is_unknown(client: Client, load: Load) -> None:
    Load.objects.filter(pk=load.pk).update(rate_bps=None, effective_bps=None, at_risk=True)
    header = page_text(client.get(PAGE), f"load:{load.pk}")
    assert "completion time unknown" in header
    assert "No completion time can be estimated" in header


@pytest.mark.parametrize(
    ("free", "words"),
    [
        (500 * GB, "Remaining 5.0"),
        (GB, "more than the free space"),
        (None, "free space unknown"),
    ],
)
def test_the_header_shows_whether_the_remaining_bytes_fit(
    client: Client, load: Load, free: int | None, words: str
) -> None:
    Load.objects.filter(pk=load.pk).update(bytes_done=3 * GB, bytes_total=8_050_000_000)
    Tail.objects.filter(pk=load.tail_id).update(stores=[{"path": "/var/content", "free": free}])
    assert words in page_text(client.get(PAGE))


def test_queue_signatures_and_duty_are_shown(client: Client, tail: Tail) -> None:
    head = page_text(client.get(PAGE), f"tail:{tail.pk}")
    assert "excluded from all totals" not in head
    Tail.objects.filter(pk=tail.pk).update(
        queue_version=7,
        queue_error="entries[0]: no such campaign",
        signatures="enforce",
        duty=ServiceStatus.STORED,
        aircraft_type="A321neo",
        silent=True,
    )
    page = page_text(client.get(PAGE))
    assert "A321neo" in page
    assert "stored: excluded from all totals" in page
    assert "Signatures enforce" in page
    assert "version 7 entries[0]: no such campaign" in page


def test_loads_stand_as_current_queued_and_past(cast: Cast, client: Client, load: Load) -> None:
    for name, story in (("2026-11", "complete"), ("2027-01", "pending")):
        create_load(load.tail, create_campaign(cast.acme, name, items=2, title=""), story)
    create_campaign(cast.acme, "2027-02", items=2)
    withdrawn = create_campaign(cast.acme, "2027-03", items=2)
    Campaign.objects.filter(pk=withdrawn.pk).update(withdrawn_at=now())
    page = page_text(client.get(PAGE))
    loads = page[page.index("Current") : page.index("Items of")]
    assert loads.index("2026-12") < loads.index("Queued") < loads.index("2027-01") < loads.index("2027-02")
    assert loads.index("2027-02") < loads.index("Past") < loads.index("2026-11")
    assert "2027-03" not in page


def test_only_the_newest_past_loads_are_listed_until_all_are_asked_for(cast: Cast, client: Client, tail: Tail) -> None:
    for month in range(1, 13):
        create_load(tail, create_campaign(cast.acme, f"2025-{month:02}", items=1, title=""), "complete")
    page = page_text(client.get(PAGE))
    assert "2 older loads not shown" in page
    assert "not shown" not in page_text(client.get(f"{PAGE}?all"))


@pytest.mark.parametrize(
    ("held", "signed", "policy", "first", "second"),
    [
        ([], False, "", "claimed", "size-checked"),
        ([{"campaign": "2026-12", "verified": True}], False, "", "hash-verified", "size-checked"),
        ([{"campaign": "2026-12", "verified": True}], True, "enforce", "signed", "size-checked"),
        ([{"campaign": "2026-12", "verified": True}], True, "warn", "hash-verified", "size-checked"),
        (["nonsense", {"campaign": 7}], True, "enforce", "claimed", "size-checked"),
    ],
)
def test_claim_and_proof_are_distinct_for_each_item(
    client: Client, load: Load, held: list[object], signed: bool, policy: str, first: str, second: str
) -> None:
    Tail.objects.filter(pk=load.tail_id).update(held=held, signatures=policy)
    Campaign.objects.update(signed=signed)
    ContentItem.objects.filter(name="movie-002").update(sha256="")
    one, two, *_, last = load.transfers.order_by("content")
    assert f"SHA-256 {first} complete" in row(client, one)
    assert f"size only {second} complete" in row(client, two)
    assert "claimed" not in row(client, last)


def test_an_item_shows_its_history_and_the_tail_its_timeline(client: Client, load: Load) -> None:
    at = now() - timedelta(hours=2)
    for number, (content, state, code) in enumerate(
        [("", "loading", ""), ("movie-003", "failed", "TIMEOUT"), ("movie-003", "complete", ""), ("", "stalled", "")]
    ):
        Event.objects.create(
            load=load,
            content=content,
            at=at + timedelta(minutes=number),
            state=state,
            error_code=code,
            text="<b>no answer</b>" if code else "",
            bytes_done=number,
        )
    third = load.transfers.get(content="movie-003")
    output = row(client, third)
    assert "History: 2 events" in output
    assert output.index("complete 2 B") < output.index("failed 1 B TIMEOUT <b>no answer</b>")
    page = page_text(client.get(PAGE))
    line = page[page.index("Timeline") :]
    assert line.index("stalled load") < line.index("complete movie-003") < line.index("failed movie-003")
    assert "<b>no answer" not in page_html(client.get(PAGE))
    only = page_text(client.get(f"{PAGE}?turns=failed"))
    assert "failed movie-003" in only[only.index("Timeline") :]
    assert "stalled load" not in only
    assert "No events match" in page_text(client.get(f"{PAGE}?turns=waiting"))


def test_the_time_line_is_paged(client: Client, load: Load) -> None:
    Event.objects.bulk_create(
        Event(load=load, at=now() - timedelta(minutes=number), state=State.LOADING, bytes_done=number)
        for number in range(60)
    )
    first, last = page_text(client.get(PAGE)), page_text(client.get(f"{PAGE}?older=2"))
    assert "Older" in first
    assert "Newer" not in first
    assert "page 3" in last
    assert " 59 B of unknown" in last
    for odd in ("-1", "x", "9" * 30, "²"):
        assert client.get(f"{PAGE}?older={odd}").status_code == 200


def test_an_address_leads_to_an_item_on_whatever_page_it_is(cast: Cast, client: Client, tail: Tail) -> None:
    create_load(tail, create_campaign(cast.acme, items=120), "pending")
    page = page_html(client.get(f"{PAGE}?campaign=2026-12&item=movie-101"))
    found = page.index('id="item"')
    assert "movie-101" in page[found : found + 600]
    assert 'id="item"' not in page_html(client.get(f"{PAGE}?item=nonsense"))


@pytest.mark.parametrize(("table", "rows"), [("items", 6), ("loads", 1), ("events", 1)])
def test_each_table_of_a_tail_is_sent_as_a_file(client: Client, load: Load, table: str, rows: int) -> None:
    hostile = "=HYPERLINK(1)"
    Event.objects.create(load=load, at=now(), state="failed", text=hostile, bytes_done=1)
    Transfer.objects.update(error=hostile)
    Load.objects.update(error=hostile)
    output = json.loads(sent_text(client.get(f"{PAGE}?export=json&table={table}")))
    assert output["count"] == rows
    found = list(csv.reader(io.StringIO(sent_text(client.get(f"{PAGE}?export=csv&table={table}")), newline="")))
    assert len(found) == rows + 1
    assert any(f"'{hostile}" in line for line in found[1:])


def test_archived_and_withdrawn_are_explained(client: Client, load: Load) -> None:
    Load.objects.filter(pk=load.pk).update(archived_at=now(), status="failed")
    assert "This load is archived" in page_text(client.get(PAGE))
    Campaign.objects.update(withdrawn_at=now())
    assert "This campaign was withdrawn" in page_text(client.get(PAGE))


def test_the_page_takes_at_most_twelve_statements(client: Client, load: Load) -> None:
    address = load.tail.get_absolute_url()
    client.get(address)
    with CaptureQueriesContext(connection) as captured:
        assert client.get(address).status_code == 200
    assert len(captured) <= 12
