"""The admin shows every model, keeps observed rows read-only, and makes no query per row."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from campaigns.library.models import LibraryItem
from campaigns.models import Campaign, ContentItem, Draft, DraftItem
from fleet.models import AirlineTotals, Anomaly, Load, ProgressSample, Tail, Transfer, Usage
from ifeportal.accounts.tokens import create_token
from ifeportal.live.models import Change
from ifeportal.models import Airline, AuditEntry, Job, Membership, Token, User
from ifeportal.operations.models import Operation
from tests.conftest import Cast
from tests.support.api_fleet import NOON, make_load
from tests.support.library import new_item
from tests.support.operation_rows import create_operation

pytestmark = pytest.mark.both_databases

OBSERVED: list[type[Model]] = [
    *(AirlineTotals, Anomaly, Campaign, Change, ContentItem, Job, Load, ProgressSample, Tail, Transfer, Usage),
    *(LibraryItem, Operation),
]
THRESHOLDS = {"stalled_after_minutes": 10, "silent_after_hours": 24, "risk_before_hours": 48}
MODELS: list[type[Model]] = [*OBSERVED, Airline, AuditEntry, Draft, DraftItem, Membership, Token, User]


def address(model: type[Model], page: str, *args: object) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def grow(cast: Cast, numbers: range) -> None:
    """Create one more row of every model for each number."""
    for n in numbers:
        load = make_load(cast.acme, f"N{n}", f"cycle {n}", counted=False)
        ProgressSample.objects.create(load=load, at=NOON + timedelta(seconds=n), bytes_done=n)
        Anomaly.objects.create(
            airline=cast.acme,
            bucket="media",
            key=f"k{n}",
            key_hash=f"{n}",
            problem="x",
            first_seen=NOON,
            last_seen=NOON,
        )
        draft = Draft.objects.create(airline=cast.acme, name=f"cycle {n}")
        DraftItem.objects.create(draft=draft, name=f"N1 {n}", size=n)
        Change.objects.create(topic="load", object=n, rev=n, op="put", airline=cast.acme)
        Job.objects.create(name=f"poll:{n}", due_at=NOON)
        create_operation(cast.acme, cast.mona, title=f"film {n}")
        new_item(cast.acme, f"N1 reel {n}", added_by=cast.mona)
        Usage.objects.create(airline=cast.acme, day=NOON.date() + timedelta(days=n), list_requests=n)
        user = User.objects.create(username=f"user{n}")
        airline = Airline.objects.create(name=f"A{n}")
        Membership.objects.create(user=user, airline=airline)
        AirlineTotals.objects.create(airline=airline)
        create_token(user, "nightly export", days=1, airline=None, may_write=False)
        AuditEntry.objects.create(at=NOON, who=user.username, airline=cast.acme, action="x", target="y", via="page")


@pytest.fixture
def ada(cast: Cast, client: Client) -> Client:
    client.force_login(cast.ada)
    return client


def test_every_model_of_ours_has_an_admin_but_the_counter() -> None:
    ours = {
        model
        for model in admin.site._registry
        if model._meta.app_label in ("ifeportal", "live", "campaigns", "fleet", "operations", "library")
    }
    assert ours == set(MODELS)
    for model in MODELS:
        assert admin.site._registry[model].search_fields


def test_a_list_takes_the_same_queries_for_3_rows_and_30(cast: Cast, ada: Client) -> None:
    counts: dict[type[Model], list[int]] = {model: [] for model in MODELS}
    for numbers in (range(3), range(3, 30)):
        grow(cast, numbers)
        for model in MODELS:
            if not counts[model]:
                ada.get(address(model, "changelist"))  # fills the cache of content types
            with CaptureQueriesContext(connection) as queries:
                answer = ada.get(address(model, "changelist"))
            assert answer.status_code == 200, model
            assert len(queries) <= 15, (model, [query["sql"] for query in queries])
            counts[model].append(len(queries))
    assert not {model: pair for model, pair in counts.items() if pair[0] != pair[1]}


@pytest.mark.parametrize("model", MODELS)
def test_a_search_and_every_filter_work_together(cast: Cast, ada: Client, model: type[Model]) -> None:
    grow(cast, range(3))
    answer = ada.get(address(model, "changelist"), {"q": "N1"})
    assert answer.status_code == 200
    for spec in answer.context["cl"].filter_specs:
        *_, last = spec.choices(answer.context["cl"])  # `test_lookups.py` tries all of them
        assert ada.get(address(model, "changelist") + last["query_string"]).status_code == 200


def test_lists_and_pages_show_times_with_their_age_and_words_for_flags(cast: Cast, ada: Client) -> None:
    grow(cast, range(1))
    entries = ada.get(address(AuditEntry, "changelist")).content.decode()
    assert 'data-label="Time (UTC)"' in entries
    assert "<time datetime=" in entries
    assert 'aria-sort="descending"' in entries
    tail = ada.get(address(Tail, "change", Tail.objects.get().pk)).content.decode()
    assert "icon-no" not in tail
    assert '<div class="readonly">No</div>' in tail
    item = ContentItem.objects.create(campaign=Campaign.objects.get(), name="film", size=734_000_000)
    assert "734 MB (734,000,000 bytes)" in ada.get(address(ContentItem, "change", item.pk)).content.decode()


@pytest.mark.parametrize("model", OBSERVED)
def test_what_was_observed_cannot_be_changed_by_hand(cast: Cast, ada: Client, model: type[Model]) -> None:
    grow(cast, range(1))
    row = model._default_manager.all()[0]
    page = ada.get(address(model, "change", row.pk))
    assert page.status_code == 200
    assert b'name="_save"' not in page.content
    assert ada.post(address(model, "change", row.pk), {}).status_code == 403
    assert ada.get(address(model, "add")).status_code == 403
    assert ada.post(address(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    assert model._default_manager.filter(pk=row.pk).exists()


def test_an_airline_keeps_the_name_that_stands_in_its_keys(cast: Cast, ada: Client) -> None:
    answer = ada.post(address(Airline, "change", cast.acme.pk), {"name": "OTHER", "title": "Acme Air", **THRESHOLDS})
    assert answer.status_code == 302
    cast.acme.refresh_from_db()
    assert (cast.acme.name, cast.acme.title) == ("ACME", "Acme Air")


@pytest.mark.parametrize("name", ["A/B", "..", ".fleet", "a\\b", "a\u202eb", "é" * 101, "e\u0301", "acme", "ACME"])
def test_a_name_that_cannot_stand_in_a_key_makes_no_airline(cast: Cast, ada: Client, name: str) -> None:
    answer = ada.post(address(Airline, "add"), {"name": name, "title": "", **THRESHOLDS})
    assert answer.context["adminform"].form.errors["name"]
    assert set(Airline.objects.values_list("name", flat=True)) == {"ACME", "BETA"}


def test_a_name_the_contract_allows_makes_an_airline_with_a_page(cast: Cast, ada: Client) -> None:
    name = "Ä%2F+?#&'<\u2708>"
    ada.post(address(Airline, "add"), {"name": name, "title": "Odd", **THRESHOLDS})
    assert ada.get(Airline.objects.get(name=name).get_absolute_url()).status_code == 200
    assert ada.get("/").status_code == 200


def test_an_airline_with_tails_cannot_be_deleted(cast: Cast, ada: Client) -> None:
    make_load(cast.acme, "N1", "2026-12")
    assert ada.post(address(Airline, "delete", cast.acme.pk), {"post": "yes"}).status_code == 403
    assert ada.post(address(Airline, "delete", cast.beta.pk), {"post": "yes"}).status_code == 302
    assert [airline.name for airline in Airline.objects.all()] == ["ACME"]


def test_memberships_are_given_on_the_page_of_the_user(cast: Cast, ada: Client) -> None:
    page = ada.get(address(User, "change", cast.nick.pk)).content.decode()
    assert 'name="memberships-TOTAL_FORMS"' in page


def test_rows_lead_to_their_pages_in_the_portal(cast: Cast, ada: Client) -> None:
    load = make_load(cast.acme, "N1", "2026-12")
    pairs: list[tuple[type[Model], Airline | Campaign | Tail]] = [
        (Airline, cast.acme),
        (Campaign, load.campaign),
        (Tail, load.tail),
        (Load, load.tail),
        (Transfer, load.tail),
    ]
    for model, target in pairs:
        assert f'href="{target.get_absolute_url()}"' in ada.get(address(model, "changelist")).content.decode()


def test_staff_see_what_their_permissions_name_and_nobody_else_gets_in(cast: Cast, client: Client) -> None:
    client.force_login(cast.olga)
    assert client.get(address(Tail, "changelist")).status_code == 403
    cast.olga.user_permissions.add(Permission.objects.get(codename="view_tail"))
    make_load(cast.acme, "N1", "2026-12")
    make_load(cast.beta, "D-1", "winter")
    page = client.get(address(Tail, "changelist")).content.decode()
    assert "N1" in page
    assert "D-1" in page
    assert client.get(address(Load, "changelist")).status_code == 403
    client.force_login(cast.alice)
    assert client.get(address(Tail, "changelist")).status_code == 302


def test_neither_key_nor_hash_of_a_token_is_shown(cast: Cast, ada: Client) -> None:
    token, key = create_token(cast.alice, "nightly export", days=1, airline=cast.acme, may_write=True)
    for page in ("change", "delete", "history"):
        answer = ada.get(address(Token, page, token.pk))
        assert answer.status_code == 200
        assert key not in answer.content.decode()
        assert token.digest not in answer.content.decode()
    assert "nightly export" in ada.get(address(Token, "changelist")).content.decode()
    assert ada.get(address(Token, "add")).status_code == 403


def test_a_token_can_be_revoked(cast: Cast, ada: Client) -> None:
    mine, _ = create_token(cast.alice, "mine", days=1, airline=None, may_write=False)
    other, _ = create_token(cast.bob, "other", days=1, airline=None, may_write=False)
    assert ada.post(address(Token, "delete", mine.pk), {"post": "yes"}).status_code == 302
    assert list(Token.objects.all()) == [other]
    assert LogEntry.objects.count() == 1
    assert [entry.action for entry in AuditEntry.objects.all()] == ["token.deleted"]


def test_no_form_runs_a_function_by_its_name(cast: Cast, ada: Client) -> None:
    assert ada.get("/admin/django_q/schedule/").status_code == 404


def test_hostile_error_text_is_shown_as_text(cast: Cast, ada: Client) -> None:
    load = make_load(cast.acme, "N1", "2026-12")
    Transfer.objects.update(error="<script>alert(1)</script>", error_code="<b>")
    for page in (address(Transfer, "changelist"), address(Transfer, "change", load.transfers.all()[0].pk)):
        answer = ada.get(page).content.decode()
        assert "<script>alert" not in answer
        assert "<b>" not in answer
