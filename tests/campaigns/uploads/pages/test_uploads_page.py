"""The uploads page: rows, filters, files, empty states, its forms, and where the element that sends files is shown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from campaigns.models import Draft
from campaigns.uploads.models import Upload, UploadStatus
from ifeportal.models import Airline, User
from ifeportal.operations.models import Operation
from tests.conftest import Cast
from tests.support.html import page_html, page_text
from tests.support.operation_rows import create_operation

pytestmark = pytest.mark.django_db
PAGE = "/uploads/"
HOSTILE = "<script>alert('hm')</script>\"><img src=x>.mp4"
ELEMENT = "<file-uploads"


def create_upload(airline: Airline, user: User | None = None, **columns: Any) -> Upload:
    """Create an upload with its operation; by default one that is at 40%."""
    of_operation = {name: columns.pop(name) for name in ("state", "error_code", "error", "advice") if name in columns}
    name = columns.setdefault("name", "film.mp4")
    operation = create_operation(airline, user, kind="upload", title=name, stage="receiving", **of_operation)
    values = {"item": name, "size": operation.bytes_total, "status": UploadStatus.LOADING, "part_size": 2**24}
    return Upload.objects.create(operation=operation, **(values | columns))


def answers(client: Client, name: str, upload: Upload) -> int:
    return int(client.post(reverse(name, args=[upload.operation.uuid])).status_code)


def test_a_row_shows_the_file_where_it_goes_its_progress_and_who_sends_it(cast: Cast, client: Client) -> None:
    create_upload(cast.acme, cast.mona, campaign="2026-12", name="Film <1>.mp4")
    client.force_login(cast.alice)
    text = page_text(client.get(PAGE))
    for part in ("Film <1>.mp4", "ACME · 2026-12", "loading", "receiving", "40%", "41.9 MB", "104 MB", "by mona"):
        assert part in text


def test_a_failed_row_shows_its_error_and_what_to_do(cast: Cast, client: Client) -> None:
    create_upload(cast.acme, state="failed", error_code="BAD_ARCHIVE", error="No gzip file.", advice="Pack it again.")
    client.force_login(cast.alice)
    assert "BAD_ARCHIVE No gzip file. Pack it again." in page_text(client.get(PAGE))


def test_names_from_outside_are_text(cast: Cast, client: Client) -> None:
    create_upload(cast.acme, name=HOSTILE, state="failed", error=HOSTILE, source_url="https://x.example/?<b>=1")
    client.force_login(cast.mona)
    html = page_html(client.get(PAGE))
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert "?<b>" not in html


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"a.mp4", "b.mp4"}),
        ("?state=failed", {"b.mp4"}),
        ("?state=nonsense", {"a.mp4", "b.mp4"}),
        ("?mine=1", {"a.mp4"}),
        ("?q=b.mp", {"b.mp4"}),
        ("?airline=BETA", set()),
    ],
)
def test_the_list_can_be_filtered(cast: Cast, client: Client, query: str, expected: set[str]) -> None:
    create_upload(cast.acme, cast.mona, name="a.mp4")
    create_upload(cast.acme, cast.otto, name="b.mp4", status=UploadStatus.FAILED)
    create_upload(cast.beta, cast.bruno, name="theirs.mp4")
    client.force_login(cast.mona)
    html = page_html(client.get(f"{PAGE}{query}"))
    assert {name for name in ("a.mp4", "b.mp4", "theirs.mp4") if f">{name}<" in html} == expected


def test_the_list_can_be_exported(cast: Cast, client: Client) -> None:
    create_upload(cast.acme, cast.mona, name="a.mp4", sha256="ab" * 32)
    client.force_login(cast.alice)
    rows = json.loads(b"".join(client.get(f"{PAGE}?export=json").streaming_content))  # type: ignore[attr-defined]
    found = rows if isinstance(rows, list) else rows["rows"]
    assert found[0]["name"] == "a.mp4"
    assert found[0]["sha256"] == "ab" * 32


def test_the_number_of_queries_does_not_grow_with_the_rows(cast: Cast, client: Client) -> None:
    client.force_login(cast.mona)
    counts = []
    for number in range(2):
        for each in range(3):
            create_upload(cast.acme, cast.mona, name=f"{number}-{each}.mp4")
        client.get(PAGE)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            client.get(PAGE)
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_managers_choose_files_and_viewers_read_who_may(cast: Cast, client: Client) -> None:
    Draft.objects.create(airline=cast.acme, name="2026-12")
    Draft.objects.create(airline=cast.beta, name="theirs")
    client.force_login(cast.mona)
    html = page_html(client.get(PAGE))
    assert ELEMENT in html
    assert 'value="ACME/"' in html
    assert 'value="ACME/2026-12"' in html
    assert "theirs" not in html
    assert ">Uploads</a>" in html
    client.force_login(cast.alice)
    page = client.get(PAGE)
    assert ELEMENT not in page_html(page)
    assert "Managers of your airline upload content here." in page_text(page)


def test_a_file_is_fetched_from_a_url_without_javascript(cast: Cast, client: Client) -> None:
    Draft.objects.create(airline=cast.acme, name="2026-12")
    client.force_login(cast.mona)
    fields = {"source_url": "https://content.example/films/a%20film.mp4?key=secret", "destination": "ACME/2026-12"}
    page = client.post(f"{PAGE}from-url/", fields, follow=True)
    upload = Upload.objects.get()
    assert (upload.name, upload.campaign, upload.size) == ("a film.mp4", "2026-12", None)
    assert "The portal fetches a film.mp4." in page_text(page)
    assert "secret" not in page_html(page)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"source_url": "http://content.example/a.mp4"}, "starts with https://"),
        ({"source_url": ""}, "required"),
        ({"source_url": "https://content.example/"}, "Enter a file name."),
        ({"source_url": "https://content.example/a.mp4", "name": "a/b"}, "Enter a file name."),
    ],
)
def test_a_url_that_cannot_be_fetched_is_refused_with_a_sentence(
    cast: Cast, client: Client, fields: dict[str, str], sentence: str
) -> None:
    client.force_login(cast.mona)
    page = client.post(f"{PAGE}from-url/", {"destination": "ACME/", **fields}, follow=True)
    assert sentence in page_text(page)
    assert not Upload.objects.exists()


def test_only_managers_fetch_from_a_url(cast: Cast, client: Client) -> None:
    fields = {"source_url": "https://content.example/a.mp4", "destination": "ACME/"}
    for user, status in ((cast.alice, 403), (cast.bruno, 404)):
        client.force_login(user)
        assert client.post(f"{PAGE}from-url/", fields).status_code == status
    assert not Upload.objects.exists()


def test_only_managers_delete_and_retry(cast: Cast, client: Client) -> None:
    upload = create_upload(cast.acme, cast.mona)
    for user, status in ((cast.alice, 403), (cast.otto, 403), (cast.bruno, 404)):
        client.force_login(user)
        assert [answers(client, name, upload) for name in ("upload-delete", "upload-retry")] == [status] * 2
    client.force_login(cast.mona)
    page = client.post(reverse("upload-delete", args=[upload.operation.uuid]), follow=True)
    assert "film.mp4 is being deleted." in page_text(page)
    assert Upload.objects.get().status == UploadStatus.DELETED


def test_a_retry_that_is_rejected_says_why(cast: Cast, client: Client) -> None:
    upload = create_upload(cast.acme, cast.mona, status=UploadStatus.UPLOADED, state="succeeded")
    client.force_login(cast.mona)
    page = client.post(reverse("upload-retry", args=[upload.operation.uuid]), {"query": "mine=1"}, follow=True)
    assert page.redirect_chain == [("/uploads/?mine=1", 302)]
    assert 'class="note bad"' in page_html(page)
    assert Operation.objects.get().state == "succeeded"


def test_the_page_of_a_draft_sends_files_to_its_campaign(cast: Cast, client: Client) -> None:
    draft = Draft.objects.create(airline=cast.acme, name="2026-12")
    client.force_login(cast.mona)
    html = page_html(client.get(f"/admin/campaigns/draft/{draft.pk}/change/"))
    assert 'data-airline="ACME" data-campaign="2026-12"' in html
    assert 'data-panel="destination"' not in html
