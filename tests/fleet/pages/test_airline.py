"""The airline page: one row per tail, filtered, searched, sorted and paged by the URL."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import timedelta

import pytest
from django.db import connection
from django.http import HttpResponseBase, StreamingHttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.html import escape

from fleet.api.serializers import AnomalySerializer, CampaignSerializer, LoadSerializer
from fleet.choices import Status
from fleet.models import Anomaly, Load, Tail
from ifeportal.models import Airline
from tests.conftest import Cast
from tests.support.html import page_html, page_text, row_headers
from tests.support.page_rows import create_campaign, create_fleet, create_load, create_tail, now


def key(tail: str) -> str:
    return f"tail:{Tail.objects.get(name=tail).pk}"


def test_a_row_shows_the_state_of_the_tail(cast: Cast, alice: Client) -> None:
    create_load(create_tail(cast.acme, "VP-ABC", timedelta(minutes=3)), create_campaign(cast.acme, items=4), "loading")
    Tail.objects.update(aircraft_type="A320neo")
    row = page_text(alice.get("/airlines/ACME/"), key("VP-ABC"))
    assert row.startswith("VP-ABC A320neo 2026-12 loading")
    assert "Items 2 of 4" in row
    assert "MB/s" in row
    assert row.endswith("Last contact 3 min ago Free 187 GB")


def test_a_failed_row_shows_the_item_the_cause_and_the_action(cast: Cast, alice: Client) -> None:
    create_load(create_tail(cast.acme, "VP-ABC"), create_campaign(cast.acme, items=4), "full")
    row = page_text(alice.get("/airlines/ACME/"), key("VP-ABC"))
    assert "movie-003 NO_SPACE needs 2.1 GB, 0.3 GB free" in row
    assert "What to do: Free space in the content directory" in row


def test_an_error_of_another_loader_is_shown_as_it_is(cast: Cast, alice: Client) -> None:
    load = create_load(create_tail(cast.acme, "VP-ABC"), create_campaign(cast.acme), "failed")
    Load.objects.filter(pk=load.pk).update(error_code="", error="disque plein à 98 %")
    row = page_text(alice.get("/airlines/ACME/"), key("VP-ABC"))
    assert "disque plein à 98 %" in row
    assert "What to do" not in row


def test_the_load_that_moves_speaks_for_the_tail_and_failures_elsewhere_are_not_hidden(
    cast: Cast, alice: Client
) -> None:
    tail = create_tail(cast.acme, "VP-ABC")
    create_load(tail, create_campaign(cast.acme, "2026-11"), "failed")
    create_load(tail, create_campaign(cast.acme, "2026-12"), "loading")
    create_load(tail, create_campaign(cast.acme, "2027-01"), "pending")
    row = page_text(alice.get("/airlines/ACME/"), key("VP-ABC"))
    assert "2026-12" in row
    assert "+1 failed" in row
    failed = page_text(alice.get("/airlines/ACME/?state=failed"), key("VP-ABC"))
    assert "2026-11" in failed
    assert "+1 loading" in failed


def test_an_unknown_total_is_called_unknown(cast: Cast, alice: Client) -> None:
    create_load(create_tail(cast.acme, "VP-ABC"), create_campaign(cast.acme), "unknown")
    row = page_text(alice.get("/airlines/ACME/"), key("VP-ABC"))
    assert "of unknown" in row
    assert "0%" not in row


def test_a_deleted_load_speaks_for_no_tail(cast: Cast, alice: Client) -> None:
    load = create_load(create_tail(cast.acme, "VP-ABC"), create_campaign(cast.acme), "complete")
    Load.objects.filter(pk=load.pk).update(status=Status.DELETED)
    assert "no loads yet" in page_text(alice.get("/airlines/ACME/"), key("VP-ABC"))
    assert "Not started on any tail" in page_text(alice.get("/airlines/ACME/campaigns/2026-12/"))


def test_a_tail_without_a_load_is_listed(cast: Cast, alice: Client) -> None:
    create_tail(cast.acme, "VP-ABC")
    assert "no loads yet" in page_text(alice.get("/airlines/ACME/"), key("VP-ABC"))


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", ["VP-F", "VP-S", "VP-L", "VP-P", "VP-C", "VP-0"]),
        ("?state=failed", ["VP-F"]),
        ("?state=stalled", ["VP-S"]),
        ("?state=loading", ["VP-L"]),
        ("?state=complete", ["VP-C"]),
        ("?state=nonsense", ["VP-F", "VP-S", "VP-L", "VP-P", "VP-C", "VP-0"]),
        ("?q=vp-c", ["VP-C"]),
        ("?q=hash_mismatch", ["VP-F"]),
        ("?q=2026-12", ["VP-F", "VP-S", "VP-L", "VP-P", "VP-C"]),
        ("?q=%00", ["VP-F", "VP-S", "VP-L", "VP-P", "VP-C", "VP-0"]),
        ("?sort=tail", ["VP-0", "VP-C", "VP-F", "VP-L", "VP-P", "VP-S"]),
        ("?sort=-tail", ["VP-S", "VP-P", "VP-L", "VP-F", "VP-C", "VP-0"]),
        ("?sort=-items", ["VP-C", "VP-F", "VP-L", "VP-S", "VP-P", "VP-0"]),
        ("?sort=-rate", ["VP-L", "VP-0", "VP-C", "VP-F", "VP-P", "VP-S"]),
        ("?sort=percent&page=99", ["VP-P", "VP-F", "VP-L", "VP-S", "VP-C", "VP-0"]),
        ("?state=at_risk", ["VP-P"]),
        ("?q=a321", ["VP-F"]),
        ("?sort=-type", ["VP-F", "VP-0", "VP-C", "VP-L", "VP-P", "VP-S"]),
        ("?sort=disk", ["VP-C", "VP-F", "VP-0", "VP-L", "VP-P", "VP-S"]),
        ("?campaign=2026-12&state=complete", ["VP-C"]),
        ("?campaign=nonsense&state=complete", ["VP-C"]),
        ("?size=nonsense&cols=nonsense", ["VP-F", "VP-S", "VP-L", "VP-P", "VP-C", "VP-0"]),
        ("?page=nonsense&sort=heard", ["VP-C", "VP-F", "VP-L", "VP-P", "VP-S", "VP-0"]),
    ],
)
def test_the_address_filters_and_sorts_the_tails(cast: Cast, alice: Client, query: str, shown: list[str]) -> None:
    campaign = create_campaign(cast.acme, items=4)
    stories = {"VP-C": "complete", "VP-F": "failed", "VP-L": "loading", "VP-P": "pending", "VP-S": "stalled"}
    for place, (name, story) in enumerate(stories.items()):
        tail = create_tail(cast.acme, name, timedelta(minutes=9 - place))
        load = create_load(tail, campaign, story)
        if story == "stalled":
            Load.objects.filter(pk=load.pk).update(bytes_done=2_300_000_000)
        if story == "loading":
            Load.objects.filter(pk=load.pk).update(bytes_done=2_200_000_000)
    create_tail(cast.acme, "VP-0", timedelta(seconds=0))
    Load.objects.filter(tail__name="VP-P").update(at_risk=True)
    Tail.objects.filter(name="VP-F").update(aircraft_type="A321", stores=[{"path": "/a", "free": 2}])
    Tail.objects.filter(name="VP-C").update(stores=[{"path": "/a", "free": 1}])
    assert row_headers(alice.get(f"/airlines/ACME/{query}")) == shown


def test_a_thousand_tails_come_fifty_a_page_and_the_links_keep_the_filter(cast: Cast, alice: Client) -> None:
    Tail.objects.bulk_create(Tail(airline=cast.acme, name=f"VP-{number:04}") for number in range(1000))
    page = alice.get("/airlines/ACME/?sort=tail&q=vp&page=3")
    assert row_headers(page) == [f"VP-{number:04}" for number in range(100, 150)]
    assert "150 of 1,000 tails" in page_text(page)
    assert 'href="?sort=tail&amp;q=vp&amp;page=4"' in page_html(page)


def test_the_address_sets_the_number_of_rows_per_page(cast: Cast, alice: Client) -> None:
    Tail.objects.bulk_create(Tail(airline=cast.acme, name=f"VP-{number:03}") for number in range(150))
    assert len(row_headers(alice.get("/airlines/ACME/?size=100"))) == 100
    page = alice.get("/airlines/ACME/?size=1000&sort=tail")
    assert len(row_headers(page)) == 150
    assert 'href="?size=200&amp;sort=tail"' in page_html(page)


def test_the_address_chooses_the_columns_and_links_keep_them(cast: Cast, alice: Client) -> None:
    create_fleet(cast.acme, 2)

    def headers(query: str) -> list[str]:
        table = page_html(alice.get(f"/airlines/ACME/{query}")).split("<table")[1]
        return re.findall(r'role="columnheader"[^>]*><a [^>]*>([^<]+)', table)

    assert headers("?cols=rate,items&cols=nonsense") == ["Tail", "Items", "Rate"]
    assert headers("?cols=items&cols=effective") == ["Tail", "Items", "Effective rate"]
    assert headers("?cols=nonsense") == headers("")
    usual = ["Tail", "Type", "Campaign", "State", "Progress", "Items", "Rate", "Left", "Last contact", "Free disk"]
    assert headers("") == usual
    assert 'href="?cols=rate%2Citems&amp;sort=rate"' in page_html(alice.get("/airlines/ACME/?cols=rate,items"))


def test_chips_count_loads_by_state_and_leave_out_tails_that_are_not_in_service(cast: Cast, alice: Client) -> None:
    campaign = create_campaign(cast.acme)
    for name in ("VP-A", "VP-B", "VP-C"):
        create_load(create_tail(cast.acme, name), campaign, "failed")
    Load.objects.filter(tail__name="VP-A").update(status=Status.LOADING, silent=True)
    Tail.objects.filter(name="VP-C").update(duty="stored")
    page = alice.get("/airlines/ACME/")
    assert "all loads 2 failed 1 silent 1" in page_text(page)
    assert "1 stored or retired tail is not counted." in page_text(page)
    assert "stored" in page_text(page, key("VP-C"))
    assert row_headers(alice.get("/airlines/ACME/?state=failed")) == ["VP-B"]
    assert row_headers(alice.get("/airlines/ACME/?state=silent")) == ["VP-A"]


def test_with_a_campaign_rows_and_counts_are_of_its_loads(cast: Cast, alice: Client) -> None:
    old, new = create_campaign(cast.acme, "2026-11"), create_campaign(cast.acme, "2026-12")
    for name in ("VP-A", "VP-B"):
        create_load(create_tail(cast.acme, name), new, "loading")
    create_load(Tail.objects.get(name="VP-A"), old, "complete")
    page = alice.get("/airlines/ACME/?campaign=2026-11")
    assert "1 of 2 tails in service completed it, 1 not started." in page_text(page)
    assert "all loads 1" in page_text(page)
    assert "2026-11 +1 loading complete 100%" in page_text(page, key("VP-A"))
    assert "no loads yet" in page_text(page, key("VP-B"))
    assert 'data-src="/airlines/ACME/campaigns/2026-11/readiness/"' in page_html(page)


def test_a_campaign_is_not_called_silent_because_of_one_tail(cast: Cast, alice: Client) -> None:
    campaign = create_campaign(cast.acme)
    loads = [create_load(create_tail(cast.acme, name), campaign, "loading") for name in ("VP-A", "VP-B", "VP-C")]
    Load.objects.filter(pk=loads[0].pk).update(silent=True)
    for address in ("/airlines/ACME/", campaign.get_absolute_url(), "/airlines/ACME/?wall=1", "/"):
        page = page_html(alice.get(address))
        for key in (f"campaign:{campaign.pk}", f"airline:{cast.acme.pk}"):
            assert f'data-key="{key}" data-state' not in page
        assert not re.search(r'data-field="state"[^>]*>silent', re.sub(r"(?s)<tbody.*?</tbody>", "", page)), address
    for address in ("/airlines/ACME/", campaign.get_absolute_url()):
        shown = page_text(alice.get(address), f"campaign:{campaign.pk}")
        assert re.search(r"Tails:? .*1 silent.* 2 loading", shown), shown


def test_a_tail_at_risk_shows_its_risk_and_its_expected_completion(cast: Cast, alice: Client) -> None:
    load = create_load(create_tail(cast.acme, "VP-A"), create_campaign(cast.acme), "loading")
    Load.objects.filter(pk=load.pk).update(at_risk=True, rate_bps=2_000_000, effective_bps=1_000_000)
    row = page_text(alice.get("/airlines/ACME/"), key("VP-A"))
    assert "loading at risk" in row
    assert re.search(r"Left \d+ min to \d+", row)


def test_operators_are_shown_the_settings_and_managers_the_audit_log(cast: Cast, client: Client) -> None:
    shown = {}
    for user in (cast.alice, cast.otto, cast.mona, cast.olga):
        client.force_login(user)
        page = page_text(client.get("/airlines/ACME/"))
        shown[user.username] = ("Settings" in page, "Audit log" in page)
    assert shown == {"alice": (False, False), "otto": (True, False), "mona": (True, True), "olga": (True, True)}


def rows_of(answer: HttpResponseBase) -> list[dict[str, str]]:
    assert isinstance(answer, StreamingHttpResponse)
    return list(csv.DictReader(io.StringIO(answer.getvalue().decode("utf-8-sig"), newline="")))


def test_the_table_of_tails_is_a_file_with_the_filter_and_order_of_the_page(cast: Cast, alice: Client) -> None:
    create_fleet(cast.acme, 60, items=2)
    every = rows_of(alice.get("/airlines/ACME/?export=csv&sort=-tail&size=50&page=2"))
    assert [row["tail"] for row in every] == sorted((row["tail"] for row in every), reverse=True)
    assert len(every) == 60
    failed = rows_of(alice.get("/airlines/ACME/?export=csv&state=failed"))
    assert {row["state"] for row in failed} == {"failed"}
    assert {row["error_code"] for row in failed} == {"HASH_MISMATCH", "NO_SPACE"}
    answer = alice.get("/airlines/ACME/?export=json&q=vp-aab")
    assert isinstance(answer, StreamingHttpResponse)
    (row,) = json.loads(answer.getvalue())["rows"]
    assert (row["airline"], row["tail"], row["state"], row["items_total"]) == ("ACME", "VP-AAB", "complete", 2)


def test_loads_campaigns_and_anomalies_are_files_too_named_as_the_fields_of_the_api(cast: Cast, alice: Client) -> None:
    create_fleet(cast.acme, 2, items=2)
    Load.objects.filter(tail__name="VP-AAA").update(error="=cmd|' /C calc'!A0", error_code="@x")
    Anomaly.objects.create(
        airline=cast.acme,
        bucket="status",
        key="=1+1",
        key_hash="1",
        problem="BAD_NAME",
        first_seen=now(),
        last_seen=now(),
    )
    kinds = {"loads": LoadSerializer, "campaigns": CampaignSerializer, "anomalies": AnomalySerializer}
    for table, known in kinds.items():
        found = rows_of(alice.get(f"/airlines/ACME/?export=csv&table={table}"))
        assert found
        assert set(found[0]) <= set(known().fields), table
    loads = rows_of(alice.get("/airlines/ACME/?export=csv&table=loads&sort=tail"))
    assert loads[0]["error"].startswith("'=cmd")
    assert loads[0]["error_code"] == "'@x"
    assert rows_of(alice.get("/airlines/ACME/?export=csv&table=anomalies"))[0]["key"] == "'=1+1"


def test_a_file_holds_nothing_of_another_airline(cast: Cast, alice: Client) -> None:
    create_fleet(cast.beta, 2)
    assert alice.get("/airlines/BETA/?export=csv").status_code == 404
    assert rows_of(alice.get("/airlines/ACME/?export=csv&table=loads")) == []


def test_a_file_takes_as_many_queries_for_a_thousand_rows_as_its_pieces(cast: Cast, alice: Client) -> None:
    create_fleet(cast.acme, 3, items=1)

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            rows_of(alice.get("/airlines/ACME/?export=csv"))
        return len(captured)

    few = queries()
    campaign = cast.acme.campaigns.get()
    tails = Tail.objects.bulk_create(Tail(airline=cast.acme, name=f"VP-{number}") for number in range(400))
    Load.objects.bulk_create(Load(tail=tail, campaign=campaign) for tail in tails)
    assert queries() == few


def test_on_a_wall_there_are_no_controls(cast: Cast, alice: Client) -> None:
    create_fleet(cast.acme, 2)
    page = alice.get("/airlines/ACME/?wall=1")
    sent = page_html(page)
    assert 'data-theme="dark"' in sent
    assert "js/pages/wallboard.js" in sent
    assert not re.search(r"<(form|select|button|nav class=\"ways)", sent)
    assert "Last update" in page_text(page)


def test_an_airline_without_tails_explains_how_tails_are_created(cast: Cast, alice: Client) -> None:
    assert "No tails yet" in page_text(alice.get("/airlines/ACME/"))


def test_a_filter_that_leaves_nothing_offers_the_way_back(cast: Cast, alice: Client) -> None:
    create_fleet(cast.acme, 1)
    page = page_text(alice.get("/airlines/ACME/?q=zeppelin&state=failed"))
    assert "No matching tails" in page
    assert "Show all tails" in page


def test_the_airlines_campaigns_are_listed_latest_first_a_dozen_at_once(cast: Cast, alice: Client) -> None:
    for month in range(1, 15):
        campaign = create_campaign(cast.acme, f"cycle-{month:02}", items=1)
        campaign.exhibition_starts = campaign.exhibition_starts and campaign.exhibition_starts.replace(
            year=2025 + month // 13, month=(month - 1) % 12 + 1
        )
        campaign.save()
    page = alice.get("/airlines/ACME/")
    assert page_text(page).index("cycle-14") < page_text(page).index("cycle-13")
    assert "cycle-02" not in page_text(page)
    assert "cycle-02" in page_text(alice.get("/airlines/ACME/?all="))


def test_invalid_objects_are_counted_and_explained(cast: Cast, alice: Client) -> None:
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
    page = page_text(alice.get("/airlines/ACME/"))
    assert "11 objects in the buckets could not be read" in page
    assert "It has a backslash." in page
    assert "ACME/VP-ABC/0" not in page


def test_names_with_spaces_and_other_letters_have_addresses(cast: Cast, client: Client) -> None:
    airline = Airline.objects.create(name="Ünï Air & Söhne #1?")
    tail = create_tail(airline, "VP Ä+B%20/"[:-1])
    campaign = create_campaign(airline, "spring 'n' «été» 2027")
    create_load(tail, campaign, "failed")
    client.force_login(cast.olga)
    for address in (airline.get_absolute_url(), tail.get_absolute_url(), campaign.get_absolute_url()):
        page = client.get(address)
        assert "movie-004" in page_html(page)
    assert escape(tail.get_absolute_url()) in page_html(client.get(airline.get_absolute_url()))


def test_managers_are_led_to_its_campaigns_and_to_a_new_one(cast: Cast, client: Client) -> None:
    for user, may in ((cast.alice, False), (cast.otto, False), (cast.mona, True), (cast.olga, False), (cast.ada, True)):
        client.force_login(user)
        page = client.get("/airlines/ACME/").content.decode()
        assert (f"/admin/campaigns/draft/add/?airline={cast.acme.pk}" in page) is may, user
