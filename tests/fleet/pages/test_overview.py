"""The fleet page: one card per airline, problems first, and the empty state."""

from __future__ import annotations

import json
import re

import pytest
from django.http import StreamingHttpResponse
from django.test import Client

from fleet.models import Anomaly, Tail
from fleet.stats.throughput import add_received
from ifeportal.models import Airline
from tests.conftest import Cast
from tests.support.html import page_html, page_text
from tests.support.page_rows import create_campaign, create_fleet, create_load, create_tail, mark_polled, now

pytestmark = pytest.mark.both_databases


def test_a_card_sums_up_what_the_airline_holds(cast: Cast, client: Client) -> None:
    campaign = create_campaign(cast.acme, items=4)
    for name, story in (("VP-A", "complete"), ("VP-B", "failed"), ("VP-C", "stalled")):
        create_load(create_tail(cast.acme, name), campaign, story)
    client.force_login(cast.alice)
    card = page_text(client.get("/"), f"airline:{cast.acme.pk}")
    assert "1 failed 1 stalled 1 complete" in card
    assert "1 of 3 tails in service completed all loads." in card
    assert "failed items: 1" in card
    assert "VP-B failed 2026-12 · HASH_MISMATCH · movie-003 VP-C stalled" in card
    assert re.search(r"\d+%", card)


def test_counts_are_links_to_the_tails_they_count(cast: Cast, client: Client) -> None:
    create_fleet(cast.acme, 3)
    client.force_login(cast.alice)
    assert 'href="/airlines/ACME/?state=failed"' in page_html(client.get("/"))


def test_each_user_sees_the_cards_of_their_airlines_only(cast: Cast, client: Client) -> None:
    for user, visible in ((cast.alice, {"ACME"}), (cast.bob, {"BETA"}), (cast.olga, {"ACME", "BETA"})):
        client.force_login(user)
        page = page_html(client.get("/"))
        assert {name for name in ("ACME", "BETA") if f"/airlines/{name}/" in page} == visible


def test_failures_come_first_unless_another_order_is_asked_for(cast: Cast, client: Client) -> None:
    create_load(create_tail(cast.acme, "VP-A"), create_campaign(cast.acme), "complete")
    create_load(create_tail(cast.beta, "VP-B"), create_campaign(cast.beta), "failed")
    client.force_login(cast.olga)

    def order(query: str) -> list[str]:
        return re.findall(r'<h2><a href="/airlines/(\w+)/"', page_html(client.get(f"/{query}")))

    assert order("") == ["BETA", "ACME"]
    assert order("?sort=name") == ["ACME", "BETA"]
    assert order("?sort=-name") == ["BETA", "ACME"]
    assert order("?sort=percent") == ["BETA", "ACME"]
    assert order("?sort=nonsense") == ["BETA", "ACME"]


def test_a_card_shows_the_bytes_of_today_and_the_excluded_tails(cast: Cast, client: Client) -> None:
    create_fleet(cast.acme, 3)
    Tail.objects.filter(name="VP-AAB").update(duty="retired")
    add_received(cast.acme, 5_000_000_000, now())
    client.force_login(cast.alice)
    card = page_text(client.get("/"), f"airline:{cast.acme.pk}")
    assert "5.00 GB received today" in card
    assert "0 of 2 tails in service completed all loads. 1 stored or retired tail is not counted." in card


def test_airlines_are_a_file_too(cast: Cast, client: Client) -> None:
    create_fleet(cast.acme, 3)
    client.force_login(cast.alice)
    answer = client.get("/?export=json")
    assert isinstance(answer, StreamingHttpResponse)
    (row,) = json.loads(answer.getvalue())["rows"]
    assert (row["airline"], row["tails"], row["complete"]) == ("ACME", 3, 1)


def test_the_search_finds_by_name_and_title(cast: Cast, client: Client) -> None:
    Airline.objects.filter(pk=cast.beta.pk).update(title="Beta Skies")
    client.force_login(cast.olga)
    found = page_text(client.get("/?q=skies"), f"airline:{cast.beta.pk}")
    assert "Beta Skies" in found
    assert page_text(client.get("/?q=skies"), f"airline:{cast.acme.pk}") == ""
    assert "No airline matches “zeppelin”" in page_text(client.get("/?q=zeppelin"))


def test_staff_without_airlines_see_how_to_create_one(cast: Cast, client: Client) -> None:
    Airline.objects.all().delete()
    client.force_login(cast.olga)
    assert "publish_campaign DIR --airline ACME" in page_text(client.get("/"))


def test_a_user_without_an_airline_sees_a_contact(cast: Cast, client: Client) -> None:
    client.force_login(cast.nick)
    page = page_text(client.get("/"))
    assert "You do not belong to an airline yet" in page
    assert "publish_campaign" not in page
    assert "ACME" not in page


def test_an_airline_without_loads_claims_no_figures(cast: Cast, client: Client) -> None:
    client.force_login(cast.alice)
    card = page_text(client.get("/"), f"airline:{cast.acme.pk}")
    assert "No loads yet" in card
    assert "%" not in card
    assert "0 B" not in card


def test_a_card_shows_the_last_poll_and_warns_when_it_is_too_old(cast: Cast, client: Client) -> None:
    client.force_login(cast.alice)
    assert "Last update never stale" in page_text(client.get("/"), "poll:ACME")
    mark_polled(cast.acme, seconds=3)
    # The next seconds may start meanwhile.
    assert re.fullmatch("Last update [3-9] s ago", page_text(client.get("/"), "poll:ACME"))
    mark_polled(cast.acme, seconds=90)
    assert page_text(client.get("/"), "poll:ACME") == "Last update 1 min ago stale"


def test_keys_of_no_airline_are_listed_for_staff_alone(cast: Cast, client: Client) -> None:
    Anomaly.objects.create(
        bucket="status", key="?/x", key_hash="1", problem="BAD_NAME", first_seen=now(), last_seen=now()
    )
    client.force_login(cast.olga)
    page = page_text(client.get("/"))
    assert "BAD_NAME status: ?/x" in page
    assert "What to do: Rename it" in page
    client.force_login(cast.alice)
    assert "BAD_NAME" not in page_text(client.get("/"))
