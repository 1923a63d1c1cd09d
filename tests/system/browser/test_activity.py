"""The activity page in a real browser: live rows, cancel and retry in place, notifications, accessibility."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, expect

from ifeportal.models import User
from ifeportal.operations.models import Operation
from tests.conftest import Cast
from tests.support.browser_portal import PATIENCE, BrowserSession, axe_violations
from tests.support.operation_rows import MEBIBYTE, chores, create_operation, tell
from tests.support.operations import do_all
from tests.support.web_server import WebServer
from tests.system.browser.conftest import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.processes]
expect.set_options(timeout=PATIENCE)
PAGE = "/activity/"


@pytest.fixture(scope="module")
def server(django_db_setup: None, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    application = "tests.support.operations_app:application"
    with chores(), WebServer(tmp_path_factory.mktemp("portal"), application=application) as server:
        yield server


@pytest.fixture
def visit(browser: Browser, server: WebServer, transactional_db: None) -> Iterator[Visitor]:
    visits: list[BrowserSession] = []

    def begin(user: User | None, **options: object) -> BrowserSession:
        visits.append(BrowserSession(browser, server, user, **options))
        return visits[-1]

    yield begin
    for one in visits:
        one.context.close()


def test_a_row_moves_and_a_new_one_appears_without_a_reload(cast: Cast, visit: Visitor) -> None:
    row = create_operation(cast.acme, cast.mona)
    window = visit(cast.alice)
    page = window.go(PAGE)
    page.evaluate("window.neverReloaded = true")
    shown = page.locator(f"[data-key='operation:{row.pk}']")
    tell(row, bytes_done=77 * MEBIBYTE, rate_bps=8 * MEBIBYTE, stage="checking", waiting_for="Waits for the store.")
    expect(shown.locator("[data-as=percent]")).to_have_text("77%")
    expect(shown.locator("progress")).to_have_attribute("value", "77")
    expect(shown).to_contain_text("8.38 MB/s")
    expect(shown).to_contain_text("checking")
    expect(shown.get_by_text("Waits for the store.")).to_be_visible()
    hostile = "<img src=x onerror=\"document.title='owned'\">"
    tell(row, state="failed", error_code="NETWORK", error=hostile, advice="Try again.", finished_at=timezone.now())
    expect(shown.locator(".fault .text")).to_have_text(hostile)
    expect(shown.locator(".state")).to_have_attribute("data-state", "failed")
    tell(create_operation(cast.acme, title="Another film"))
    expect(page.get_by_role("rowheader", name="Another film")).to_be_visible()
    assert page.title() != "owned"
    assert page.evaluate("window.neverReloaded")
    assert window.complaints == []


def test_an_operation_is_cancelled_and_retried_in_place(cast: Cast, visit: Visitor) -> None:
    row = create_operation(cast.acme, title="Film")
    page = visit(cast.otto).go(PAGE)
    page.evaluate("window.neverReloaded = true")
    page.get_by_text("Cancel Film").click()
    page.get_by_role("button", name="Cancel the operation").click()
    expect(page.locator(".notes")).to_contain_text("Cancelling “Film”")
    do_all()
    expect(page.locator(f"[data-key='operation:{row.pk}'] .state")).to_have_text("cancelled")
    page.get_by_role("button", name="Retry Film").click()
    expect(page.locator(".notes")).to_contain_text("“Film” is queued again.")
    expect(page.get_by_text("Position in the queue: 1")).to_be_visible()
    assert page.evaluate("window.neverReloaded")


def test_the_forms_work_without_javascript(cast: Cast, visit: Visitor) -> None:
    create_operation(cast.acme, title="Film")
    page = visit(cast.otto, java_script_enabled=False).go(f"{PAGE}?status=open", live=False)
    page.get_by_text("Cancel Film").click()
    page.get_by_role("button", name="Cancel the operation").click()
    expect(page.locator(".notes")).to_contain_text("Cancelling “Film”")
    expect(page).to_have_url(re.compile(r"/activity/\?status=open$"))
    assert Operation.objects.get().cancel_requested_at is not None


@pytest.mark.parametrize("path", ["/", "/account/"])
def test_only_the_user_who_asked_is_told_of_the_end_on_every_page(cast: Cast, visit: Visitor, path: str) -> None:
    mine, theirs = create_operation(cast.beta, cast.bruno), create_operation(cast.beta, cast.bob, title="Another film")
    page = visit(cast.bruno).go(path, live=path == "/")
    if path != "/":
        page.locator("[data-toasts][data-following]").wait_for(state="attached")
    for row in (theirs, mine):
        tell(row, state="succeeded", finished_at=timezone.now())
    expect(page.locator(".toast")).to_have_text(re.compile("Film of the month succeeded"))


def test_rows_in_every_state_are_accessible_and_fit_a_phone(cast: Cast, visit: Visitor) -> None:
    create_rows(cast, 14)
    page = visit(cast.olga, reduced_motion="reduce").go(PAGE)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        for width in (1440, 390):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_function("width => document.documentElement.scrollWidth <= width", arg=width)
            assert axe_violations(page) == [], (theme, width)


def create_rows(cast: Cast, number: int) -> None:
    """Create operations in every state, with long names and errors."""
    states = ("running", "queued", "failed", "waiting", "succeeded", "cancelled", "expired")
    for place in range(number):
        state = states[place % len(states)]
        failed = {"error_code": "NO_SPACE", "error": "The store is full. " * 4, "can_retry": True}
        create_operation(
            (cast.acme, cast.beta)[place % 2],
            (cast.mona, cast.bruno, None)[place % 3],
            state=state,
            title=f"Safety video {place}" + " of the winter season" * (place % 4) + "x" * 90 * (place == 2),
            waiting_for="Waits for 3.2 GB of space in the object store." if state in ("queued", "waiting") else "",
            bytes_total=None if place == 3 else 100 * MEBIBYTE,
            advice="Free space." if state == "failed" else "",
            **(failed if state == "failed" else {}),
        )
