"""The page of a draft: one next step, honest progress, problems with links, changes, history."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from campaigns.drafts import requests
from campaigns.drafts.page import changes, texts
from campaigns.drafts.page.problems import general_problems
from campaigns.drafts.page.steps import DraftFacts, next_step, other_actions, workflow
from campaigns.drafts.totals import DraftTotals
from campaigns.models import BUSY_STATES, Campaign, ContentItem, Draft, DraftItem, DraftState
from ifeportal.models import Airline, User
from ifeportal.operations.models import Operation
from loader.s3.memory import MemoryBucket
from tests.campaigns.drafts.test_admin import CHANGE, ITEMS, LIST, PROGRESS, PUBLISH, form_of, primary_buttons
from tests.conftest import Cast
from tests.support import campaign_drafts
from tests.support.campaign_drafts import (
    ANYONE,
    NOON,
    create_hashed_draft,
    new_draft,
    operation_of,
    publish_draft,
    scan_draft,
)

FILMS = {"movie-001": b"one", "movie-002": b"two"}
HASHED = DraftTotals(found=3, items=3, bytes_total=30, items_done=3, bytes_done=30)
UNHASHED = DraftTotals(found=3, items=3, bytes_total=30, items_done=1, bytes_done=10, to_hash=2, bytes_to_hash=20)
OPEN = ("next", "running", "failed")


def facts(
    totals: DraftTotals = HASHED, problems: int = 0, operation: dict[str, Any] | None = None, **fields: Any
) -> DraftFacts:
    given = {"scanned_at": NOON, "created_at": NOON, "state": DraftState.READY, **fields}
    if operation is not None:
        given["operation"] = Operation(**operation)
    draft = Draft(airline=Airline(name="ACME"), name="2026-12", **given)
    return DraftFacts(draft, totals, problems, {"draft.look": ("mona", NOON)}, "ife-media")


@pytest.fixture
def mona(cast: Cast, client: Client) -> Client:
    client.force_login(cast.mona)
    return client


@pytest.fixture
def draft(cast: Cast, memory_media: MemoryBucket) -> Draft:
    return create_hashed_draft(cast.acme, memory_media, FILMS)


CASES = {
    "new": (facts(DraftTotals(), scanned_at=None), ["done", "next", "blocked", "blocked", "blocked"], "look"),
    "empty": (facts(DraftTotals()), ["done", "next", "blocked", "blocked", "blocked"], "look"),
    "nothing included": (
        facts(DraftTotals(found=3)),
        ["done", "done", "next", "blocked", "blocked"],
        "save",
    ),
    "not hashed": (facts(UNHASHED, problems=1), ["done", "done", "next", "blocked", "blocked"], "hash"),
    "problems": (facts(problems=2), ["done", "done", "done", "next", "blocked"], "save"),
    "ready": (facts(), ["done", "done", "done", "done", "next"], "publish"),
    "published": (facts(state=DraftState.PUBLISHED), ["done", "done", "done", "done", "done"], "open"),
    "withdrawn": (facts(state=DraftState.WITHDRAWN), ["done", "done", "done", "done", "next"], "publish"),
    "hashing failed": (
        facts(UNHASHED, state=DraftState.FAILED, operation={"kind": "hashing"}),
        ["done", "done", "failed", "blocked", "blocked"],
        "hash",
    ),
    "changed object": (
        facts(state=DraftState.FAILED, operation={"kind": "publication", "error_code": "OBJECT_CHANGED"}),
        ["done", "done", "done", "done", "failed"],
        "look",
    ),
    "publishing failed": (
        facts(state=DraftState.FAILED, operation={"kind": "publication"}),
        ["done", "done", "done", "done", "failed"],
        "publish",
    ),
    "withdrawing failed": (
        facts(state=DraftState.FAILED, operation={"kind": "withdrawal"}),
        ["done", "done", "done", "done", "failed"],
        "withdraw",
    ),
    "scan failed": (
        facts(DraftTotals(), scanned_at=None, state=DraftState.FAILED, operation={"kind": "scan"}),
        ["done", "failed", "blocked", "blocked", "blocked"],
        "look",
    ),
    "failed, and its operation was purged": (
        facts(UNHASHED, state=DraftState.FAILED),
        ["done", "done", "next", "blocked", "blocked"],
        "hash",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_steps_and_the_next_action(name: str) -> None:
    given, states, word = CASES[name]
    steps = workflow(given)
    assert [step.state for step in steps] == states
    assert all(step.detail for step in steps)
    assert sum(step.state in OPEN for step in steps) == (0 if name == "published" else 1)
    action = next_step(given).action
    assert action
    assert action.word == word
    assert word not in [each.word for each in other_actions(given, action)]


@pytest.mark.parametrize("state", BUSY_STATES)
def test_while_a_job_works_it_can_only_be_cancelled(state: DraftState) -> None:
    given = facts(state=state)
    assert [str(step.state) for step in workflow(given)].count("running") == 1
    assert next_step(given).action is None
    stoppable = state in (DraftState.SCANNING, DraftState.HASHING)
    assert [action.word for action in other_actions(given, None)] == ["stop"] * stoppable


def test_a_step_names_its_time_and_author() -> None:
    scan = workflow(facts())[1]
    assert (scan.at, scan.by) == (NOON, "mona")


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def progress(draft_state: DraftState, seconds: float, **operation: Any) -> tuple[int | None, str, str]:
    """Return percentage, text and warning of a draft whose operation began at noon, some seconds later."""
    work = {"created_at": NOON, "updated_at": NOON, "user": User(username="mona"), "state": "running", "fence": 1}
    found = texts.work_progress(facts(state=draft_state, operation=work | operation).draft, UNHASHED, at(seconds))
    assert found
    return found.percent, found.text, found.warning


def test_progress_shows_a_percentage_if_the_total_is_known_and_explains_a_stall() -> None:
    scanning = progress(DraftState.SCANNING, 5, stage="Reading the bucket")
    assert scanning == (None, "Reading the bucket. Requested 5 s ago by mona.", "")
    size: dict[str, Any] = {"bytes_done": 10, "bytes_total": 30}
    percent, text, warning = progress(DraftState.HASHING, 5, rate_bps=10, **size)
    assert (percent, warning) == (33, "")
    assert text == "10 B of 30 B (33%), 1 of 3 items, 10 B/s, about 2 s left"
    assert progress(DraftState.HASHING, 120, **size)[2].startswith("The last progress was 2 min ago.")
    stalled = progress(DraftState.HASHING, 5, rate_bps=0, **size)
    assert stalled[2] == "No data arrives from the bucket at the moment."
    _, text, warning = progress(DraftState.HASHING, 60, state="queued", fence=0)
    assert text.startswith("Waiting for a worker.")
    assert warning.startswith("No worker has started since 1 min ago.")
    reason = "Waits until one of 4 running operations of this kind ends."
    _, text, warning = progress(DraftState.HASHING, 60, state="queued", fence=0, waiting_for=reason)
    assert (text, warning) == (f"{reason} Requested 1 min ago by mona.", "")
    failed = {"error": "the connection was refused", "error_code": "NETWORK", "attempts": 2, "next_try_at": at(40)}
    _, text, warning = progress(DraftState.SCANNING, 0, state="waiting", **failed)
    assert text == "Attempt 3 of 8 starts in 40 s."
    assert warning == "The last attempt failed. NETWORK: the connection was refused"
    _, text, _ = progress(DraftState.HASHING, 1, cancel_requested_at=NOON, **size)
    assert text == "Is being cancelled. Requested 1 s ago by mona."
    assert texts.work_progress(facts().draft, HASHED, NOON) is None


def test_a_comparison_names_what_is_added_removed_replaced_and_edited() -> None:
    campaign = Campaign(title="November", exhibition_starts=date(2026, 11, 1))
    draft = Draft(title="December", exhibition_starts=date(2026, 11, 1))
    old = [ContentItem(name=name, size=1, sha256="a", title=name) for name in ("same", "bytes", "text", "gone")]
    items = [
        DraftItem(name="same", size=1, sha256="a", title="same"),
        DraftItem(name="bytes", size=1, sha256="b", title="other"),
        DraftItem(name="text", size=1, sha256="a", title="other"),
        DraftItem(name="new", size=1, sha256="a"),
    ]
    found = changes.compare(draft, items, campaign, {item.name: item for item in old})
    assert (found.added, found.removed, found.replaced, found.edited) == (("new",), ("gone",), ("bytes",), ("text",))
    assert found.fields == (changes.FieldChange("Title", "November", "December"),)
    assert not changes.compare(Draft(), [], Campaign(), {})


def test_a_problem_leads_to_its_field() -> None:
    draft = Draft(
        airline=Airline(name="ACME"), name="x", exhibition_starts=date(2026, 12, 2), exhibition_ends=date(2026, 12, 1)
    )
    dates = "The exhibition ends (2026-12-01) before it starts (2026-12-02)."
    refused = "Aircraft would refuse the manifest: title: is too long."
    draft.faults = ["The bucket has not been scanned yet. Scan it.", dates, refused]
    found = [(problem.where, problem.address, problem.text) for problem in general_problems(draft)]
    assert found == [("Last day", "#id_exhibition_ends", dates), ("Title", "#id_title", refused)]


# The page.


def page_of(client: Client, draft: Draft) -> str:
    return re.sub(r"\s+", " ", client.get(reverse(CHANGE, args=[draft.pk])).content.decode())


def test_a_page_has_one_primary_button_in_every_state(mona: Client, draft: Draft, memory_media: MemoryBucket) -> None:
    assert primary_buttons(mona.get(reverse("admin:campaigns_draft_add")).content.decode()) == [
        "Save and scan the bucket"
    ]
    for state in DraftState:
        Draft.objects.update(state=state)
        Operation.objects.update(kind="publication", error="x" if state == "failed" else "")
        expected = 0 if state in BUSY_STATES else 1
        assert len(primary_buttons(page_of(mona, draft))) == expected, state
    Draft.objects.update(state=DraftState.READY)
    for name in (PUBLISH, "admin:campaigns_draft_withdraw", "admin:campaigns_draft_delete"):
        assert len(primary_buttons(mona.get(reverse(name, args=[draft.pk])).content.decode())) == 1, name
    assert primary_buttons(mona.get(reverse(LIST)).content.decode()) == ["New campaign"]


def test_the_empty_list_explains_campaigns_and_has_one_button(mona: Client) -> None:
    page = mona.get(reverse(LIST)).content.decode()
    assert "A campaign is a set of films" in page
    assert primary_buttons(page) == ["New campaign"]


def test_an_item_problem_is_shown_in_its_row_and_in_the_summary(
    cast: Cast, mona: Client, draft: Draft, memory_media: MemoryBucket
) -> None:
    memory_media.delete("ACME/2026-12/movie-002.tgz")
    scan_draft(draft, memory_media)
    page = page_of(mona, draft)
    row = campaign_drafts.find_item(draft, "movie-002")
    assert f'<a href="#item-{row.pk}">movie-002</a>: Not in the bucket.' in page
    assert f'id="item-{row.pk}"' in page
    assert page.count("Not in the bucket. Upload it and scan again, or exclude it.") == 2
    listed = mona.get(reverse(ITEMS), {"draft__id__exact": str(draft.pk), "show": "fault"})
    assert listed.context["cl"].result_count == 1


def test_a_page_with_many_items_links_to_them_by_state(cast: Cast, mona: Client) -> None:
    draft = new_draft(cast.acme, scanned_at=NOON)
    DraftItem.objects.bulk_create(
        DraftItem(draft=draft, name=f"track {n}", included=n > 0, size=1 if n > 1 else None, etag="e")
        for n in range(101)
    )
    requests.revalidate(draft)
    page = page_of(mona, draft)
    assert re.search(r'show=out">Excluded <b>1</b>', page)
    assert re.search(r'show=unhashed">Not hashed <b>101</b>', page)
    assert "q=track+1" in page


def test_items_uploaded_after_an_empty_first_scan_are_included(cast: Cast, memory_media: MemoryBucket) -> None:
    draft = scan_draft(new_draft(cast.acme), memory_media)
    for name, body in FILMS.items():
        memory_media.put(f"ACME/2026-12/{name}.tgz", body)
    scan_draft(draft, memory_media)
    assert draft.items.filter(included=True).count() == 2
    memory_media.put("ACME/2026-12/movie-003.tgz", b"three")
    scan_draft(draft, memory_media)
    assert draft.items.filter(included=True).count() == 2
    assert draft.notices == ["1 new item found (movie-003). Include what belongs to the campaign."]


def test_two_people_edit_different_fields_and_both_are_saved(mona: Client, draft: Draft) -> None:
    address = reverse(CHANGE, args=[draft.pk])
    shown = form_of(mona.get(address))
    row = campaign_drafts.find_item(draft, "movie-001")
    initial = {"initial-title": "", "initial-exhibition_starts": "", "initial-exhibition_ends": ""}
    items = {f"initial-items-0-{name}": value for name, value in (("included", "True"), ("title", ""), ("kind", ""))}
    Draft.objects.update(title="Theirs")
    DraftItem.objects.filter(pk=row.pk).update(title="Their film")
    posted = {**shown, **initial, **items, "exhibition_starts": "2026-12-01", "items-0-kind": "movie"}
    assert mona.post(address, posted).status_code == 302
    draft.refresh_from_db()
    row.refresh_from_db()
    assert (draft.title, draft.exhibition_starts) == ("Theirs", date(2026, 12, 1))
    assert (row.title, row.kind) == ("Their film", "movie")


def test_the_second_editor_of_a_field_confirms_before_overwriting_it(mona: Client, draft: Draft) -> None:
    address = reverse(CHANGE, args=[draft.pk])
    shown = {**form_of(mona.get(address)), "initial-title": "", "initial-items-0-kind": ""}
    Draft.objects.update(title="Theirs")
    DraftItem.objects.update(kind="music")
    response = mona.post(address, {**shown, "title": "Mine", "items-0-kind": "movie"})
    page = response.content.decode()
    assert page.count("Someone else changed this to “Theirs” meanwhile. Save again to replace it with your value.") == 2
    assert page.count("Someone else changed this to “music” meanwhile.") == 2
    draft.refresh_from_db()
    assert draft.title == "Theirs"
    again = {**form_of_bound(response), "title": "Mine", "items-0-kind": "movie"}
    response = mona.post(address, again)
    assert response.status_code == 302, response.context["errors"]
    draft.refresh_from_db()
    assert (draft.title, draft.items.get(pk=shown["items-0-id"]).kind) == ("Mine", "movie")


def form_of_bound(response: Any) -> dict[str, str]:
    """Return the inputs of a page as a browser would send them."""
    inputs = re.findall(r"<input[^>]*>", response.content.decode())
    found = {}
    for text in inputs:
        attributes = dict(re.findall(r'(\w[\w-]*)="([^"]*)"', text))
        is_off = attributes.get("type") == "checkbox" and not re.search(r"\schecked\b", text)
        if "name" in attributes and not is_off:
            found[attributes["name"]] = attributes.get("value", "on" if attributes.get("type") == "checkbox" else "")
    return found


def test_a_confirmation_of_another_state_of_the_draft_publishes_nothing(mona: Client, draft: Draft) -> None:
    address = reverse(PUBLISH, args=[draft.pk])
    revision = mona.get(address).context["revision"]
    requests.revalidate(draft, edited=True)
    response = mona.post(address, {"revision": revision})
    [message] = get_messages(response.wsgi_request)
    assert "nothing was done, because the draft changed meanwhile" in str(message)
    draft.refresh_from_db()
    assert draft.state == DraftState.READY


def test_publishing_over_a_version_shows_its_changes(
    cast: Cast, mona: Client, draft: Draft, memory_media: MemoryBucket
) -> None:
    publish_draft(draft, memory_media)
    campaign = Campaign.objects.create(
        airline=cast.acme, name="2026-12", manifest_etag=draft.manifest_etag, manifest_state="ok", version=1
    )
    for item in draft.items.all():
        ContentItem.objects.create(campaign=campaign, name=item.name, size=item.size or 0, sha256=item.sha256)
    draft.items.filter(name="movie-001").update(title="The Long Way Up")
    draft.items.filter(name="movie-002").update(included=False)
    requests.revalidate(draft, edited=True)
    page = re.sub(r"\s+", " ", mona.get(reverse(PUBLISH, args=[draft.pk])).content.decode())
    assert "It replaces what is published now: Version 1." in page
    assert "<dt>Removed: 1</dt><dd>movie-002</dd>" in page
    assert "<dt>Title, kind, required or priority changed: 1</dt><dd>movie-001</dd>" in page
    assert "Publish version 2</button>" in page


def test_the_history_shows_users_and_actions(mona: Client, draft: Draft) -> None:
    address = reverse(CHANGE, args=[draft.pk])
    mona.post(address, {**form_of(mona.get(address)), "title": "December", "items-0-kind": "movie"})
    mona.post(address, {**form_of(mona.get(address)), "_ask": "look"})
    entries = [(entry.who, entry.text) for entry in mona.get(address).context["history"]]
    assert entries == [
        ("mona", "Started a scan"),
        ("mona", "Changed movie-001: kind from empty to movie"),
        ("mona", "Changed title from empty to December"),
    ]


def test_the_revision_changes_with_every_change_of_the_draft(mona: Client, draft: Draft) -> None:
    def revision() -> str:
        found = re.search(r'data-revision="([^"]*)"', mona.get(reverse(PROGRESS, args=[draft.pk])).content.decode())
        assert found
        return found[1]

    revisions = [revision()]
    assert revision() == revisions[0]
    requests.revalidate(draft, edited=True)
    revisions.append(revision())
    requests.request_scan(draft, ANYONE)
    revisions.append(revision())
    assert len(set(revisions)) == 3


def test_while_items_are_hashed_the_page_shows_the_percentage_of_the_operation(mona: Client, draft: Draft) -> None:
    requests.request_rehash(draft, draft.items.all(), ANYONE)
    assert operation_of(draft).bytes_total == 6
    Operation.objects.filter(draft=draft).update(state="running", fence=1, bytes_done=3)
    page = mona.get(reverse(PROGRESS, args=[draft.pk])).content.decode()
    assert '<progress max="100" value="50"' in page
    assert "3 B of 6 B (50%), 0 of 2 items" in page
    Operation.objects.filter(draft=draft).update(cancel_requested_at=NOON)
    assert "Is being cancelled." in mona.get(reverse(PROGRESS, args=[draft.pk])).content.decode()


def test_the_list_is_sorted_by_its_columns_and_searched_by_the_error_of_an_operation(
    cast: Cast, mona: Client, draft: Draft
) -> None:
    new_draft(cast.acme, "2027-01")
    for column in range(1, 9):
        for order in (f"{column}", f"-{column}"):
            assert mona.get(reverse(LIST), {"o": order}).context["cl"].result_count == 2, order
    Operation.objects.update(error="the store refuses connections")
    assert [found.name for found in mona.get(reverse(LIST), {"q": "refuses"}).context["cl"].result_list] == ["2026-12"]


def test_staff_who_may_only_look_see_the_steps_and_no_button(cast: Cast, client: Client, draft: Draft) -> None:
    cast.olga.user_permissions.add(Permission.objects.get(codename="view_draft"))
    client.force_login(cast.olga)
    page = page_of(client, draft)
    assert "Calculate sizes and hashes" in page
    assert primary_buttons(page) == []
    assert 'name="_ask"' not in page
    assert client.get(reverse(PUBLISH, args=[draft.pk])).status_code == 403
