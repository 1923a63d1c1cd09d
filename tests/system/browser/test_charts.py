"""The charts in a real browser: drawn under the CSP, read by keyboard and pointer, in the theme's colours."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from fleet.models import Load, ProgressSample
from tests.conftest import Cast
from tests.support.browser_portal import PATIENCE, PortalProcess, axe_violations
from tests.support.page_rows import create_campaign, create_load, create_tail, mark_polled
from tests.system.browser.conftest import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.processes]
expect.set_options(timeout=PATIENCE)
IN_COLOUR = """(canvas, colour) => {
    const [red, green, blue] = colour.match(/\\d+/g).map(Number);
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let count = 0;
    for (let at = 0; at < pixels.length; at += 4)
        count += pixels[at] === red && pixels[at + 1] === green && pixels[at + 2] === blue && pixels[at + 3] === 255;
    return count;
}"""
LINE = """() => getComputedStyle(document.querySelector("rate-chart")).getPropertyValue("--chart-line")"""


@pytest.fixture
def moving(portal: PortalProcess, cast: Cast) -> Cast:
    """Create a tail of ACME that received 600 MB in each of the last six five-minute intervals."""
    tail, now = create_tail(cast.acme, "VP-AAA"), timezone.now()
    load = create_load(tail, create_campaign(cast.acme, items=3))
    for row in (tail, cast.acme):  # otherwise little more than the new interval would be known
        type(row).objects.filter(pk=row.pk).update(created_at=now - timedelta(days=3))
    Load.objects.filter(pk=load.pk).update(started_at=now - timedelta(hours=1))
    ProgressSample.objects.bulk_create(
        ProgressSample(load=load, at=now - timedelta(minutes=5 * back), bytes_done=(9 - back) * 600_000_000)
        for back in range(2, 9)
    )
    mark_polled(cast.acme)
    return cast


def drawn(page: Page) -> None:
    page.locator("rate-chart").scroll_into_view_if_needed()
    page.locator('rate-chart[data-state="drawn"] canvas').wait_for()


def test_a_chart_is_drawn_and_read_by_keyboard_and_pointer_in_either_theme(moving: Cast, visit: Visitor) -> None:
    window = visit(moving.alice, color_scheme="light")
    page = window.go("/airlines/ACME/tails/VP-AAA/")
    drawn(page)
    expect(page.locator("[data-chart-summary]")).to_contain_text(
        "3.60 GB received in the last 24 hours. Peak: 2.00 MB/s"
    )
    plot = page.get_by_role("application")
    plot.focus()
    page.keyboard.press("End")
    spoken = page.locator("rate-chart [aria-live]")
    expect(spoken).to_contain_text("UTC")
    while "2.00 MB/s" not in spoken.inner_text():
        page.keyboard.press("ArrowLeft")
    expect(page.locator(".chart-tip")).to_be_visible()
    expect(page.locator(".chart-tip")).to_contain_text("received 2.00 MB/s")
    page.keyboard.press("Escape")
    expect(page.locator(".chart-tip")).to_be_hidden()
    plot.hover()
    expect(page.locator(".chart-tip")).to_contain_text("UTC")
    light = page.evaluate(LINE)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(LINE)
    assert dark != light
    page.wait_for_function(f"({IN_COLOUR})(document.querySelector('rate-chart canvas'), '{dark}') > 100")
    assert axe_violations(page) == []
    assert window.complaints == [], "the policy was kept too"


def test_without_a_script_the_numbers_are_a_link_away_and_a_failure_is_said(moving: Cast, visit: Visitor) -> None:
    plain = visit(moving.alice, java_script_enabled=False).go("/airlines/ACME/tails/VP-AAA/", live=False)
    with plain.expect_download() as download:
        plain.locator("rate-chart").get_by_role("link", name="CSV").click()
    assert download.value.path().read_text("utf-8-sig").startswith("at,received_bps")
    page = visit(moving.alice).context.new_page()
    page.route("**/rate/", lambda route: route.abort())
    page.goto("/airlines/ACME/tails/VP-AAA/")
    page.locator("rate-chart").scroll_into_view_if_needed()
    expect(page.locator(".chart-note")).to_contain_text("The chart could not be loaded.")


def test_a_chart_in_a_renewed_part_is_neither_redrawn_nor_reloaded(moving: Cast, visit: Visitor) -> None:
    window = visit(moving.alice)
    page = window.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/moved/") else None)
    window.go("/")
    drawn(page)
    assert len(asked) == 1
    page.evaluate("""async () => {
        const home = document.querySelector("live-page");
        window.kept = document.querySelector("rate-chart");
        const page = await (await fetch("/")).text();
        home.swap(new DOMParser().parseFromString(page, "text/html"));
    }""")
    assert page.evaluate("document.querySelector('rate-chart') === window.kept")
    drawn(page)
    assert len(asked) == 1
    assert window.complaints == []
