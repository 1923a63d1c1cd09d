"""Live pages in a real browser, updated through the database by another process: this one."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import transaction
from playwright.sync_api import Page, expect

from campaigns.models import Campaign, ManifestState
from fleet.choices import Status
from fleet.models import Load, Tail, Transfer
from fleet.serialization import (
    serialize_airline,
    serialize_campaign,
    serialize_load,
    serialize_tail,
    serialize_transfer,
)
from fleet.stats import rollup
from ifeportal.live.feed import FeedChange, publish
from ifeportal.models import Airline
from tests.conftest import Cast
from tests.support.browser_portal import PATIENCE, PortalProcess
from tests.support.counted_totals import recount_all
from tests.support.page_rows import create_campaign, create_load, create_tail, mark_polled, now
from tests.support.portal_system import wait_until
from tests.system.browser.conftest import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.processes]
expect.set_options(timeout=PATIENCE)

# Polling could miss a state that lasts for a second.
NOTE_MARKS = """element => new MutationObserver(() => { window.marked ||= element.hasAttribute("data-changed"); })
    .observe(element, { attributeFilter: ["data-changed"] })"""
AIRLINE, TAIL = "/airlines/ACME/", "/airlines/ACME/tails/VP-ABC/"


@pytest.fixture
def load(portal: PortalProcess, cast: Cast) -> Load:
    """Create a load of four items on VP-ABC: two complete, two loading."""
    mark_polled(cast.acme)
    return create_load(
        create_tail(cast.acme, "VP-ABC", timedelta(minutes=5)), create_campaign(cast.acme, items=4), "loading"
    )


def tell(*rows: Load | Transfer | Tail | Campaign | Airline) -> None:
    """Publish the current rows, as the poller does."""
    recount_all()
    with transaction.atomic():
        publish([_published(row) for row in rows])


def _published(row: Load | Transfer | Tail | Campaign | Airline) -> FeedChange:
    if isinstance(row, Transfer):
        found = Transfer.objects.select_related("load__tail__airline", "load__campaign").get(pk=row.pk)
        tail, campaign = found.load.tail, found.load.campaign
        return FeedChange("transfer", row.pk, tail.airline_id, tail.name, campaign.name, serialize_transfer(found))
    if isinstance(row, Load):
        load = Load.objects.select_related("tail__airline", "campaign").get(pk=row.pk)
        return FeedChange(
            "load", row.pk, load.tail.airline_id, load.tail.name, load.campaign.name, serialize_load(load)
        )
    if isinstance(row, Tail):
        state = serialize_tail(rollup.tails(Tail.objects.filter(pk=row.pk)).get())
        return FeedChange("tail", row.pk, row.airline_id, tail=row.name, state=state)
    if isinstance(row, Campaign):
        state = serialize_campaign(rollup.campaigns(Campaign.objects.filter(pk=row.pk)).get())
        return FeedChange("campaign", row.pk, row.airline_id, campaign=row.name, state=state)
    return FeedChange(
        "airline", row.pk, row.pk, state=serialize_airline(rollup.airlines(Airline.objects.filter(pk=row.pk)).get())
    )


def advance(load: Load, done: int, **fields: object) -> None:
    Load.objects.filter(pk=load.pk).update(bytes_done=done, as_of=now(), **fields)


def never_reloads(page: Page) -> None:
    """Set a mark on the window that a reload would remove."""
    page.evaluate("window.neverReloaded = true")


def test_a_figure_changes_without_a_reload(cast: Cast, load: Load, visit: Visitor) -> None:
    window = visit(cast.alice)
    page = window.go(AIRLINE)
    never_reloads(page)
    row = page.locator("tbody[data-tail=VP-ABC]")
    assert load.bytes_total
    advance(load, load.bytes_total * 77 // 100 + 1, rate_bps=12_000_000)
    Tail.objects.filter(pk=load.tail_id).update(heard_at=now())
    tell(load, load.tail, cast.acme)
    expect(row.locator("[data-as=percent]")).to_have_text("77%")
    expect(row.locator("svg.parts .done")).to_have_attribute("width", "50%")
    expect(row.locator("svg.parts .flight")).to_have_attribute("width", "27%")
    expect(row).to_contain_text("12.0 MB/s")
    expect(row.locator(".c-heard time")).to_have_text(re.compile("now|[0-9]+ s ago"))
    expect(page.locator(".headline .big")).to_have_text("77%")
    assert page.evaluate("window.neverReloaded")
    assert window.complaints == []


def test_what_changed_is_marked_for_a_second(cast: Cast, load: Load, visit: Visitor) -> None:
    page = visit(cast.alice).go(AIRLINE)
    percent = page.locator("tbody[data-tail=VP-ABC] [data-as=percent]")
    percent.evaluate(NOTE_MARKS)
    advance(load, 1)
    tell(load)
    wait_until(lambda: page.evaluate("window.marked"))
    expect(percent).not_to_have_attribute("data-changed", re.compile("."))


def test_an_error_appears_as_text_and_brings_its_advice(cast: Cast, load: Load, visit: Visitor) -> None:
    page = visit(cast.alice).go(AIRLINE)
    never_reloads(page)
    row = page.locator("tbody[data-tail=VP-ABC]")
    hostile = "<img src=x onerror=\"document.title='owned'\">"
    Load.objects.filter(pk=load.pk).update(
        status=Status.FAILED,
        error=hostile,
        error_code="NO_SPACE",
        error_content="movie-003",
        items_failed=1,
        rate_bps=None,
    )
    tell(load, cast.acme)
    expect(row.locator(".fault .text")).to_have_text(hostile)
    expect(row.locator("[data-as=state]")).to_have_attribute("data-state", "failed")
    expect(row).to_contain_text("What to do: Free space")
    expect(page.locator(".chip", has_text="failed")).to_contain_text("1")
    assert page.title() != "owned"
    assert page.evaluate("window.neverReloaded")


def test_a_new_tail_appears_by_itself(cast: Cast, load: Load, visit: Visitor) -> None:
    page = visit(cast.alice).go(AIRLINE)
    never_reloads(page)
    page.get_by_role("searchbox").fill("half a wo")
    tail = create_tail(cast.acme, "VP-NEW")
    tell(create_load(tail, load.campaign, "loading"), tail)
    expect(page.locator("tbody[data-tail=VP-NEW]")).to_be_visible()
    expect(page.get_by_role("searchbox")).to_have_value("half a wo")
    assert page.evaluate("window.neverReloaded")


def test_rows_stay_where_they_are_when_the_page_is_fetched_anew(cast: Cast, load: Load, visit: Visitor) -> None:
    """Sorted by state, the failing row would move to the top; it stays until the user sorts again."""
    second = create_load(create_tail(cast.acme, "VP-XYZ"), load.campaign, "loading")
    page = visit(cast.alice).go(AIRLINE)
    Load.objects.filter(pk=second.pk).update(status=Status.FAILED, error_code="NO_SPACE")
    tell(second)
    expect(page.locator("tbody[data-tail=VP-XYZ]")).to_contain_text("What to do")
    assert page.locator("tbody[data-tail]").first.get_attribute("data-tail") == "VP-ABC"
    page.reload()
    assert page.locator("tbody[data-tail]").first.get_attribute("data-tail") == "VP-XYZ"


def test_an_item_that_begins_to_move_joins_what_loads_now(cast: Cast, load: Load, visit: Visitor) -> None:
    page = visit(cast.alice).go(TAIL)
    expect(page.locator(".moving tbody")).to_have_count(2)
    third = load.transfers.get(content="movie-002")
    Transfer.objects.filter(pk=third.pk).update(status=Status.LOADING, bytes_done=5, restarted=True, finished_at=None)
    tell(third)
    expect(page.locator(".moving tbody")).to_have_count(3)
    expect(page.locator(f'.items tbody[data-key="transfer:{third.pk}"]')).to_contain_text("restarted")


def test_the_table_of_tails_by_items_follows(cast: Cast, load: Load, visit: Visitor) -> None:
    page = visit(cast.alice).go("/airlines/ACME/campaigns/2026-12/?table")
    third = load.transfers.get(content="movie-003")
    cell = page.locator(f'.cell[data-key="transfer:{third.pk}"]')
    expect(cell).to_have_attribute("data-state", "loading")
    Transfer.objects.filter(pk=third.pk).update(status=Status.COMPLETE, bytes_done=third.bytes_total)
    tell(third)
    expect(cell).to_have_attribute("title", "VP-ABC · movie-003: complete 100%")
    expect(cell).to_have_text("complete")


def test_counts_follow_items_that_the_page_does_not_show(cast: Cast, load: Load, visit: Visitor) -> None:
    third = load.transfers.get(content="movie-003")
    Transfer.objects.filter(pk=third.pk).update(status=Status.PENDING, bytes_done=0, rate_bps=None)
    page = visit(cast.alice).go(f"{TAIL}?q=movie-001")
    complete = page.get_by_label("Items by state").get_by_role("link", name="complete")
    expect(complete).to_have_text(re.compile("2"))
    Transfer.objects.filter(pk=third.pk).update(status=Status.COMPLETE, bytes_done=third.bytes_total)
    Load.objects.filter(pk=load.pk).update(items_done=3)
    tell(third, load)
    expect(complete).to_have_text(re.compile("3"))


def test_the_counts_of_an_item_follow_the_items_of_the_campaign(cast: Cast, load: Load, visit: Visitor) -> None:
    page = visit(cast.alice).go("/airlines/ACME/campaigns/2026-12/")
    held = page.locator(".item-counts tbody tr", has_text="movie-003").locator(".tally")
    expect(held).to_have_text("0 of 1")
    third = load.transfers.get(content="movie-003")
    Transfer.objects.filter(pk=third.pk).update(status=Status.COMPLETE, bytes_done=third.bytes_total)
    Load.objects.filter(pk=load.pk).update(items_done=3)
    tell(third, load, load.campaign)
    expect(held).to_have_text("1 of 1")


def test_another_error_brings_its_own_advice(cast: Cast, load: Load, visit: Visitor) -> None:
    failed = {"status": Status.FAILED, "error_content": "movie-003", "items_failed": 1, "rate_bps": None}
    Load.objects.filter(pk=load.pk).update(error_code="TIMEOUT", error="no answer", **failed)
    page = visit(cast.alice).go(AIRLINE)
    row = page.locator("tbody[data-tail=VP-ABC]")
    expect(row).to_contain_text("check the link")
    Load.objects.filter(pk=load.pk).update(error_code="NO_SPACE", error="disk full")
    tell(load)
    expect(row).to_contain_text("What to do: Free space")


def test_a_campaign_without_a_tail_appears_by_itself(cast: Cast, load: Load, visit: Visitor) -> None:
    page = visit(cast.alice).go(AIRLINE)
    tell(create_campaign(cast.acme, "2027-01"))
    expect(page.locator(".campaigns").get_by_role("link", name="2027-01")).to_be_visible()


def test_a_manifest_that_is_refused_says_so_on_open_pages(cast: Cast, load: Load, visit: Visitor) -> None:
    airline, campaign = visit(cast.alice).go(AIRLINE), visit(cast.alice).go("/airlines/ACME/campaigns/2026-12/")
    Campaign.objects.filter(pk=load.campaign_id).update(
        manifest_state=ManifestState.REFUSED, manifest_problem="content: is missing"
    )
    tell(load.campaign)
    expect(campaign.locator(".note.bad")).to_contain_text("content: is missing")
    expect(airline.locator(".campaigns")).to_contain_text("manifest refused")


def test_a_new_version_shows_its_number(cast: Cast, load: Load, visit: Visitor) -> None:
    page = visit(cast.alice).go("/airlines/ACME/campaigns/2026-12/")
    Campaign.objects.filter(pk=load.campaign_id).update(version=4)
    tell(load.campaign)
    expect(page.locator(".facts")).to_contain_text("version 4")


def test_the_first_airline_appears_on_an_empty_fleet_page(portal: PortalProcess, cast: Cast, visit: Visitor) -> None:
    Airline.objects.all().delete()
    page = visit(cast.olga).go("/")
    expect(page.get_by_role("heading", name="No airlines yet")).to_be_visible()
    tell(Airline.objects.create(name="NEW AIR"))
    expect(page.get_by_role("link", name="NEW AIR")).to_be_visible()


def test_ages_grow_without_a_reload(cast: Cast, load: Load, visit: Visitor) -> None:
    Tail.objects.filter(pk=load.tail_id).update(heard_at=now())
    page = visit(cast.alice).go(AIRLINE)
    heard = page.locator("tbody[data-tail=VP-ABC] .c-heard time")
    before = heard.inner_text()
    expect(heard).not_to_have_text(before)


def test_the_page_says_that_it_lost_the_server_and_catches_up_when_it_is_back(
    cast: Cast, load: Load, portal: PortalProcess, visit: Visitor
) -> None:
    page = visit(cast.alice).go(AIRLINE)
    never_reloads(page)
    status = page.locator("[data-live-status]")
    portal.stop()
    expect(status).to_have_text(re.compile(r"Reconnecting… Last update \d\d:\d\d:\d\d UTC"))
    advance(load, 0)
    tell(load)
    portal.start()
    expect(status).to_have_text("Live")
    expect(page.locator("tbody[data-tail=VP-ABC] [data-as=percent]")).to_have_text("0%")
    assert page.evaluate("window.neverReloaded")


def test_who_is_signed_out_elsewhere_is_led_to_the_login_page(
    cast: Cast, load: Load, portal: PortalProcess, visit: Visitor
) -> None:
    window = visit(cast.alice)
    page = window.go(AIRLINE)
    window.context.clear_cookies()
    page.evaluate("document.querySelector('live-page').socket.socket.close()")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_the_browser_writes_figures_as_the_server_does(cast: Cast, portal: PortalProcess, visit: Visitor) -> None:
    cases = json.loads(Path(__file__).parents[2].joinpath("support/figures.json").read_text())
    page = visit(cast.alice).go("/")
    wrong = page.evaluate(
        """async (cases) => {
            const { FORMATS, age, until } = await import("/static/js/format.js");
            const wrong = [];
            for (const [how, table] of Object.entries(cases)) for (const [value, text] of table) {
                const then = value === null ? null : 1e12;
                const span = { age, until }[how];
                const said = span ? span(then, 1e12 + value * 1000) : FORMATS[how](value);
                if (said !== text) wrong.push([how, value, text, said]);
            }
            return wrong;
        }""",
        cases,
    )
    assert wrong == []


def test_the_browser_draws_bars_as_the_server_does(cast: Cast, portal: PortalProcess, visit: Visitor) -> None:
    cases = json.loads(Path(__file__).parents[2].joinpath("support/bars.json").read_text())
    page = visit(cast.alice).go("/")
    wrong = page.evaluate(
        """async (cases) => {
            const { band, free, parts, segments } = await import("/static/js/format.js");
            const says = { band: (given) => band(...given), free, segments,
                parts: ([percent, items_done, items_failed, items_total]) =>
                    parts({ percent, items_done, items_failed, items_total }) };
            const wrong = [];
            for (const [how, table] of Object.entries(cases)) for (const [given, expected] of table) {
                const said = JSON.stringify(says[how](given));
                if (said !== JSON.stringify(expected)) wrong.push([how, given, said]);
            }
            return wrong;
        }""",
        cases,
    )
    assert wrong == []


def test_what_turns_is_told_in_a_corner_and_in_the_title_and_put_away(cast: Cast, load: Load, visit: Visitor) -> None:
    page = visit(cast.alice).go(AIRLINE)
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => window.away ?? false })")
    toasts = page.locator(".toast")
    page.evaluate("window.away = true")
    Load.objects.filter(pk=load.pk).update(status=Status.FAILED, error_code="NO_SPACE<b>", rate_bps=None)
    tell(load)
    expect(toasts).to_have_text(re.compile("VP-ABC · 2026-12 failed: NO_SPACE<b>"))
    expect(toasts.get_by_role("link")).to_have_attribute("href", f"{TAIL}?campaign=2026-12")
    expect(page).to_have_title(re.compile(r"^\(1\) ACME"))
    page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    expect(page).to_have_title(re.compile("^ACME"))
    toasts.get_by_role("button", name="Dismiss").click()
    expect(toasts).to_have_count(0)
    page.locator("summary", has_text="account menu").click()
    page.get_by_role("button", name="Notifications").click()
    expect(page.get_by_role("button", name="Notifications")).to_have_text("Notifications: off")


def test_many_that_turn_at_once_are_told_together(cast: Cast, load: Load, visit: Visitor) -> None:
    others = [create_load(create_tail(cast.acme, f"VP-{number}"), load.campaign, "loading") for number in range(5)]
    page = visit(cast.alice).go(AIRLINE)
    for other in others:
        Load.objects.filter(pk=other.pk).update(status=Status.COMPLETE, bytes_done=other.bytes_total)
    tell(*others)
    expect(page.locator(".toast")).to_have_text(re.compile("5 loads complete"))


def test_a_wall_shows_one_screen_after_the_other_until_it_is_held(cast: Cast, load: Load, visit: Visitor) -> None:
    for number in range(30):
        create_tail(cast.acme, f"VP-{number:02}")
    window = visit(cast.alice, viewport={"width": 1280, "height": 720})
    window.page.clock.install()
    page = window.go(f"{AIRLINE}?wall=1&sort=tail")
    place = page.locator(".wall-place")
    expect(place).to_have_text(re.compile(r"^1.\d+ of 31$"))
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
    first = page.locator("tbody[data-tail]:visible").first
    expect(first).to_have_attribute("data-tail", "VP-00")
    page.clock.run_for(13_000)
    expect(first).not_to_have_attribute("data-tail", "VP-00")
    page.keyboard.press("Space")
    expect(place).to_contain_text("paused")


def test_rows_of_a_topic_the_script_does_not_know_are_kept_true(cast: Cast, load: Load, visit: Visitor) -> None:
    page = visit(cast.alice).go(TAIL)
    page.evaluate(
        """() => {
            const page = document.querySelector("live-page");
            page.insertAdjacentHTML("beforeend", `<p data-key="gate:5"><b data-field="code" data-as="text">A1</b></p>`);
            page.index();
            page.receive({ rev: 1, changes: [{ topic: "gate", object: 5, op: "put", state: { code: "B2" } }] });
        }"""
    )
    expect(page.locator("[data-key='gate:5'] b")).to_have_text("B2")
    with page.expect_request(lambda request: request.url.endswith(TAIL), timeout=PATIENCE):
        page.evaluate(
            """() => {
                const page = document.querySelector("live-page");
                page.joins.set("gate:open", undefined);
                page.receive({ rev: 1, changes: [{ topic: "gate", object: 6, op: "put", state: { status: "open" } }] });
            }"""
        )
