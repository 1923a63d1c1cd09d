"""Operators' tasks in a real browser: filter a table, share its link, download it, acknowledge a problem."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from playwright.sync_api import expect

from fleet.choices import Status
from fleet.models import Acknowledgement, Load, Transfer
from ifeportal.access import Role
from ifeportal.models import Membership
from tests.conftest import Cast
from tests.support.browser_portal import PATIENCE
from tests.support.page_rows import create_campaign, create_load, create_tail
from tests.system.browser.conftest import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.processes]
expect.set_options(timeout=PATIENCE)
AIRLINE = "/airlines/ACME/"


@pytest.fixture
def fleet(portal: object, cast: Cast) -> Cast:
    """Create three loading tails of ACME, and two with a failed item."""
    campaign = create_campaign(cast.acme)
    for name in ("VP-AAA", "VP-BBB", "VP-CCC"):
        create_load(create_tail(cast.acme, name), campaign, "loading")
    for name in ("VP-XXX", "VP-YYY"):
        failed = create_load(create_tail(cast.acme, name), campaign, "failed")
        Transfer.objects.filter(load=failed, status=Status.FAILED).update(error="=cmd()", error_code="")
        Load.objects.filter(pk=failed.pk).update(error="=cmd()", error_code="")
    return cast


def test_a_table_is_narrowed_and_ordered_its_link_shows_the_same_and_its_file_too(
    fleet: Cast, visit: Visitor, tmp_path: Path
) -> None:
    page = visit(fleet.alice).go(AIRLINE)
    page.locator(".chip", has_text="failed").click()
    expect(page.locator("tbody[data-tail]")).to_have_count(2)
    head = page.locator("table.tails th.c-name").first
    for order in ("ascending", "descending"):
        head.get_by_role("link").click()
        expect(head).to_have_attribute("aria-sort", order)
    expect(page.locator("tbody[data-tail] .c-name a")).to_have_text(["VP-YYY", "VP-XXX"])
    again = visit(fleet.alice).go(page.url.removeprefix(page.evaluate("location.origin")))
    expect(again.locator("tbody[data-tail] .c-name a")).to_have_text(["VP-YYY", "VP-XXX"])
    with page.expect_download() as download:
        page.locator("a[href*='export=csv'][href*='table=tails']").first.click()
    file = tmp_path / "tails.csv"
    download.value.save_as(file)
    with file.open(newline="", encoding="utf-8-sig") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["tail"] for row in rows] == ["VP-YYY", "VP-XXX"]
    assert not any(value.startswith("=") for row in rows for value in row.values())


def test_an_airline_of_others_is_not_there(fleet: Cast, visit: Visitor) -> None:
    answer = visit(fleet.bob).page.goto(AIRLINE)
    assert answer is not None
    assert answer.status == 404


def test_one_sees_to_what_is_wrong_and_it_waits_for_nobody_any_more(fleet: Cast, visit: Visitor) -> None:
    Membership.objects.filter(user=fleet.alice).update(role=Role.OPERATOR)
    window = visit(fleet.alice)
    page = window.go("/attention/")
    cause = page.locator(".cause")
    expect(cause).to_have_count(1)
    expect(cause.get_by_role("heading")).to_contain_text("fails on 2 tails")
    cause.locator("summary", has_text="Acknowledge").click()
    cause.get_by_label("What is being done about it?").fill("The line station was told.")
    cause.get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_role("heading", name="Nothing needs attention")).to_be_visible()
    assert Acknowledgement.objects.count() == 2
    assert window.complaints == []
