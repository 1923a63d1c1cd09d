"""Every page in a real browser: complete without JavaScript, accessible, fits a phone, no console errors."""

from __future__ import annotations

import re

import pytest
from django.conf import global_settings
from django.test import override_settings
from playwright.sync_api import Page, expect

from campaigns.models import Campaign, ManifestState
from fleet.models import Anomaly, Tail, Transfer
from ifeportal.exports.models import Export, ExportState
from tests.conftest import PASSWORD, Cast
from tests.support.browser_portal import PATIENCE, PortalProcess, axe_violations
from tests.support.page_rows import create_campaign, create_fleet, create_load, create_tail, now
from tests.system.browser.conftest import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.processes]
expect.set_options(timeout=PATIENCE)

PAGES = (
    "/",
    "/airlines/ACME/",
    "/airlines/ACME/tails/VP-AAA/",
    "/airlines/ACME/campaigns/2026-12/",
    "/attention/",
    "/activity/",
)
# Pages without live updates.
QUIET_PAGES = (
    "/?wall=1",
    "/airlines/ACME/campaigns/2026-12/?at=2026-12-01T12:00Z",
    "/airlines/ACME/settings/",
    "/audit/",
    "/account/",
    "/account/tokens/",
    "/account/sessions/",
    "/exports/",
)
DOORS = ("/login/", "/login/forgotten/")


@pytest.fixture
def fleet(portal: PortalProcess, cast: Cast) -> Cast:
    """Create ACME with a dozen tails in every state, and every anomaly of tails, items and manifests."""
    campaign = create_fleet(cast.acme, 11, items=12)
    Campaign.objects.create(
        airline=cast.acme,
        name="x" * 120,
        manifest_state=ManifestState.REFUSED,
        manifest_problem="content[0].name: missing.",
    )
    for state in (ExportState.READY, ExportState.FAILED):  # an unfinished one would keep its page busy
        Export.objects.create(
            user=cast.ada, path="/", name=f"{'x' * 90}.csv", state=state, finished_at=now(), error="No."
        )
    tail = create_tail(cast.acme, "VP-" + "W" * 60)
    create_load(tail, campaign, "failed")
    first = Tail.objects.get(name="VP-AAA")
    Transfer.objects.filter(load__tail=first, content="movie-001").update(
        restarted=True, unreadable=True, oversized=True, bytes_reported=10**12, error="e" * 300, error_past=True
    )
    Anomaly.objects.create(
        airline=cast.acme,
        bucket="status",
        key="ACME/" + "k" * 200,
        key_hash="1",
        problem="BAD_NAME",
        first_seen=now(),
        last_seen=now(),
    )
    return cast


def fits(page: Page, width: int) -> None:
    """Check that the page fits this width without overflow."""
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_function("width => document.documentElement.scrollWidth <= width", arg=width)


@pytest.mark.slow("axe checks 17 pages at two widths in two themes")
def test_no_page_has_a_fault_of_accessibility_or_complains_in_the_console(fleet: Cast, visit: Visitor) -> None:
    """All rules on desktop and phone; dark mode changes only colours."""
    window, stranger = visit(fleet.ada, reduced_motion="reduce"), visit(None, reduced_motion="reduce")
    for visitor, paths, live in ((window, PAGES, True), (window, QUIET_PAGES, False), (stranger, DOORS, False)):
        for path in paths:
            page = visitor.go(path, live=live)
            for width in (1440, 390):
                fits(page, width)
                assert axe_violations(page) == [], (path, width)
            page.emulate_media(color_scheme="dark")
            assert axe_violations(page, ["color-contrast"]) == [], path
            page.emulate_media(color_scheme="light")
    assert window.complaints + stranger.complaints == []


def test_no_page_is_wider_than_the_screen(fleet: Cast, visit: Visitor) -> None:
    window = visit(fleet.olga)
    for path in PAGES:
        page = window.go(path)
        for width in (1440, 1100, 768, 360, 320):
            fits(page, width)


def test_every_page_is_whole_without_javascript(fleet: Cast, visit: Visitor) -> None:
    window = visit(fleet.alice, java_script_enabled=False)
    page = window.go("/", live=False)
    assert page.locator(".card svg.states rect[data-state=complete]").first.get_attribute("width")
    page.locator(".card").get_by_role("link", name="ACME", exact=True).click()
    page.get_by_role("link", name="failed").first.click()
    expect(page).to_have_url(re.compile("state=failed"))
    page.get_by_role("searchbox").fill("VP-AAD")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("tbody[data-tail]")).to_have_count(1)
    page.get_by_role("columnheader", name="Tail").get_by_role("link").click()
    expect(page).to_have_url(re.compile("sort=tail"))
    assert {"q=VP-AAD", "sort=tail", "state=failed"} <= set(page.url.split("?")[1].split("&"))
    page.get_by_role("link", name="VP-AAD").click()
    expect(page.locator("main")).to_contain_text("HASH_MISMATCH")
    page.get_by_role("link", name="This campaign on all tails").click()
    expect(page.locator(".matrix .cell")).to_have_count(12 * 12)
    assert not page.locator("[data-theme-switch]").is_visible()


def test_one_signs_in_and_out_by_keyboard_alone(fleet: Cast, visit: Visitor) -> None:
    with override_settings(PASSWORD_HASHERS=global_settings.PASSWORD_HASHERS):  # not the tests' fast hasher
        fleet.alice.set_password(PASSWORD)
        fleet.alice.save()
    window = visit(None)
    page = window.go("/airlines/ACME/", live=False)
    page.keyboard.type("alice")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="ACME").wait_for()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()  # the browser follows a fragment after the key press was answered
    page.locator("details.menu summary", has_text="account menu").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Sign out").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Sign in").wait_for()


def test_the_theme_is_switched_and_remembered(fleet: Cast, visit: Visitor) -> None:
    window = visit(fleet.alice, color_scheme="light")
    page = window.go("/")

    def ground() -> str:
        return str(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))

    light, switch = ground(), page.locator("[data-theme-switch]")
    switch.click()
    assert ground() == light
    switch.click()
    dark = ground()
    assert dark != light
    page.reload()
    assert ground() == dark
    assert page.locator("html").get_attribute("data-theme") == "dark"
    switch.click()
    assert ground() == light


def test_hostile_text_stays_text(fleet: Cast, visit: Visitor) -> None:
    Transfer.objects.filter(load__tail__name="VP-AAA", status="loading").update(
        error="<img src=x onerror=\"document.title='owned'\">"
    )
    window = visit(fleet.alice)
    page = window.go("/airlines/ACME/tails/VP-AAA/")
    assert "onerror" in page.locator(".moving").inner_text()
    assert page.title() != "owned"
    assert window.complaints == []


def test_a_campaign_without_any_load_shows_its_empty_state(fleet: Cast, visit: Visitor) -> None:
    create_campaign(fleet.acme, "2027-01")
    page = visit(fleet.alice).go("/airlines/ACME/campaigns/2027-01/")
    assert page.get_by_role("heading", name="Not started on any tail").is_visible()
