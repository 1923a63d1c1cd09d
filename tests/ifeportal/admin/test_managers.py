"""Managers who are not staff can use the admin for their own airlines, and see nothing else there."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from campaigns.models import Draft, DraftItem
from ifeportal.admin.base import ManagerAdmin
from ifeportal.models import Airline, Membership
from tests.conftest import Cast

REGISTERED = sorted(admin.site._registry.items(), key=lambda pair: pair[0]._meta.label)
FOR_STAFF = [model for model, its in REGISTERED if not isinstance(its, ManagerAdmin)]
FOR_MANAGERS = [model for model, its in REGISTERED if isinstance(its, ManagerAdmin)]


def label(model: type[Model]) -> str:
    return model._meta.label


def address(model: type[Model], page: str, *args: object) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


@pytest.fixture
def drafts(cast: Cast) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for airline in (cast.acme, cast.beta):
        draft = Draft.objects.create(airline=airline, name=f"{airline.name.lower()}-cycle")
        DraftItem.objects.create(draft=draft, name=f"{airline.name.lower()}-film")
        made[airline.name] = draft
    return made


@pytest.fixture
def mona(cast: Cast, client: Client) -> Client:
    client.force_login(cast.mona)
    client.raise_request_exception = False
    return client


@pytest.mark.parametrize("model", FOR_STAFF, ids=label)
def test_staff_pages_are_refused_to_other_users_with_every_permission(
    cast: Cast, mona: Client, model: type[Model]
) -> None:
    cast.mona.user_permissions.set(Permission.objects.all())
    pages = ["changelist", "add"]
    answers = [mona.get(address(model, page)).status_code for page in pages]
    answers += [mona.get(address(model, page, 1)).status_code for page in ("change", "delete", "history")]
    answers.append(mona.post(address(model, "changelist"), {"action": "delete_selected"}).status_code)
    assert set(answers) <= {403, 404}


def test_the_first_page_names_only_what_a_manager_works_on(mona: Client) -> None:
    answer = mona.get("/admin/")
    shown = {model["model"] for app in answer.context["app_list"] for model in app["models"]}
    assert Draft in shown
    assert shown <= set(FOR_MANAGERS)


@pytest.mark.parametrize("model", FOR_MANAGERS, ids=label)
def test_a_list_its_filters_and_its_search_hold_nothing_foreign(
    mona: Client, drafts: dict[str, Any], model: type[Model]
) -> None:
    for query in ("", "?q=eta", f"?airline__id__exact={drafts['BETA'].airline_id}"):
        page = mona.get(address(model, "changelist") + query)
        assert page.status_code in (200, 302, 400)
        shown = re.sub(r"[A-Za-z0-9]{64}", "", page.content.decode())  # random tokens may contain any word
        assert "beta" not in shown.lower()


def test_a_foreign_row_is_not_there_on_any_page(mona: Client, drafts: dict[str, Any]) -> None:
    for page in ("change", "delete", "history", "withdraw", "progress"):
        for method in ("get", "post"):
            path = address(Draft, page, drafts["BETA"].pk)
            assert getattr(mona, method)(path).status_code == 404, f"{method} {path}"
        assert mona.get(address(Draft, page, drafts["ACME"].pk)).status_code == 200


def test_only_ones_own_airlines_can_be_chosen(cast: Cast, mona: Client, drafts: dict[str, Any]) -> None:
    page = mona.get(address(Draft, "add"))
    choices = page.context["adminform"].form.fields["airline"].queryset
    assert list(choices) == [cast.acme]
    given = {"airline": cast.beta.pk, "name": "mine", "title": ""}
    assert mona.post(address(Draft, "add"), given).status_code == 200
    assert not Draft.objects.filter(name="mine").exists()


def test_being_a_member_of_another_airline_is_not_enough(cast: Cast, mona: Client, drafts: dict[str, Any]) -> None:
    Membership.objects.create(user=cast.mona, airline=cast.beta, role="operator")
    assert mona.get(address(Draft, "change", drafts["BETA"].pk)).status_code == 404
    assert "beta-cycle" not in mona.get(address(Draft, "changelist")).content.decode()
    items = mona.get(address(DraftItem, "changelist"), {"draft__id__exact": drafts["BETA"].pk})
    assert items.status_code == 200
    assert "beta-cycle" not in items.content.decode()


def test_choices_are_not_read_out_by_the_field_that_completes(mona: Client) -> None:
    for model, field in ((Membership, "airline"), (Membership, "user")):
        given = {"app_label": model._meta.app_label, "model_name": str(model._meta.model_name), "field_name": field}
        assert mona.get("/admin/autocomplete/", given).status_code == 403


def test_a_former_manager_loses_access_at_once(cast: Cast, mona: Client) -> None:
    assert mona.get("/admin/").status_code == 200
    Membership.objects.filter(user=cast.mona).update(role="operator")
    assert mona.get("/admin/").status_code == 302
    assert mona.get("/admin/login/").status_code == 403


def test_staff_are_offered_every_airline_to_filter_by(cast: Cast, client: Client, drafts: dict[str, Any]) -> None:
    client.force_login(cast.ada)
    page = client.get(address(Draft, "changelist"))
    offered = {
        str(choice["display"])
        for spec in page.context["cl"].filter_specs
        for choice in spec.choices(page.context["cl"])
    }
    assert {airline.name for airline in Airline.objects.all()} <= offered
