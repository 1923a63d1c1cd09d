"""Admin lists can be filtered only by the lookups that they offer; no lookup reads a secret."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db.models import Field, JSONField, Model
from django.test import Client, RequestFactory

from ifeportal.admin.base import StaffAdmin
from ifeportal.models import User
from tests.conftest import Cast
from tests.ifeportal.admin.test_every_model import address, grow

SECRET = "WBSWY3DPEHPK3PXP"
SECRETS = {
    *("password", "digest", "token_key", "data", "session_data", "session_key", "secret", "token", "token_secret"),
    *("get_data", "post_data", "extra_data", "payload", "args", "kwargs", "result"),
}
REGISTERED = list(admin.site._registry.items())
by_model = pytest.mark.parametrize(("model", "its"), REGISTERED, ids=[model._meta.label for model, _ in REGISTERED])


def secret_fields(model: type[Model]) -> list[Field[Any, Any]]:
    return [field for field in model._meta.concrete_fields if field.name in SECRETS]


def related(model: type[Model]) -> Iterator[tuple[str, type[Model]]]:
    """Return every relation of the model, in both directions."""
    for field in model._meta.get_fields():
        if field.is_relation and isinstance(field.related_model, type):
            yield field.name, field.related_model


def lookups(path: str, field: Field[Any, Any]) -> Iterator[str]:
    """Return every lookup of the field, and of keys of a JSON object."""
    yield path
    for word in field.get_lookups():
        yield f"{path}__{word}"
        if isinstance(field, JSONField):
            yield from (f"{path}__secret__{word}", f"{path}__seed__{word}", f"{path}__0__{word}")


def attacks(model: type[Model]) -> Iterator[str]:
    """Return lookups on secrets of the row and of related rows."""
    for field in secret_fields(model):
        yield from lookups(field.name, field)
    for name, other in related(model):
        for field in secret_fields(other):
            yield from lookups(f"{name}__{field.name}", field)


@pytest.fixture
def viewer(cast: Cast, client: Client) -> Client:
    """Return a staff user who may view everything and change nothing."""
    cast.olga.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(cast.olga)
    return client


@pytest.fixture
def its_request(cast: Cast, rf: RequestFactory) -> Any:
    request = rf.get("/admin/")
    request.user = cast.ada
    return request


@by_model
def test_no_lookup_on_a_secret_is_allowed(model: type[Model], its: admin.ModelAdmin[Any], its_request: Any) -> None:
    assert isinstance(its, StaffAdmin)
    for lookup in attacks(model):
        assert not its.lookup_allowed(lookup, "x", its_request), lookup
    offered = {*map(str, its.get_list_filter(its_request)), *its.get_search_fields(its_request), its.date_hierarchy}
    assert not {part for name in offered for part in str(name).split("__")} & SECRETS


@by_model
def test_only_the_key_and_offered_lookups_are_allowed(
    model: type[Model], its: admin.ModelAdmin[Any], its_request: Any
) -> None:
    offered: set[Any] = {entry[0] if isinstance(entry, tuple) else entry for entry in its.get_list_filter(its_request)}
    offered |= {its.date_hierarchy or "", model._meta.pk.name, *getattr(its, "linked_by", ())}
    for field in model._meta.concrete_fields:
        if field.name not in offered:
            for lookup in lookups(field.name, field):
                assert not its.lookup_allowed(lookup, "1", its_request), lookup


@by_model
def test_no_lookup_uses_patterns_or_prefixes(model: type[Model], its: admin.ModelAdmin[Any], its_request: Any) -> None:
    for field in model._meta.concrete_fields:
        for word in ("regex", "iregex", "startswith", "istartswith", "contains", "icontains", "endswith", "range"):
            assert not its.lookup_allowed(f"{field.name}__{word}", "1", its_request), (field.name, word)


@by_model
def test_every_choice_a_list_offers_can_be_chosen(
    cast: Cast, client: Client, model: type[Model], its: admin.ModelAdmin[Any]
) -> None:
    grow(cast, range(2))
    TOTP.activate(cast.alice, SECRET)
    client.force_login(cast.ada)
    page = client.get(address(model, "changelist"))
    assert page.status_code == 200
    for spec in page.context["cl"].filter_specs:
        for choice in spec.choices(page.context["cl"]):
            assert client.get(address(model, "changelist") + choice["query_string"]).status_code == 200
    dates = {f"{its.date_hierarchy}__{part}": 1 for part in ("year", "month", "day")} if its.date_hierarchy else {}
    assert client.get(address(model, "changelist"), dates | {model._meta.pk.name: "1"}).status_code == 200


def test_staff_who_may_only_look_learn_no_sign_of_a_secret(cast: Cast, viewer: Client) -> None:
    rows = [TOTP.activate(cast.alice, SECRET).instance, RecoveryCodes.activate(cast.alice).instance]
    listing = address(Authenticator, "changelist")
    for row, key in zip(rows, ("secret", "seed"), strict=True):
        sign = str(row.data[key])[0]
        for word, right, wrong in (("startswith", sign, "~"), ("gte", sign, "~"), ("", row.data[key], "~")):
            lookup = f"data__{key}__{word}".removesuffix("__")
            answers = [viewer.get(listing, {"id": row.pk, lookup: value}) for value in (right, wrong)]
            assert [answer.status_code for answer in answers] == [400, 400], lookup
    assert [len(viewer.get(listing, {"id": row.pk}).context["cl"].result_list) for row in rows] == [1, 1]


def test_a_password_is_not_found_through_what_its_user_has(cast: Cast, viewer: Client) -> None:
    TOTP.activate(cast.alice, SECRET)
    hashed = User.objects.get(username="alice").password
    for lookup in ("user__password__startswith", "user__password", "user__email__startswith"):
        assert viewer.get(address(Authenticator, "changelist"), {lookup: hashed[:4]}).status_code == 400
