"""A manager edits a campaign in a browser: the page follows the jobs, whatever order buttons are pressed in."""

from __future__ import annotations

import pytest

from campaigns.models import Draft
from ifeportal.access import Role
from ifeportal.models import Membership
from loader.s3.memory import MemoryBucket
from tests.conftest import Cast
from tests.support import campaign_drafts
from tests.support.browser_portal import axe_violations
from tests.system.browser.conftest import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.processes]


@pytest.mark.slow("a browser follows real jobs")
def test_a_manager_sees_how_far_it_is_without_loading_the_page_again(
    cast: Cast, visit: Visitor, memory_media: MemoryBucket
) -> None:
    Membership.objects.filter(user=cast.alice).update(role=Role.MANAGER)
    for name in ("movie-001", "movie-002"):
        memory_media.put(f"ACME/2026-12/{name}.tgz", name.encode())
    window = visit(cast.alice)
    page = window.go("/admin/campaigns/draft/add/", live=False)
    page.select_option("#id_airline", label="ACME")
    page.fill("#id_name", "2026-12")
    page.click("input[name=_save]")
    page.locator('[data-draft-state="looking"]').wait_for()
    campaign_drafts.run_short_tasks(memory_media)
    page.get_by_label("title of movie-001").fill("The Long Way Up")
    assert axe_violations(page) == []
    page.get_by_role("button", name="Hash").click()
    page.locator('[data-draft-state="hashing"] progress').wait_for()
    campaign_drafts.hash_items(memory_media)
    page.locator('[data-draft-state="ready"]').wait_for()
    page.get_by_role("button", name="Publish").click()
    page.locator('[data-draft-state="publishing"]').wait_for()
    campaign_drafts.run_short_tasks(memory_media)
    page.locator('[data-draft-state="published"]').wait_for()
    assert campaign_drafts.read_manifest(Draft.objects.get(), memory_media).content[0].title == "The Long Way Up"
    assert window.complaints == []
