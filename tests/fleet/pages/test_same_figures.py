"""A figure is the same everywhere: fleet page, airline page, campaign page, API, exports and metrics."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping

import pytest
from django.test import Client

from campaigns.models import Campaign
from fleet.choices import ServiceStatus, Status
from fleet.models import Load
from fleet.stats.rollup import COUNTED_STATES
from tests.conftest import Cast
from tests.support.html import page_html, sent_text
from tests.support.page_rows import create_campaign, create_load, create_tail, mark_polled

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
AIRLINE, CAMPAIGN = "/airlines/ACME/", "/airlines/ACME/campaigns/2026-12/"
WORDS = (*COUNTED_STATES, "at_risk")
FIGURES = ("loads", "items_failed", *WORDS)
# Additional states of each tail's load.
FLEET: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "N1": ("complete", {}),
    "N2": ("complete", {}),
    "N3": ("failed", {"at_risk": True}),
    "N4": ("stalled", {"at_risk": True}),
    "N5": ("loading", {"silent": True}),
    "N6": ("loading", {"waiting": True}),
    "N7": ("loading", {"restarted": True}),
    "N8": ("loading", {"contradiction": "oversized"}),
    "N9": ("loading", {}),
    "N10": ("pending", {}),
    "N11": ("unknown", {}),
    "N12": ("failed", {"status": Status.DELETED}),
}
EXPECTED = {
    "loads": 11,
    "items_failed": 1,
    "failed": 1,
    "silent": 1,
    "stalled": 1,
    "contradiction": 1,
    "waiting": 1,
    "restarted": 1,
    "loading": 2,
    "pending": 1,
    "complete": 2,
    "at_risk": 2,
}


@pytest.fixture
def campaign(cast: Cast) -> Campaign:
    """Create ACME's only campaign in every state; on a stored and a retired tail it has failed too, at risk."""
    campaign = create_campaign(cast.acme)
    for name, (story, flags) in FLEET.items():
        load = create_load(create_tail(cast.acme, name), campaign, story)
        Load.objects.filter(pk=load.pk).update(**flags)
    for duty in (ServiceStatus.STORED, ServiceStatus.RETIRED):
        tail = create_tail(cast.acme, f"OLD-{duty.value}")
        tail.duty = duty
        tail.save()
        load = create_load(tail, campaign, "failed")
        Load.objects.filter(pk=load.pk).update(at_risk=True)
    mark_polled(cast.acme)
    return campaign


@pytest.fixture
def olga(cast: Cast, client: Client) -> Client:
    client.force_login(cast.olga)
    return client


def shown(page: str, after: str) -> dict[str, int]:
    """Return the counts of a page after a marker; of those shown twice both must be equal."""
    found: dict[str, int] = {}
    part = re.sub(
        r"<tbody.*?</tbody>", "", page.partition(after)[2].partition('data-key="airline:')[0], flags=re.DOTALL
    )
    for field, text in re.findall(r'data-field="(\w+)" data-as="count">([\d,]+)<', part):
        if field in FIGURES:
            assert found.setdefault(field, int(text.replace(",", ""))) == int(text.replace(",", "")), field
    return found


def rows(client: Client, address: str, table: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(sent_text(client.get(f"{address}?export=json&table={table}")))["rows"]
    return found


def of(row: Mapping[str, object]) -> dict[str, object]:
    return {figure: row[figure] for figure in FIGURES}


def test_pages_api_and_files_have_the_same_figures_for_the_same_scope(campaign: Campaign, olga: Client) -> None:
    card = shown(page_html(olga.get("/")), f'data-key="airline:{campaign.airline.pk}"')
    airline = shown(page_html(olga.get(AIRLINE)), f'data-key="airline:{campaign.airline.pk}"')
    page = shown(page_html(olga.get(CAMPAIGN)), f'data-key="campaign:{campaign.pk}"')
    for where, figures in (("card", card), ("airline", airline), ("campaign", page)):
        assert figures == {figure: EXPECTED[figure] for figure in figures}, where
        assert {"loads", *WORDS} <= set(figures), where
    (from_api,) = olga.get("/api/v1/airlines/?airline=ACME").json()["results"]
    (of_campaign,) = olga.get("/api/v1/campaigns/?airline=ACME").json()["results"]
    of_fleet = next(row for row in rows(olga, "/", "airlines") if row["airline"] == "ACME")
    (of_airline,) = rows(olga, AIRLINE, "campaigns")
    for row in (from_api, of_campaign, of_fleet, of_airline):
        assert of(row) == EXPECTED
        assert row["tails_out"] == 2


@pytest.mark.parametrize("word", WORDS)
def test_a_filter_chip_shows_the_number_of_its_rows(campaign: Campaign, olga: Client, word: str) -> None:
    for address in (AIRLINE, CAMPAIGN):
        assert len(rows(olga, address, f"loads&state={word}")) == EXPECTED[word], address
    assert len(rows(olga, AIRLINE, f"tails&state={word}")) == EXPECTED[word]
    flag = "at_risk=true" if word == "at_risk" else f"state={word}"
    assert olga.get(f"/api/v1/loads/?{flag}&duty=active").json()["count"] == EXPECTED[word]


def test_metrics_count_the_same(campaign: Campaign, olga: Client) -> None:
    found: Counter[str] = Counter()
    sums = r'ifeportal_(loads|loads_at_risk|items)\{airline="ACME"(?:,state="(\w+)")?\} ([\d.]+)'
    for family, state, number in re.findall(sums, olga.get("/metrics").content.decode()):
        found[{"loads_at_risk": "at_risk", "items": f"items_{state}"}.get(family, state)] += int(float(number))
    assert {word: found[word] for word in (*WORDS, "items_failed")} == {
        word: EXPECTED[word] for word in (*WORDS, "items_failed")
    }
    (row,) = olga.get("/api/v1/airlines/?airline=ACME").json()["results"]
    assert (found["items_done"], found["items_listed"]) == (row["items_done"], row["items_total"])


def test_excluded_rows_are_stated(campaign: Campaign, olga: Client) -> None:
    assert "2 stored or retired tails are not counted." in page_html(olga.get("/"))
    assert "2 stored or retired tails are not counted." in page_html(olga.get(AIRLINE))
    assert "2 stored or retired tails are not counted." in page_html(olga.get(CAMPAIGN))
