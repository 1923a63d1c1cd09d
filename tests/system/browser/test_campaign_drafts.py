"""A manager edits a campaign in a browser: the page follows jobs and other people, in whatever order they act."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from campaigns.drafts import requests
from campaigns.models import Draft
from ifeportal.access import Role
from ifeportal.models import Membership
from loader.s3.memory import MemoryBucket
from tests.conftest import Cast
from tests.support import campaign_drafts
from tests.support.browser_portal import axe_violations
from tests.system.browser.conftest import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.processes]


# One test: a second one would find the content types of the first in the cache of the portal's process.
@pytest.mark.slow("a browser follows real jobs")
def test_a_manager_makes_publishes_and_withdraws_a_campaign_without_loading_a_page_again(
    cast: Cast, visit: Visitor, memory_media: MemoryBucket
) -> None:
    Membership.objects.filter(user=cast.alice).update(role=Role.MANAGER)
    for name in ("movie-001", "movie-002"):
        memory_media.put(f"ACME/2026-12/{name}.tgz", name.encode())
    window = visit(cast.alice)
    page = window.go("/admin/campaigns/draft/", live=False)
    page.get_by_role("link", name="New campaign").click()
    page.select_option("#id_airline", label="ACME")
    page.fill("#id_name", "2026-12")
    page.get_by_text("ACME/2026-12/").wait_for()
    page.get_by_role("button", name="Save and scan the bucket").click()
    page.locator('[data-draft-state="looking"]').wait_for()
    campaign_drafts.run_operations(memory_media)
    page.get_by_label("title of movie-001").fill("The Long Way Up")
    assert axe_violations(page) == []
    page.get_by_role("button", name="Calculate hashes").click()
    page.locator('[data-draft-state="hashing"] progress').wait_for()
    campaign_drafts.run_operations(memory_media)
    page.locator('[data-draft-state="ready"]').wait_for()
    page.get_by_role("button", name="Review and publish").click()
    assert axe_violations(page) == []
    page.get_by_role("button", name="Publish version 1").click()
    page.locator('[data-draft-state="publishing"]').wait_for()
    campaign_drafts.run_operations(memory_media)
    page.locator('[data-draft-state="published"]').wait_for()
    assert campaign_drafts.read_manifest(Draft.objects.get(), memory_media).content[0].title == "The Long Way Up"
    edit_beside_another_person(page)
    page.locator("summary", has_text="More actions").click()
    page.get_by_role("button", name="Withdraw").click()
    page.get_by_role("button", name="Withdraw the campaign").click()
    page.locator('[data-draft-state="withdrawing"]').wait_for()
    campaign_drafts.run_operations(memory_media)
    page.locator('[data-draft-state="withdrawn"]').wait_for()
    assert window.complaints == []


def edit_beside_another_person(page: Page) -> None:
    """Both edit the title: the page shows their change, keeps unsaved values, and asks before it overwrites."""
    change_title("Theirs")
    page.locator('#id_title[value="Theirs"]').wait_for()
    page.fill("#id_title", "Mine")
    change_title("Theirs again")
    page.get_by_text("Your changes are not saved yet.").wait_for()
    assert page.input_value("#id_title") == "Mine"
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("Save again to replace it with your value.").first.wait_for()
    assert axe_violations(page) == []
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("heading", name="Mine").wait_for()
    assert Draft.objects.get().title == "Mine"


def change_title(title: str) -> None:
    Draft.objects.update(title=title)
    requests.revalidate(Draft.objects.get(), edited=True)
