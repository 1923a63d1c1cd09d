"""The search text has the same limit on every page, in every list of the API and of the admin."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from ifeportal.tables.search import SEARCH_LIMIT, SEARCH_WORDS, SearchTooLong, check_search
from tests.ifeportal.access.test_every_address import World, shared_world, world
from tests.support.populated_airlines import portal_routes

__all__ = ["shared_world", "world"]  # the fixtures

ALLOWED = (" ".join(["word"] * SEARCH_WORDS), "x" * SEARCH_LIMIT)
TOO_LONG = (" ".join(["word"] * (SEARCH_WORDS + 1)), "x" * (SEARCH_LIMIT + 1), "a " * 2_400)
LISTS = sorted(name for name, _ in portal_routes() if name.startswith("api-") and name.endswith("-list"))
PAGES = (
    *("/", "/attention/", "/audit/", "/airlines/ACME/", "/airlines/ACME/audit/"),
    *("/airlines/ACME/tails/{tail}/", "/airlines/ACME/campaigns/{campaign}/"),
)


def path_of(page: str, world: World) -> str:
    return page.format(tail=world.acme.tail.name, campaign=world.acme.campaign.name)


def get(client: Client, path: str, text: str, **more: str) -> tuple[int, str]:
    cache.clear()  # throttle counts
    answer = client.get(path, {"q": text, **more})
    return answer.status_code, answer.content.decode() if not answer.streaming else ""


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_the_api_refuses_a_long_search_with_a_problem(world: World, name: str) -> None:
    client, path = world.client("ada"), reverse(name)
    assert get(client, path, "word word")[0] == 200
    for text in TOO_LONG:
        answer = client.get(path, {"q": text})
        assert answer.status_code == 400
        assert answer.json()["type"] == "urn:problem-type:ifeportal:bad-parameter"
        assert "Use at most" in answer.json()["errors"]["q"][0]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_refuses_a_long_search_with_a_sentence(world: World, page: str) -> None:
    client, path = world.client("ada"), path_of(page, world)
    for text in ALLOWED:
        assert get(client, path, text)[0] == 200
    for text in TOO_LONG:
        status, body = get(client, path, text)
        assert (status, "Use at most" in body) == (400, True)
        assert get(client, path, text, export="csv")[0] == 400


def test_every_list_of_the_admin_refuses_a_long_search(world: World) -> None:
    client, searched = world.client("ada"), 0
    for model, its in admin.site._registry.items():
        if its.search_fields:
            searched += 1
            path = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
            assert [get(client, path, text)[0] for text in (*ALLOWED, *TOO_LONG)] == [200, 200, 400, 400, 400], path
    assert searched > 10


def test_the_choices_of_a_related_row_refuse_a_long_search(world: World) -> None:
    given = {"app_label": "ifeportal", "model_name": "membership", "field_name": "user"}
    client, path = world.client("ada"), reverse("admin:autocomplete")
    assert client.get(path, {**given, "term": "ada"}).status_code == 200
    assert client.get(path, {**given, "term": TOO_LONG[0]}).status_code == 400


def test_the_text_is_checked_without_its_blanks_and_control_characters() -> None:
    assert check_search(f"  {'x' * SEARCH_LIMIT}\0 ") == "x" * SEARCH_LIMIT
    with pytest.raises(SearchTooLong, match=r"has 11 words\. Use at most 10"):
        check_search(TOO_LONG[0])
    with pytest.raises(SearchTooLong, match=r"has 201 characters\. Use at most 200"):
        check_search(TOO_LONG[1])
