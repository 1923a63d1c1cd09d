"""Pages of the library: the list, its files, one item, editing, deleting, and the choice of items for a campaign."""

from __future__ import annotations

import json
import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from campaigns.library.models import LibraryItem
from campaigns.models import Draft
from ifeportal.models import AuditEntry
from ifeportal.operations.models import Operation
from loader.s3.memory import MemoryBucket
from tests.conftest import Cast
from tests.support.campaign_drafts import create_hashed_draft
from tests.support.html import page_html, page_text
from tests.support.library import copy_items, new_item

pytestmark = pytest.mark.django_db
PAGE = "/library/"
HOSTILE = "<script>alert('hm')</script>\"><img src=x onerror=alert(1)>"


def shown(client: Client, query: str = "") -> list[str]:
    """Return the names on the page."""
    cells = re.findall(r'<th role="rowheader"[^>]*>(.*?)<div', page_html(client.get(f"{PAGE}{query}")))
    return [re.sub("<[^>]+>", "", cell) for cell in cells]


@pytest.fixture
def draft(cast: Cast) -> Draft:
    return create_hashed_draft(cast.acme, MemoryBucket(), {"film": b"film", "map": b"old map"})


def test_a_member_sees_the_items_of_their_airlines_with_their_campaigns(
    cast: Cast, client: Client, draft: Draft
) -> None:
    new_item(cast.acme, "film", b"film", title=HOSTILE, kind=HOSTILE, added_by=cast.mona)
    new_item(cast.beta, "theirs")
    client.force_login(cast.alice)
    html = page_html(client.get(PAGE))
    assert HOSTILE not in html
    assert "theirs" not in html
    text = page_text(client.get(PAGE))
    for part in ("film", "4 B", "by mona", "2026-12 draft", "SHA-256"):
        assert part in text
    assert "Edit" not in text
    assert 'href="/library/" aria-current="page"' in html
    client.force_login(cast.nick)
    assert shown(client) == []
    assert "Library" not in page_text(client.get("/"))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["b", "a", "film"]),
        ("?sort=name", ["a", "b", "film"]),
        ("?sort=-size", ["b", "film", "a"]),
        ("?q=FIL", ["film"]),
        ("?kind=map", ["b"]),
        ("?used=yes", ["film"]),
        ("?used=no", ["b", "a"]),
        ("?used=nonsense&airline=ACME", ["b", "a", "film"]),
        ("?airline=BETA", []),
    ],
)
def test_the_list_is_filtered_and_sorted(
    cast: Cast, client: Client, draft: Draft, query: str, expected: list[str]
) -> None:
    new_item(cast.acme, "film", b"film")
    new_item(cast.acme, "a", b"a")
    new_item(cast.acme, "b", b"more than these", kind="map")
    client.force_login(cast.alice)
    assert shown(client, query) == expected


def test_the_queries_and_the_files_do_not_depend_on_the_number_of_rows(
    cast: Cast, client: Client, draft: Draft
) -> None:
    client.force_login(cast.mona)
    counts = []
    for numbers in (range(3), range(3, 40)):
        for n in numbers:
            new_item(cast.acme, f"film {n}", added_by=cast.mona)
        with CaptureQueriesContext(connection) as queries:
            client.get(PAGE)
        counts.append(len(queries))
    assert counts[0] == counts[1]
    new_item(cast.acme, "film", b"film")
    rows = json.loads(b"".join(client.get(f"{PAGE}?export=json&q=film&sort=name").streaming_content))["rows"]  # type: ignore[attr-defined]
    assert len(rows) == 41
    assert (rows[0]["name"], rows[0]["used_in"]) == ("film", "2026-12")
    csv = b"".join(client.get(f"{PAGE}?export=csv").streaming_content).decode()  # type: ignore[attr-defined]
    assert "id,name,airline,title,kind,size,sha256,crc32,added_at,added_by,used_in" in csv


def test_empty_pages_say_how_content_gets_there(cast: Cast, client: Client, draft: Draft) -> None:
    client.force_login(cast.mona)
    assert "Upload files to the library" in page_text(client.get(PAGE))
    assert "No matching items" in page_text(client.get(f"{PAGE}?q=x"))
    assert "The library is empty" in page_text(client.get("/library/add/ACME/2026-12/"))
    client.force_login(cast.alice)
    assert "Managers of your airline upload files" in page_text(client.get(PAGE))


