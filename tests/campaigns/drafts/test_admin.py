"""Drafts in the admin: permissions, buttons, messages for each item; GET requests change nothing."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from campaigns.drafts import requests
from campaigns.models import Campaign, Draft, DraftItem, DraftState
from fleet.choices import ServiceStatus
from fleet.models import Load, Tail
from ifeportal.access import Role
from ifeportal.models import AuditEntry, Membership
from ifeportal.operations.models import Operation
from loader.s3.memory import MemoryBucket
from tests.conftest import Cast
from tests.support import campaign_drafts
from tests.support.api_fleet import make_load
from tests.support.campaign_drafts import (
    ANYONE,
    NOON,
    create_hashed_draft,
    new_draft,
    publish_draft,
    read_manifest,
    scan_draft,
)

FILMS = {"movie-001": b"one", "movie-002": b"two"}
ADD = "admin:campaigns_draft_add"
CHANGE = "admin:campaigns_draft_change"
LIST = "admin:campaigns_draft_changelist"
ITEMS = "admin:campaigns_draftitem_changelist"
PUBLISH = "admin:campaigns_draft_publish"
WITHDRAW = "admin:campaigns_draft_withdraw"
PROGRESS = "admin:campaigns_draft_progress"


@pytest.fixture
def media(memory_media: MemoryBucket) -> MemoryBucket:
    return memory_media


@pytest.fixture
def manager(cast: Cast, client: Client) -> Client:
    """Log in Alice, a manager of ACME who is not staff."""
    Membership.objects.filter(user=cast.alice).update(role=Role.MANAGER)
    client.force_login(cast.alice)
    return client


def form_of(page: Any) -> dict[str, Any]:
    """Return the form data that a browser sends if nothing was changed on the page of a draft."""
    data: dict[str, Any] = {}
    bound = page.context["adminform"].form
    for field in bound:
        data[field.html_name] = field.value() if field.value() is not None else ""
    for inline in page.context["inline_admin_formsets"]:
        forms = [inline.formset.management_form, *inline.formset.forms]
        for form in forms:
            for field in form:
                value = field.value()
                if value is not None and value is not False:
                    data[field.html_name] = value
    return data


def ask(client: Client, draft: Draft, word: str, **changes: Any) -> list[str]:
    """Press a button on the page of a draft. Return the messages."""
    address = reverse(CHANGE, args=[draft.pk])
    data = {**form_of(client.get(address)), **changes, "_ask": word}
    response = client.post(address, {name: value for name, value in data.items() if value is not False})
    assert response.status_code == 302, response.context["errors"] if response.context else response.content
    draft.refresh_from_db()
    return [str(message) for message in get_messages(response.wsgi_request)]


def confirm(client: Client, draft: Draft, page: str) -> list[str]:
    """Press the button of a confirmation. Return the messages."""
    address = reverse(page, args=[draft.pk])
    response = client.post(address, {"revision": client.get(address).context["revision"]})
    draft.refresh_from_db()
    return [str(message) for message in get_messages(response.wsgi_request)]


def primary_buttons(html: str) -> list[str]:
    """Return the texts of the primary buttons on a page."""
    return [text.strip() for text in re.findall(r'class="button\b[^"]*\bmain\b[^"]*"[^>]*>([^<]*)<', html)]


def test_a_manager_runs_a_campaign_from_the_first_look_to_its_withdrawal(
    cast: Cast, manager: Client, media: MemoryBucket
) -> None:
    for name, body in FILMS.items():
        media.put(f"ACME/2026-12/{name}.tgz", body)
    page = manager.get(reverse(ADD))
    assert list(page.context["adminform"].form.fields["airline"].queryset) == [cast.acme]
    made = manager.post(reverse(ADD), {"airline": cast.acme.pk, "name": "2026-12", "title": "December"})
    draft = Draft.objects.get()
    assert made.headers["Location"] == reverse(CHANGE, args=[draft.pk])
    assert draft.state == DraftState.SCANNING
    campaign_drafts.run_operations(media)
    page = manager.get(reverse(CHANGE, args=[draft.pk]))
    assert "movie-001" in page.content.decode()
    first = f"items-{list(draft.items.order_by('position')).index(campaign_drafts.find_item(draft, 'movie-001'))}"
    messages = ask(manager, draft, "hash", **{f"{first}-title": "The Long Way Up", f"{first}-priority": 9})
    assert messages == ["ACME/2026-12: Hashing started for 2 items."]
    assert campaign_drafts.find_item(draft, "movie-001").title == "The Long Way Up"
    busy = manager.get(reverse(CHANGE, args=[draft.pk]))
    assert 'http-equiv="refresh"' in busy.content.decode()
    assert primary_buttons(busy.content.decode()) == []
    campaign_drafts.run_operations(media)
    assert ask(manager, draft, "check") == ["ACME/2026-12: No problems found."]
    assert ask(manager, draft, "publish") == []
    assert "This is the first version in the bucket." in manager.get(reverse(PUBLISH, args=[draft.pk])).content.decode()
    assert confirm(manager, draft, PUBLISH) == ["ACME/2026-12: Publication started."]
    campaign_drafts.run_operations(media)
    written = read_manifest(draft, media)
    assert (written.version, written.title, written.content[0].title) == (1, "December", "The Long Way Up")
    draft.refresh_from_db()
    assert ask(manager, draft, "withdraw") == []
    assert draft.state == DraftState.PUBLISHED
    page = manager.get(reverse(WITHDRAW, args=[draft.pk]))
    assert "is on the aircraft stays there" in page.content.decode()
    assert confirm(manager, draft, WITHDRAW) == ["ACME/2026-12: Withdrawal started."]
    campaign_drafts.run_operations(media)
    draft.refresh_from_db()
    assert draft.state == DraftState.WITHDRAWN
    words = list(AuditEntry.objects.order_by("pk").values_list("action", "who", "airline__name"))
    for action in ("draft.added", "draft.look", "draft.hash", "draft.publish", "draft.withdraw"):
        assert (action, "alice", "ACME") in words
    done = (
        AuditEntry.objects.filter(via="job", action__startswith="draft.")
        .order_by("pk")
        .values_list("action", "who", "target", "changes")
    )
    assert list(done) == [
        ("draft.published", "alice", "ACME/2026-12", {"manifest_version": [None, 1]}),
        ("draft.withdrawn", "alice", "ACME/2026-12", {"manifest_version": [1, None]}),
    ]


def test_users_without_campaign_rights_see_no_drafts_of_the_airline(
    cast: Cast, manager: Client, media: MemoryBucket
) -> None:
    draft = publish_draft(create_hashed_draft(cast.beta, media, FILMS), media)
    for name in (CHANGE, PUBLISH, WITHDRAW, PROGRESS):
        for response in (manager.get(reverse(name, args=[draft.pk])), manager.post(reverse(name, args=[draft.pk]))):
            assert response.status_code == 404, name
    assert manager.get(reverse(ITEMS), {"draft__id__exact": draft.pk}).context["cl"].result_count == 0
    assert "2026-12" not in manager.get(reverse(LIST)).content.decode()
    invalid = manager.post(reverse(ADD), {"airline": cast.beta.pk, "name": "2027-01"})
    assert invalid.context["adminform"].form.errors["airline"]
    items = {"action": "exclude_items", "_selected_action": list(draft.items.values_list("pk", flat=True))}
    manager.post(reverse(ITEMS), items)
    manager.post(reverse(LIST), {"action": "publish_drafts", "confirmed": "yes", "_selected_action": [draft.pk]})
    draft.refresh_from_db()
    assert (draft.state, draft.items.filter(included=True).count()) == (DraftState.PUBLISHED, 2)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_only_managers_and_staff_run_campaigns(cast: Cast, client: Client, media: MemoryBucket, role: Role) -> None:
    Membership.objects.filter(user=cast.alice).update(role=role)
    draft = scan_draft(new_draft(cast.acme), media)
    client.force_login(cast.alice)
    for address in (reverse(LIST), reverse(CHANGE, args=[draft.pk]), reverse(WITHDRAW, args=[draft.pk])):
        assert client.post(address).status_code in (302, 403)
    client.force_login(cast.olga)  # staff without Django's permissions for drafts
    assert client.get(reverse(CHANGE, args=[draft.pk])).status_code == 403
    assert client.post(reverse(WITHDRAW, args=[draft.pk])).status_code == 403
    cast.olga.user_permissions.add(Permission.objects.get(codename="view_draft"))
    page = client.get(reverse(CHANGE, args=[draft.pk]))
    assert page.status_code == 200
    assert 'name="_ask"' not in page.content.decode()
    assert client.post(reverse(CHANGE, args=[draft.pk]), {"_ask": "look"}).status_code == 403
    assert not AuditEntry.objects.filter(action__startswith="draft.").exists()


def test_a_get_request_or_a_missing_csrf_token_changes_nothing(
    cast: Cast, manager: Client, media: MemoryBucket
) -> None:
    draft = publish_draft(create_hashed_draft(cast.acme, media, FILMS), media)
    for name in (CHANGE, PUBLISH, WITHDRAW, PROGRESS):
        manager.get(reverse(name, args=[draft.pk]), {"_ask": "publish"})
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(cast.alice)
    for name in (CHANGE, PUBLISH, WITHDRAW):
        assert strict.post(reverse(name, args=[draft.pk]), {"_ask": "look"}).status_code == 403
    draft.refresh_from_db()
    assert draft.state == DraftState.PUBLISHED


def test_an_edit_during_a_job_is_rejected_with_a_message(cast: Cast, manager: Client, media: MemoryBucket) -> None:
    draft = create_hashed_draft(cast.acme, media, FILMS)
    address = reverse(CHANGE, args=[draft.pk])
    data = {**form_of(manager.get(address)), "title": "Mine"}
    requests.request_publish(draft, ANYONE)
    response = manager.post(address, data)
    assert "Not saved. A job is working on this draft." in [str(each) for each in get_messages(response.wsgi_request)]
    draft.refresh_from_db()
    assert (draft.title, draft.state) == ("", DraftState.PUBLISHING)


def test_an_edited_draft_is_checked_and_no_longer_published(cast: Cast, manager: Client, media: MemoryBucket) -> None:
    draft = publish_draft(create_hashed_draft(cast.acme, media, FILMS), media)
    address = reverse(CHANGE, args=[draft.pk])
    manager.post(address, {**form_of(manager.get(address)), "title": "Another"})
    draft.refresh_from_db()
    assert (draft.state, draft.title, draft.version) == (DraftState.READY, "Another", 1)
    dates = {"exhibition_starts": "2026-12-02", "exhibition_ends": "2026-12-01"}
    response = manager.post(address, {**form_of(manager.get(address)), **dates})
    assert response.context["adminform"].form.errors["exhibition_ends"] == ["The last day is before the first day."]


@pytest.mark.parametrize("name", [".hidden", "a/b", "a\u202eb", "WINTER", "winter "])
def test_a_name_that_cannot_be_a_campaign_is_refused(cast: Cast, manager: Client, name: str) -> None:
    Campaign.objects.create(airline=cast.acme, name="Winter")
    response = manager.post(reverse(ADD), {"airline": cast.acme.pk, "name": name})
    if name.strip() == name:
        assert response.context["adminform"].form.errors["name"]
    assert not Draft.objects.filter(name=name).exists()


def test_a_campaign_in_the_list_leads_to_its_draft(cast: Cast, client: Client) -> None:
    client.force_login(cast.ada)
    campaign = Campaign.objects.create(airline=cast.acme, name="winter & snow", title="Winter")
    page = client.get(reverse("admin:campaigns_campaign_changelist")).content.decode()
    link = re.search(r'href="([^"]*draft/add/\?[^"]*)"', page)
    assert link
    begun = client.get(link[1].replace("&amp;", "&"))
    form = begun.context["adminform"].form
    assert (form["name"].value(), form["title"].value()) == (campaign.name, "Winter")
    draft = new_draft(cast.acme, "winter & snow")
    assert client.get(link[1].replace("&amp;", "&")).headers["Location"] == reverse(CHANGE, args=[draft.pk])


def test_bulk_actions_report_the_result_of_each_draft(cast: Cast, manager: Client, media: MemoryBucket) -> None:
    good = create_hashed_draft(cast.acme, media, FILMS)
    empty = scan_draft(new_draft(cast.acme, "2027-01"), media)
    busy = new_draft(cast.acme, "2027-02")
    requests.request_scan(busy, ANYONE)
    chosen = {"action": "publish_drafts", "_selected_action": [good.pk, empty.pk, busy.pk]}
    asked = manager.post(reverse(LIST), chosen).content.decode()
    assert (asked.count("Skipped: "), asked.count("First version.")) == (2, 3)
    good.refresh_from_db()
    assert good.state == DraftState.READY
    response = manager.post(reverse(LIST), {**chosen, "confirmed": "yes"})
    messages = [str(message) for message in get_messages(response.wsgi_request)]
    assert "ACME/2026-12: Publication started." in messages
    assert "ACME/2027-01: Cannot publish. No items are included. Include at least one." in messages
    assert any(text.startswith("ACME/2027-02: Cannot publish.") for text in messages)
    assert "Publish: 1 accepted, 2 rejected." in messages


def test_items_are_changed_in_a_list_and_each_that_is_skipped_is_named(
    cast: Cast, manager: Client, media: MemoryBucket
) -> None:
    media.put("ACME/2026-12/-dash.tgz", b"x")
    draft = create_hashed_draft(cast.acme, media, FILMS)
    ids = list(draft.items.values_list("pk", flat=True))
    address = f"{reverse(ITEMS)}?draft__id__exact={draft.pk}"
    response = manager.post(address, {"action": "include_items", "_selected_action": ids})
    messages = [str(message) for message in get_messages(response.wsgi_request)]
    assert messages[0] == "0 items included, 2 unchanged."
    assert messages[1].startswith("'-dash.tgz': skipped, the name")
    response = manager.post(address, {"action": "exclude_items", "_selected_action": ids})
    assert "2 items excluded, 1 unchanged." in [str(each) for each in get_messages(response.wsgi_request)]
    draft.refresh_from_db()
    assert draft.faults == ["No items are included. Include at least one."]
    manager.post(address, {"action": "include_items", "_selected_action": ids})
    page = manager.get(address)
    formset = page.context["cl"].formset
    data = {"_save": "Save", **{field.html_name: field.value() for field in formset.management_form}}
    for form in formset.forms:
        filled = [field for field in form if field.value() is not None and field.value() is not False]
        data |= {field.html_name: field.value() for field in filled}
    row = next(form for form in formset.forms if form.instance.name == "movie-002")
    manager.post(address, {**data, f"{row.prefix}-kind": "movie", f"{row.prefix}-priority": "5"})
    changed = campaign_drafts.find_item(draft, "movie-002")
    assert (changed.kind, changed.priority, changed.title) == ("movie", 5, "")
    assert AuditEntry.objects.filter(action="draftitem.changed", airline=cast.acme).exists()
    response = manager.post(address, {"action": "rehash_items", "_selected_action": ids})
    draft.refresh_from_db()
    assert (draft.state, draft.items.filter(hash_pending=True).count()) == (DraftState.HASHING, 2)
    response = manager.post(address, {"action": "exclude_items", "_selected_action": ids})
    assert "movie-001: skipped, a job is working on its draft." in [
        str(message) for message in get_messages(response.wsgi_request)
    ]


def test_the_pages_of_a_draft_take_the_same_queries_however_many_items_it_has(
    cast: Cast, manager: Client, media: MemoryBucket
) -> None:
    counts = []
    for name, count in (("few", 3), ("many", 90), ("hundreds", 500)):
        draft = new_draft(cast.acme, name, scanned_at=NOON)
        DraftItem.objects.bulk_create(
            DraftItem(draft=draft, name=f"track {n}", included=True, size=1, etag="e") for n in range(count)
        )
        manager.get(reverse(CHANGE, args=[draft.pk]))
        with CaptureQueriesContext(connection) as queries:
            response = manager.get(reverse(CHANGE, args=[draft.pk]))
        assert len(response.content) < 500_000
        counts.append(len(queries))
        with CaptureQueriesContext(connection) as listed:
            manager.get(reverse(ITEMS), {"draft__id__exact": draft.pk})
        counts.append(len(listed))
    assert max(counts[::2]) <= 40
    assert max(counts[1::2]) <= 45


def test_the_list_shows_which_tails_loaded_the_campaign(cast: Cast, manager: Client, media: MemoryBucket) -> None:
    draft = publish_draft(create_hashed_draft(cast.acme, media, FILMS), media)
    page = manager.get(reverse(CHANGE, args=[draft.pk])).content.decode()
    assert "A campaign appears here shortly after it is published." in page
    make_load(cast.acme, "D-ABCD", "2026-12")
    Tail.objects.create(airline=cast.acme, name="D-LATE")
    Tail.objects.create(airline=cast.acme, name="D-STORED", duty=ServiceStatus.STORED)
    Campaign.objects.update(version=1, manifest_etag="e1")
    Load.objects.update(manifest_etag="e1")
    page = re.sub(r"\s+", " ", manager.get(reverse(CHANGE, args=[draft.pk])).content.decode())
    assert "Of 2 tails in service: 1 " in page
    assert "1 not started" in page
    assert ">D-ABCD</a>" in page


def test_hostile_names_and_errors_are_shown_as_text(cast: Cast, manager: Client, media: MemoryBucket) -> None:
    hostile = "<script>alert(1)</script>"
    media.put(f"ACME/2026-12/{hostile[:8]}.tgz", b"x")
    draft = scan_draft(new_draft(cast.acme, title=hostile, notices=[hostile]), media)
    Operation.objects.update(error=hostile, advice=hostile)
    Draft.objects.update(state=DraftState.FAILED, notices=[hostile], faults=[hostile])
    DraftItem.objects.update(error_text=hostile, title=hostile)
    for address in (
        reverse(CHANGE, args=[draft.pk]),
        reverse(PROGRESS, args=[draft.pk]),
        reverse(ITEMS),
        reverse(LIST),
        reverse(WITHDRAW, args=[draft.pk]),
    ):
        assert hostile not in manager.get(address).content.decode(), address


def test_deleting_a_draft_touches_nothing_in_the_bucket(cast: Cast, manager: Client, media: MemoryBucket) -> None:
    draft = publish_draft(create_hashed_draft(cast.acme, media, FILMS), media)
    address = reverse("admin:campaigns_draft_delete", args=[draft.pk])
    before = sorted(found.key for found in media.list())
    page = re.sub(r"\s+", " ", manager.get(address).content.decode())
    assert "its 2 items" in page
    assert "The campaign stays published (Version 1)" in page
    assert manager.post(address, {"post": "yes"}).status_code == 302
    assert not Draft.objects.exists()
    assert sorted(found.key for found in media.list()) == before
