"""The admin in a real browser, as a manager, staff and a superuser: accessible, fits a phone, no complaints."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone
from playwright.sync_api import Page, expect

from campaigns.models import Draft, DraftItem, DraftState
from ifeportal.models import Job
from tests.conftest import Cast
from tests.ifeportal.admin.test_every_model import grow
from tests.ifeportal.admin.test_failures import fail
from tests.ifeportal.admin.test_overview import lock_out
from tests.support.browser_portal import PATIENCE, BrowserSession, PortalProcess, axe_violations
from tests.system.browser.conftest import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.processes]
expect.set_options(timeout=PATIENCE)
WIDE, PHONE = 1440, 390
LONG = "x" * 180


@pytest.fixture
def rows(portal: PortalProcess, cast: Cast) -> Cast:
    """Create a few rows of every model, with long names and errors."""
    grow(cast, range(3))
    for state in DraftState.values:
        Draft.objects.create(airline=cast.acme, name=f"c-{state}", state=state, title=LONG, faults=["No first day."])
    draft = Draft.objects.get(airline=cast.acme, name="c-editing")
    DraftItem.objects.create(draft=draft, name=LONG, size=734_000_000, included=True, error_text="Not hashed.")
    late = timezone.now() - timedelta(hours=1)
    Job.objects.update(due_at=late, failures=2, error=f"status bucket: TIMEOUT: {LONG}", holder=f"worker-{LONG}")
    lock_out("alice")
    fail(timezone.now() - timedelta(days=1), LONG)
    cast.olga.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    return cast


def pages_of(cast: Cast) -> dict[str, list[str]]:
    """Return the pages that each user is checked on; a kind of page once."""
    draft = Draft.objects.get(airline=cast.acme, name="c-ready")
    user = f"/admin/ifeportal/user/{cast.nick.pk}"
    return {
        "mona": ["/admin/", "/admin/campaigns/draft/", "/admin/campaigns/draft/add/"],
        "olga": ["/admin/", "/admin/system/", f"{user}/change/"],
        "ada": [
            *("/admin/", "/admin/ifeportal/job/", "/admin/fleet/usage/", "/admin/campaigns/draftitem/"),
            *(f"{user}/change/", f"{user}/password/", f"{user}/delete/", f"{user}/history/"),
            *("/admin/ifeportal/airline/add/", "/admin/ifeportal/token/?q=nothing", f"{draft_page(draft)}history/"),
        ],
    }


def draft_page(draft: Draft) -> str:
    return f"/admin/campaigns/draft/{draft.pk}/"


def fits(page: Page, width: int) -> None:
    """Check that the page fits this width without overflow."""
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_function("width => document.documentElement.scrollWidth <= width", arg=width)


@pytest.mark.slow("axe checks 17 pages at two widths, and their colours in two themes")
def test_no_page_of_the_admin_has_a_fault_of_accessibility(rows: Cast, visit: Visitor) -> None:
    for name, paths in pages_of(rows).items():
        window: BrowserSession = visit(getattr(rows, name), reduced_motion="reduce", color_scheme="light")
        for path in paths:
            page = window.go(path, live=False)
            fits(page, WIDE)
            assert axe_violations(page) == [], (name, path, WIDE)
            page.emulate_media(color_scheme="dark")
            fits(page, PHONE)
            assert axe_violations(page) == [], (name, path, PHONE)
            page.emulate_media(color_scheme="light")
        assert window.complaints == [], name


@pytest.mark.slow("a browser opens every list of the admin")
def test_no_list_and_no_draft_is_wider_than_the_screen(rows: Cast, visit: Visitor) -> None:
    page = visit(rows.ada).page
    page.goto("/admin/system/")
    paths = page.evaluate("[...document.querySelectorAll('.groups dt a, .tabs a')].map(link => link.pathname)")
    draft = draft_page(Draft.objects.get(airline=rows.acme, name="c-editing"))
    for path in dict.fromkeys([*paths, draft]):
        page.goto(path)
        for width in (WIDE, PHONE):
            fits(page, width)


def test_a_list_is_filtered_and_an_action_run_by_keyboard(rows: Cast, visit: Visitor) -> None:
    page = visit(rows.ada).go("/admin/ifeportal/job/", live=False)
    page.locator("summary", has_text="State").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/job/?state=late")
    page.locator("#action-toggle").focus()
    page.keyboard.press("Space")
    expect(page.locator(".action-counter")).to_contain_text("3 of 3 selected")
    page.select_option("select[name=action]", label="Run now")
    page.get_by_role("button", name="Run").press("Enter")
    expect(page.locator(".notes")).to_contain_text("Made due now: 3.")


def test_the_theme_is_that_of_the_portal(rows: Cast, visit: Visitor) -> None:
    page = visit(rows.mona, color_scheme="light").go("/admin/", live=False)
    switch = page.locator("[data-theme-switch]")
    switch.click()
    switch.click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.get_by_role("link", name="Fleet").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.get_by_role("link", name="Admin", exact=True).click()
    expect(page.get_by_role("heading", name="Campaigns in work")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