def test_managers_edit_in_place_and_come_back_to_the_same_page(cast: Cast, client: Client) -> None:
    item = new_item(cast.acme, "film", title="Old")
    client.force_login(cast.mona)
    assert "Edit" in page_text(client.get(PAGE))
    answer = client.post(f"{PAGE}{item.pk}/", {"title": "New", "kind": "movie", "query": "sort=name&evil=1"})
    assert (answer.status_code, answer["Location"]) == (302, "/library/?sort=name")
    item.refresh_from_db()
    assert (item.title, item.kind) == ("New", "movie")
    assert "film is saved." in page_text(client.get(PAGE))
    assert client.post(f"{PAGE}{item.pk}/", {"title": "a\x01b"}, follow=True).redirect_chain == [
        (f"{PAGE}{item.pk}/", 302)
    ]
    assert AuditEntry.objects.filter(action="library.changed").count() == 1
    text = page_text(client.get(f"{PAGE}{item.pk}/"))
    assert item.sha256 in text
    client.force_login(cast.alice)
    assert client.post(f"{PAGE}{item.pk}/", {"title": "No"}).status_code == 403
    assert "Save" not in page_text(client.get(f"{PAGE}{item.pk}/"))


def test_deleting_asks_first_with_what_it_affects(cast: Cast, client: Client, draft: Draft) -> None:
    item = new_item(cast.acme, "film", b"film")
    client.force_login(cast.mona)
    text = page_text(client.get(f"{PAGE}{item.pk}/delete/"))
    assert "1 campaign uses it. Each has its own copy" in text
    assert LibraryItem.objects.exists()
    assert client.post(f"{PAGE}{item.pk}/delete/")["Location"] == PAGE
    assert not LibraryItem.objects.exists()
    assert Operation.objects.filter(kind="deletion").count() == 1
    assert client.post(f"{PAGE}{item.pk}/delete/").status_code == 404


def test_the_picker_shows_what_is_in_the_campaign_and_adds_the_rest(cast: Cast, client: Client, draft: Draft) -> None:
    film, map, new, coming = (
        new_item(cast.acme, name, name.encode(), title=HOSTILE) for name in ("film", "map", "new", "coming")
    )
    theirs = new_item(cast.beta, "theirs")
    copy_items(draft, cast.mona, coming)
    address = "/library/add/ACME/2026-12/"
    client.force_login(cast.mona)
    html = page_html(client.get(address))
    assert HOSTILE not in html
    states = dict(re.findall(r'name="item" value="(\d+)" data-size="\d+"( disabled)?', html))
    assert states == {str(film.pk): " disabled", str(map.pk): " disabled", str(new.pk): "", str(coming.pk): " disabled"}
    text = page_text(client.get(address))
    for part in ("In this campaign", "Another file of this name", "Being added", "Add coming from the library"):
        assert part in text
    chosen = [film.pk, new.pk, theirs.pk, "x", "9" * 30]
    answer = client.post(address, {"item": chosen, "query": "sort=name"})
    assert answer["Location"] == f"{address}?sort=name"
    assert "Adding 1 item to 2026-12." in page_text(client.get(address))
    assert Operation.objects.first().checkpoint["items"] == [[new.pk, "new"]]  # type: ignore[union-attr]
    client.post(address, {})
    assert "Select at least one item." in page_text(client.get(address))
    assert f'href="{address}"' in page_html(client.get(f"/admin/campaigns/draft/{draft.pk}/change/"))


def test_only_managers_of_the_airline_add_to_its_campaigns(cast: Cast, client: Client, draft: Draft) -> None:
    address = "/library/add/ACME/2026-12/"
    for user, status in ((cast.alice, 403), (cast.otto, 403), (cast.bruno, 404)):
        client.force_login(user)
        assert client.get(address).status_code == client.post(address).status_code == status
    client.force_login(cast.mona)
    assert client.get("/library/add/ACME/unknown/").status_code == 404
