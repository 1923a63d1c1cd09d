"""The heat map in a real browser: keyboard, live updates, distinction without colour, and links to transfers."""

from __future__ import annotations

import re

import pytest
from django.db import transaction
from playwright.sync_api import expect

from fleet.choices import Status
from fleet.feed import transfer_change
from fleet.models import Load, Tail, Transfer
from ifeportal.live.feed import publish
from tests.conftest import Cast
from tests.support.browser_portal import PATIENCE, PortalProcess, axe_violations
from tests.support.page_rows import create_campaign, create_load, create_tail, mark_polled
from tests.system.browser.conftest import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.processes]
expect.set_options(timeout=PATIENCE)

PAGE = "/airlines/ACME/campaigns/2026-12/"
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
# The tile of every state in grey: what a colour-blind user sees.
GREYS = """() => {
    const { paint } = document.querySelector("heat-map");
    return ["failed", "stalled", "loading", "pending", "complete"].map((state) => {
        const tile = paint.tile(state, 40, 28, 28, 1, 1);
        const sheet = document.createElement("canvas").getContext("2d");
        sheet.fillStyle = paint.theme().surface;
        sheet.fillRect(0, 0, 28, 28);
        sheet.drawImage(tile, 0, 0);
        const { data } = sheet.getImageData(0, 0, 27, 27);
        return Array.from({ length: data.length / 4 }, (_, place) =>
            Math.round(0.3 * data[4 * place] + 0.6 * data[4 * place + 1] + 0.1 * data[4 * place + 2]));
    });
}"""


@pytest.fixture
def load(portal: PortalProcess, cast: Cast) -> Load:
    """D-AIMA failed at its third item of four; D-AIMB is complete, D-AIMC has not started."""
    mark_polled(cast.acme)
    campaign = create_campaign(cast.acme, items=4)
    load = create_load(create_tail(cast.acme, "D-AIMA"), campaign, "full")
    create_load(create_tail(cast.acme, "D-AIMB"), campaign, "complete")
    create_tail(cast.acme, "D-AIMC")
    return load


def test_the_map_is_read_by_keys_follows_changes_and_leads_to_the_transfer(
    cast: Cast, load: Load, visit: Visitor
) -> None:
    window = visit(cast.alice)
    page = window.go(PAGE)
    said, box = page.locator("heat-map [role=status]"), page.locator(".heat-box")
    expect(page.locator("heat-map[data-ready]")).to_be_visible()
    box.focus()
    expect(said).to_have_text(re.compile(r"^D-AIMA, movie-001: complete, 100%, as of \d+ s ago$"))
    for key, words in (
        ("ArrowRight", "D-AIMA, movie-002: complete, 100%"),
        ("ArrowRight", "D-AIMA, movie-003: failed, NO_SPACE, 61%, as of"),
        ("End", "D-AIMA, movie-004: pending, as of"),
        ("Home", "D-AIMA, movie-001: complete"),
        ("ArrowUp", "movie-001 (The Long Way Up): complete on 2 of 3 tails, failing on 0"),
        ("PageDown", "D-AIMB, movie-001: complete"),
        ("ArrowLeft", "D-AIMB: complete, 100%, complete 4 of 4 items, failed 0"),
        ("Control+End", "D-AIMC, movie-004: not started"),
        ("Control+Home", "D-AIMA, movie-001: complete"),
        ("ArrowRight", "D-AIMA, movie-002: complete"),
    ):
        page.keyboard.press(key)
        expect(said).to_contain_text(words)
    second = load.transfers.get(content="movie-002")
    Transfer.objects.filter(pk=second.pk).update(
        status=Status.FAILED, bytes_done=0, error_code="X", error=HOSTILE, finished_at=None
    )
    row = Transfer.objects.select_related("load__tail__airline", "load__campaign").get(pk=second.pk)
    with transaction.atomic():
        publish([transfer_change(row)])
    expect(page.locator(".heat-says")).to_contain_text("D-AIMA, movie-002: failed, X, 0%")
    expect(page.locator("heat-map .legend li", has_text="failed")).to_have_text("failed 2")
    assert axe_violations(page) == []
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/tails/D-AIMA/\?campaign=2026-12&item=movie-002#item$"))
    expect(page.locator("#item")).to_contain_text(HOSTILE)
    assert page.title() != "owned"
    assert window.complaints == []


def test_states_differ_without_colour_and_a_click_leads_to_the_transfer(cast: Cast, load: Load, visit: Visitor) -> None:
    Tail.objects.filter(name="D-AIMA").update(name='D-"><b>A')
    page = visit(cast.alice).go(PAGE)
    expect(page.locator("heat-map[data-ready]")).to_be_visible()
    greys = page.evaluate(GREYS)
    for place, one in enumerate(greys):
        for other in greys[place + 1 :]:
            assert sum(abs(a - b) > 12 for a, b in zip(one, other, strict=True)) > 20
    size = page.evaluate("document.querySelector('heat-map').size")
    page.locator(".heat-box").click(
        position={"x": size["headWidth"] + 2.5 * size["w"], "y": size["headHeight"] + 0.5 * size["h"]}
    )
    expect(page).to_have_url(re.compile(r"item=movie-003#item$"))
    expect(page.locator("#item")).to_contain_text("movie-003")
    expect(page.locator("h1")).to_have_text('D-"><b>A')
