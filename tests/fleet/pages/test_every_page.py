"""Checks of every page: permissions, number of queries, and escaping of foreign text."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from campaigns.models import Campaign, ManifestState
from fleet.models import Anomaly, Load, Tail, Transfer
from ifeportal.models import Airline
from tests.conftest import PASSWORD, Cast
from tests.support.html import page_html, page_text
from tests.support.page_rows import create_campaign, create_fleet, create_load, create_tail, now

pytestmark = pytest.mark.both_databases

FLEET, AIRLINE, ACTIVITY = "/", "/airlines/ACME/", "/activity/"
TAIL, CAMPAIGN = "/airlines/ACME/tails/VP-AAA/", "/airlines/ACME/campaigns/2026-12/"
PAGES = (FLEET, AIRLINE, TAIL, CAMPAIGN, ACTIVITY)
HOSTILE = "<script>alert('hm')</script>\"><img src=x onerror=alert(1)>"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_takes_as_many_queries_for_sixty_rows_as_for_three(cast: Cast, client: Client, page: str) -> None:
    create_fleet(cast.acme, 3, items=3)
    _add_anomalies(cast.acme, 2)
    client.force_login(cast.olga)

    def queries() -> list[str]:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(page).status_code == 200
        return [query["sql"] for query in captured.captured_queries]

    few = queries()
    _grow(cast.acme)
    many = queries()
    assert [sql[:120] for sql in many] == [sql[:120] for sql in few]
    assert len(few) <= {FLEET: 10, AIRLINE: 12, TAIL: 12}.get(page, 14)


def _grow(airline: Airline) -> None:
    """Create sixty more tails, items, campaigns, airlines and anomalies."""
    campaign = airline.campaigns.get()
    Tail.objects.bulk_create(Tail(airline=airline, name=f"VP-B{number}") for number in range(60))
    tails = Tail.objects.filter(airline=airline, name__startswith="VP-B")
    Load.objects.bulk_create(Load(tail=tail, campaign=campaign, error="x", error_code="TIMEOUT") for tail in tails)
    load = Load.objects.get(tail__name="VP-AAA", tail__airline=airline)
    Transfer.objects.bulk_create(
        Transfer(load=load, content=f"x{number}", status="loading", listed=bool(number % 2)) for number in range(60)
    )
    Campaign.objects.bulk_create(Campaign(airline=airline, name=f"c{number}") for number in range(60))
    Load.objects.bulk_create(
        Load(tail=load.tail, campaign=row) for row in Campaign.objects.filter(name__startswith="c")
    )
    Airline.objects.bulk_create(Airline(name=f"A{number}") for number in range(60))
    _add_anomalies(airline, 60)


def _add_anomalies(airline: Airline, count: int) -> None:
    Anomaly.objects.bulk_create(
        Anomaly(
            airline=airline if number % 2 else None,
            bucket="media",
            key=str(number),
            key_hash=f"{number} of {count}",
            problem="BAD_NAME",
            first_seen=now(),
            last_seen=now(),
        )
        for number in range(count)
    )


@pytest.mark.parametrize("page", PAGES)
def test_a_stranger_is_asked_to_sign_in_and_comes_back_to_the_page(cast: Cast, client: Client, page: str) -> None:
    create_fleet(cast.acme, 1)
    answer = client.get(page)
    assert answer.status_code == 302
    assert answer["Location"] == f"/login/?next={page}"
    entered = client.post("/login/", {"login": "alice", "password": PASSWORD, "next": page})
    assert entered["Location"] == page


@pytest.mark.parametrize("page", [AIRLINE, TAIL, CAMPAIGN])
def test_a_foreign_page_answers_like_one_that_is_not_there(cast: Cast, client: Client, page: str) -> None:
    create_fleet(cast.acme, 1)
    client.force_login(cast.bob)
    foreign, missing = client.get(page), client.get(page.replace("ACME", "NONE"))
    assert foreign.status_code == missing.status_code == 404
    same = re.compile(r'ACME|NONE|name="csrfmiddlewaretoken" value="\w+"')
    assert same.sub("", foreign.content.decode()) == same.sub("", missing.content.decode())


def test_a_tail_of_one_airline_is_not_found_under_another(cast: Cast, client: Client) -> None:
    create_fleet(cast.acme, 1)
    create_campaign(cast.beta, "2027-01")
    client.force_login(cast.olga)
    assert client.get("/airlines/BETA/tails/VP-AAA/").status_code == 404
    assert client.get("/airlines/ACME/campaigns/2027-01/").status_code == 404


@pytest.mark.parametrize("page", PAGES)
def test_pages_only_answer_reading(cast: Cast, client: Client, page: str) -> None:
    create_fleet(cast.acme, 1)
    client.force_login(cast.alice)
    assert client.post(page).status_code == 405
    assert client.head(page).status_code == 200


def test_hostile_text_from_a_bucket_is_shown_as_text(cast: Cast, client: Client) -> None:
    airline = Airline.objects.create(name="<b>&'\"", title=HOSTILE)
    tail = create_tail(airline, HOSTILE.replace("/", ""))
    campaign = create_campaign(airline, "<i>2026", items=4, title=HOSTILE)
    load = create_load(tail, campaign, "failed")
    Tail.objects.filter(pk=tail.pk).update(
        loader_version=HOSTILE, loader_state=HOSTILE[:20], loader_reason=HOSTILE, stores=[{"path": HOSTILE}]
    )
    Load.objects.filter(pk=load.pk).update(error=HOSTILE, error_code=HOSTILE[:40], error_content=HOSTILE)
    Transfer.objects.filter(load=load, status="failed").update(error=HOSTILE, error_code=HOSTILE[:40], content=HOSTILE)
    Transfer.objects.filter(load=load, content="movie-004").update(error=HOSTILE, status="loading")
    Campaign.objects.filter(pk=campaign.pk).update(manifest_state=ManifestState.REFUSED, manifest_problem=HOSTILE)
    Anomaly.objects.create(
        airline=airline,
        bucket="status",
        key=HOSTILE,
        key_hash="1",
        problem="<u>",
        detail=HOSTILE,
        first_seen=now(),
        last_seen=now(),
    )
    client.force_login(cast.olga)
    addresses = ["/", *(row.get_absolute_url() for row in (airline, tail, campaign))]
    for address in (*addresses, f"/?q={HOSTILE}", f"{addresses[1]}?q={HOSTILE}&status={HOSTILE}"):
        page = page_html(client.get(address))
        assert "<script>alert" not in page
        assert "<img" not in page
        assert not re.search(r"<[bi]>&(?!lt;|amp;)|<i>2026|<u>", page)
        assert "onerror" not in re.sub(r"&quot;&gt;&lt;img src=x onerror", "", page) or "%3Cimg" in page
    assert HOSTILE in page_text(client.get(addresses[1]))


@pytest.mark.parametrize("page", [*PAGES, "/login/", "/nowhere/"])
def test_no_page_has_inline_script_or_style(cast: Cast, client: Client, page: str) -> None:
    create_fleet(cast.acme, 3)
    if page != "/login/":  # redirects signed-in users
        client.force_login(cast.olga)
    answer = client.get(page)
    sent = answer.content.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", sent)
    assert all("src=" in script for script in re.findall(r"<script[^>]*>", sent))
    policy = answer["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_its_revision_and_is_not_cached(cast: Cast, client: Client, page: str) -> None:
    create_fleet(cast.acme, 1)
    client.force_login(cast.alice)
    answer = client.get(page)
    assert re.search(r'<live-page [^>]*data-rev="\d+"', page_html(answer))
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.parametrize("page", PAGES)
def test_ids_on_a_page_are_unique(cast: Cast, client: Client, page: str) -> None:
    create_fleet(cast.acme, 3)
    client.force_login(cast.alice)
    ids = re.findall(r'\sid="([^"]*)"', page_html(client.get(page)))
    assert len(ids) == len(set(ids))


def test_a_page_that_is_not_there_says_so_in_the_portals_own_words(cast: Cast, client: Client) -> None:
    client.force_login(cast.alice)
    answer = client.get("/nowhere/")
    assert answer.status_code == 404
    assert "you do not have access to its airline" in answer.content.decode()


def test_the_theme_of_the_cookie_is_in_the_page_so_that_it_does_not_flash(cast: Cast, client: Client) -> None:
    client.force_login(cast.alice)
    assert "data-theme=" not in page_html(client.get("/")).split(">")[1]
    client.cookies["theme"] = "dark"
    assert '<html lang="en-GB" data-theme="dark">' in page_html(client.get("/"))
    client.cookies["theme"] = '"><script>'
    assert '<html lang="en-GB">' in page_html(client.get("/"))


def test_only_staff_are_shown_the_way_to_the_admin(cast: Cast, client: Client) -> None:
    client.force_login(cast.alice)
    assert 'href="/admin/"' not in page_html(client.get("/"))
    client.force_login(cast.olga)
    assert 'href="/admin/"' in page_html(client.get("/"))


def test_a_wrong_password_shows_an_error_and_the_user_name(cast: Cast, client: Client) -> None:
    answer = client.post("/login/", {"login": "alice", "password": "wrong"})
    assert "Wrong user name or password" in page_text(answer)
    assert 'value="alice"' in page_html(answer)


def test_signing_out_ends_at_the_login_page(cast: Cast, client: Client) -> None:
    client.force_login(cast.alice)
    assert client.post("/logout/")["Location"] == "/login/"
    assert client.get("/").status_code == 302


def test_freshness_covers_the_airlines_of_the_user_only(cast: Cast, client: Client) -> None:
    client.force_login(cast.alice)
    answer = client.get("/freshness/").json()
    assert answer["airlines"] == {"ACME": {"read_at": None, "stale": True, "next_at": None}}
    assert client.get("/freshness/?airline=BETA").json()["airlines"] == {}
