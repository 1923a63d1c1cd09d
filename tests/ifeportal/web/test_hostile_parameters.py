"""Every URL with every parameter that the code reads, with hostile values: refused or ignored, never a server error."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.contrib import admin
from django.core.cache import cache
from django.db import transaction
from django.test import Client
from django.urls import reverse

from ifeportal.admin.base import ManagerAdmin
from tests.ifeportal.access.test_every_address import ORDINARY, RULES, World, shared_world, world

__all__ = ["shared_world", "world"]  # the fixtures

FOLDERS = ("ifeportal", "campaigns", "fleet")
READS = re.compile(r"GET|POST|params|asked")  # lines that read or list parameters
NAME = re.compile(r'"([a-z_]{1,24})"')
DIGITS = "9" * 4_301  # above Python's limit for int()
IN_ADDRESSES = ("a\0b", DIGITS)
IN_FORMS = (*IN_ADDRESSES, "-1", "[" * 5_000)
IN_JSON: tuple[object, ...] = (*IN_FORMS, "\ud800", 2**70, [[]], {"a": {}}, None)
GOOD: dict[str, dict[str, str]] = {
    "acknowledgement": {"word": "failed", "note": "seen to", "load": "1", "query": ""},
    "tail-duty": {"duty": "active", "aircraft_type": "A320"},
    "tokens": {"name": "export", "airline": "", "access": "read", "days": "9"},
    "account_login": {"login": "ada", "password": "wrong", "next": "/"},
    "account_reset_password": {"email": "ada@example.org"},
    "account_reauthenticate": {"password": "wrong", "next": "/"},
    "airline-settings": {
        "title": "Acme",
        "colour": "#aabbcc",
        "contact": "the desk",
        "stalled_after_minutes": "9",
        "silent_after_hours": "9",
        "risk_before_hours": "9",
    },
}
GOOD_JSON = {
    "api-acknowledgements-list": ("POST", {"load": "1", "state": "failed", "note": "seen to"}),
    "api-tails-detail": ("PATCH", {"duty": "active", "aircraft_type": "A320"}),
}


def names() -> list[str]:
    """Return every possible parameter name, read from the source code."""
    texts = [path.read_text() for folder in FOLDERS for path in sorted((settings.BASE_DIR / folder).rglob("*.py"))]
    lines = [line for text in texts for line in text.splitlines() if READS.search(line)]
    return sorted({name for line in lines for name in NAME.findall(line)})


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Silence the log lines of thousands of refused requests."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def status(client: Client, method: str, path: str, *given: Any, **more: Any) -> int:
    """Of a request in a transaction of its own, as a database that refused a value refuses all after it in the same."""
    cache.clear()  # throttle counts
    with transaction.atomic():
        answer: int = getattr(client, method)(path, *given, **more).status_code
        transaction.set_rollback(True)
    return answer


def path_of(world: World, name: str) -> str:
    return reverse(name, args=RULES[name].arguments(world.acme))


def test_the_names_are_those_the_views_read() -> None:
    assert {"q", "sort", "state", "page", "at", "items", "export", "older", "since", "load", "next"} <= {*names()}


def test_no_parameter_breaks_an_address(world: World) -> None:
    client, given = world.client("ada"), names()
    paths = [path_of(world, name) for name in ORDINARY if name not in ("readyz", "account_logout")]
    broken = [
        (path, value[:9])
        for path in paths
        for value in IN_ADDRESSES
        if status(client, "get", path, dict.fromkeys(given, value)) >= 500
    ]
    assert not broken


def test_no_field_breaks_a_form(world: World) -> None:
    broken = []
    for name, good in GOOD.items():
        client = world.client("anonymous" if name in ("account_login", "account_reset_password") else "ada")
        path = path_of(world, name)
        broken += [
            (name, field, value[:9])
            for field in good
            for value in IN_FORMS
            if status(client, "post", path, {**good, field: value}) >= 500
        ]
    assert not broken


def test_no_value_breaks_a_write_of_the_api(world: World) -> None:
    broken, client = [], world.client("ada")
    for name, (method, good) in GOOD_JSON.items():
        for field in good:
            for value in IN_JSON:
                body = json.dumps({**good, field: value})
                if (
                    status(client, "generic", method, path_of(world, name), body, content_type="application/json")
                    >= 500
                ):
                    broken.append((name, field, str(value)[:9]))
    assert not broken


@pytest.mark.parametrize("year", ["0", "10000", "9" * 12, "9" * 30])
def test_a_year_that_no_calendar_has_breaks_no_list_of_the_admin(world: World, year: str) -> None:
    for model, its in admin.site._registry.items():
        if its.date_hierarchy:
            path = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
            asked = {f"{its.date_hierarchy}__year": year}
            assert status(world.client("ada"), "get", path, asked) in (200, 302), path
            if isinstance(its, ManagerAdmin):
                assert status(world.client("mona"), "get", path, asked) in (200, 302), path


@pytest.mark.parametrize("chosen", ["x", "9" * 30, DIGITS, "-1", ""])
def test_no_choice_of_rows_breaks_an_action_of_the_admin(world: World, chosen: str) -> None:
    given = {"action": "validate_drafts", "_selected_action": [chosen, str(world.acme.draft.pk)]}
    path = reverse("admin:campaigns_draft_changelist")
    assert status(world.client("mona"), "post", path, given) == (302 if chosen == "-1" else 400)


@pytest.mark.parametrize("pattern", ["(", "(a+)+$"])
def test_no_admin_list_is_searched_by_a_pattern(world: World, pattern: str) -> None:
    for field in ("error__regex", "name__iregex"):
        assert status(world.client("mona"), "get", reverse("admin:campaigns_draft_changelist"), {field: pattern}) == 400
