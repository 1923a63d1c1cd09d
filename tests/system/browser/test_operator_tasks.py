"""Operators' tasks in a real browser: filter a table, share its link, download it, acknowledge a problem."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from fleet.choices import Status
from fleet.models import Acknowledgement, Load, Transfer
from ifeportal.access import Role
from ifeportal.exports.jobs import write_exports
from ifeportal.exports.responses import DIRECT_ROWS
from ifeportal.models import AuditEntry, Membership
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


def test_a_large_file_is_prepared_while_its_page_waits_and_then_downloaded(
    fleet: Cast, visit: Visitor, tmp_path: Path
) -> None:
    count, at = DIRECT_ROWS + 1, timezone.now()
    AuditEntry.objects.bulk_create(
        AuditEntry(at=at, who="mona", airline=fleet.acme, action="x", target=f"row {n}", via="page")
        for n in range(count)
    )
    page = visit(fleet.mona).go("/airlines/ACME/audit/?q=row", live=False)
    page.locator("a[href*='export=csv']").first.click()
    page.get_by_role("button", name="Prepare file").click()
    expect(page.locator("#exports")).to_contain_text("queued")
    write_exports()
    link = page.get_by_role("link", name="Download")
    expect(link).to_be_visible()  # the page refreshes its list
    with page.expect_download() as download:
        link.click()
    file = tmp_path / "audit.csv"
    download.value.save_as(file)
    with file.open(newline="") as lines:
        assert len(list(csv.DictReader(lines))) == count


def test_an_airline_of_others_is_not_there(fleet: Cast, visit: Visitor) -> None:
    answer = visit(fleet.bob).page.goto(AIRLINE)
    assert answer is not None
    assert answer.status == 404


def test_an_acknowledged_problem_is_no_longer_open(fleet: Cast, visit: Visitor) -> None:
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
