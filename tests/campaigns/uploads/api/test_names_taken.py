"""A name is taken once: by an upload under way, an item in place, or a published manifest. Quotas hold."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection
from django.utils import timezone

from campaigns.library.models import LibraryItem
from campaigns.models import Campaign, ContentItem, Draft, DraftItem, DraftState, ManifestState
from campaigns.uploads import requests
from campaigns.uploads.announcements.names import parse_file_name
from campaigns.uploads.models import Upload, UploadStatus
from campaigns.uploads.refusals import Refusal, RequestRefused
from campaigns.uploads.requests import UploadRequest, create_upload
from ifeportal.audit import Actor
from ifeportal.models import AuditEntry
from ifeportal.operations.models import Operation, OperationState
from tests.conftest import Cast
from tests.support.uploads_api import Uploader

pytestmark = pytest.mark.both_databases


def in_library(cast: Cast, name: str, size: int = 1) -> LibraryItem:
    return LibraryItem.objects.create(
        airline=cast.acme, name=name, size=size, etag="e", sha256="a" * 64, added_at=timezone.now()
    )


def put_in_place(upload: Upload) -> None:
    """Record the upload as its operation does when the object is in place."""
    key = f"ACME/{upload.campaign or '.library'}/{upload.item}.tgz"
    values = {"object_key": key, "object_etag": "e", "object_size": 9, "uploaded_at": timezone.now()}
    Upload.objects.filter(pk=upload.pk).update(status=UploadStatus.UPLOADED, **values)
    Operation.objects.filter(pk=upload.pk).update(state=OperationState.SUCCEEDED)


@pytest.mark.parametrize("name", ["film", "film.tgz", "FILM.TGZ", "Film"])
@pytest.mark.parametrize("campaign", ["", "2026-12"])
def test_a_name_under_way_is_refused_with_the_other_upload(mona: Uploader, name: str, campaign: str) -> None:
    first = mona.created(name="film.tgz", campaign=campaign)
    for replace in (False, True):
        answer = mona.create(name=name, campaign=campaign, replace=replace)
        assert (answer.status_code, answer.json()["code"]) == (409, "NAME_UNDER_WAY")
        assert answer.json()["upload"] == str(first.operation.uuid)
    assert mona.create(name=name, campaign="other").status_code == 201


def test_names_of_two_airlines_are_independent(mona: Uploader, bruno: Uploader) -> None:
    mona.created()
    bruno.created(airline="BETA")


@pytest.mark.parametrize("name", ["film.tgz", "FILM"])
def test_an_existing_name_needs_replace(cast: Cast, mona: Uploader, name: str) -> None:
    in_library(cast, "film")
    draft = Draft.objects.create(airline=cast.acme, name="2026-12")
    DraftItem.objects.create(draft=draft, name="film", size=1, etag="e")
    for number, campaign in enumerate(("", "2026-12")):
        answer = mona.create(name=name, campaign=campaign)
        assert (answer.status_code, answer.json()["code"]) == (409, "NAME_EXISTS")
        assert mona.create(name=name, campaign=campaign, replace=True).status_code == 201
        assert Upload.objects.filter(replace=True).count() == number + 1


def test_an_item_that_is_not_in_the_bucket_is_free(cast: Cast, mona: Uploader) -> None:
    draft = Draft.objects.create(airline=cast.acme, name="2026-12")
    DraftItem.objects.create(draft=draft, name="film", size=None)
    mona.created(campaign="2026-12")


@pytest.mark.parametrize("by", ["manifest", "draft", "publication"])
def test_what_a_published_manifest_names_is_never_replaced(cast: Cast, mona: Uploader, by: str) -> None:
    campaign = Campaign.objects.create(airline=cast.acme, name="2026-12", manifest_state=ManifestState.OK)
    draft = Draft.objects.create(airline=cast.acme, name="2026-12", state=DraftState.PUBLISHED)
    if by == "manifest":
        ContentItem.objects.create(campaign=campaign, name="film", size=1)
    else:
        DraftItem.objects.create(draft=draft, name="film", size=1, included=True, in_manifest=by == "draft")
    if by == "publication":
        Draft.objects.update(state=DraftState.PUBLISHING)
    for replace in (False, True):
        answer = mona.create(name="Film.tgz", campaign="2026-12", replace=replace)
        assert (answer.status_code, answer.json()["code"]) == (409, "PUBLISHED")
    Campaign.objects.update(withdrawn_at=timezone.now())
    DraftItem.objects.update(in_manifest=False)
    Draft.objects.update(state=DraftState.WITHDRAWN)
    mona.created(name="Film.tgz", campaign="2026-12", replace=True)


def test_a_campaign_is_spelled_as_it_is(cast: Cast, mona: Uploader) -> None:
    Campaign.objects.create(airline=cast.acme, name="Winter")
    answer = mona.create(campaign="winter")
    assert answer.status_code == 400
    assert answer.json()["errors"]["campaign"] == ["ACME has the campaign “Winter”. Use the same spelling."]
    mona.created(campaign="Winter")
    assert list(Draft.objects.values_list("name", "state")) == [("Winter", DraftState.SCANNING)]


def test_a_file_that_is_too_large_is_413(mona: Uploader, settings: LazySettings) -> None:
    settings.UPLOAD_MAX_SIZE = 1_000
    mona.created(size=1_000)
    answer = mona.create(name="large", size=1_001)
    assert (answer.status_code, answer.json()["code"]) == (413, "TOO_LARGE")


def test_quotas_of_bytes_and_files_under_way(mona: Uploader, bruno: Uploader, settings: LazySettings) -> None:
    settings.UPLOAD_QUOTA, settings.UPLOAD_MAX_FILES = 1_000, 2
    first = mona.created(name="a", size=600)
    answer = mona.create(name="b", size=401)
    assert (answer.status_code, answer.json()["code"]) == (409, "QUOTA")
    assert "600 B" in answer.json()["detail"]
    mona.created(name="b", size=400)
    settings.UPLOAD_QUOTA = 10**9
    answer = mona.create(name="c", size=1)
    assert (answer.status_code, answer.json()["code"]) == (409, "QUOTA")
    assert "2 unfinished uploads" in answer.json()["detail"]
    bruno.created(airline="BETA", size=1)
    mona.delete(first)
    mona.created(name="c", size=1)


def test_bytes_from_a_url_count_as_they_arrive(mona: Uploader, settings: LazySettings) -> None:
    settings.UPLOAD_QUOTA = 1_000
    upload = mona.create(size=..., source_url="https://files.example.org/a")
    Upload.objects.update(received_bytes=900)
    assert upload.status_code == 201
    assert mona.create(name="b", size=101).status_code == 409
    assert mona.create(name="b", size=100).status_code == 201


def test_the_quota_of_the_library(cast: Cast, mona: Uploader, settings: LazySettings) -> None:
    settings.LIBRARY_QUOTA = 1_000
    in_library(cast, "stored", 500)
    mona.created(name="a", size=300)
    mona.created(name="b", size=9_000, campaign="2026-12")
    answer = mona.create(name="c", size=201)
    assert (answer.status_code, answer.json()["code"]) == (409, "QUOTA")
    assert "library of ACME" in answer.json()["detail"]
    mona.created(name="c", size=200)


def test_an_upload_that_has_not_ended_is_cancelled(mona: Uploader) -> None:
    upload = mona.created()
    for _ in range(2):
        answer = mona.delete(upload)
        assert (answer.status_code, answer.json()["status"]) == (200, "deleted")
    assert Operation.objects.get().cancel_requested_at is not None
    assert mona.get(upload).json()["status"] == "deleted"
    assert AuditEntry.objects.filter(action="upload.deleted").count() == 1
    mona.created()  # before a worker has cleaned up: it can only be placed if its bytes were complete


def test_a_cancelled_upload_that_may_still_be_placed_blocks_its_name(mona: Uploader) -> None:
    upload = mona.created()
    Upload.objects.update(completed_at=timezone.now())
    mona.delete(upload)
    assert mona.create().json()["code"] == "NAME_UNDER_WAY"


def test_an_upload_in_the_library_is_deleted_with_its_object(cast: Cast, mona: Uploader) -> None:
    upload = mona.created()
    put_in_place(upload)
    in_library(cast, "film")
    for _ in range(2):
        assert mona.delete(upload).json()["status"] == "deleted"
    assert not LibraryItem.objects.exists()
    deletion = Operation.objects.get(kind="deletion")
    assert (deletion.title, deletion.checkpoint["object_key"]) == ("Delete film", "ACME/.library/film.tgz")
    answer = mona.create(name="Film")
    assert (answer.status_code, answer.json()["code"]) == (409, "NAME_UNDER_WAY")
    Operation.objects.filter(kind="deletion").update(state=OperationState.SUCCEEDED)
    mona.created(name="Film")


def test_an_upload_in_a_campaign_leaves_the_draft(cast: Cast, mona: Uploader) -> None:
    upload = mona.created(campaign="2026-12")
    put_in_place(upload)
    draft = Draft.objects.get()
    DraftItem.objects.create(draft=draft, name="film", size=9, etag="e", included=True)
    assert mona.delete(upload).status_code == 200
    assert not DraftItem.objects.exists()
    assert Operation.objects.filter(kind="deletion").exists()


def test_what_a_published_manifest_names_is_not_deleted(cast: Cast, mona: Uploader) -> None:
    upload = mona.created(campaign="2026-12")
    put_in_place(upload)
    DraftItem.objects.create(draft=Draft.objects.get(), name="film", size=9, etag="e", included=True, in_manifest=True)
    answer = mona.delete(upload)
    assert (answer.status_code, answer.json()["code"]) == (409, "PUBLISHED")
    assert mona.get(upload).json()["status"] == "uploaded"
    assert not Operation.objects.filter(kind="deletion").exists()


def test_an_object_that_a_later_upload_replaced_stays(cast: Cast, mona: Uploader) -> None:
    first = mona.created()
    put_in_place(first)
    item = in_library(cast, "film")
    second = mona.created(replace=True)
    put_in_place(second)
    Upload.objects.filter(pk=second.pk).update(uploaded_at=timezone.now() + timedelta(seconds=1))
    assert mona.delete(first).json()["status"] == "deleted"
    assert LibraryItem.objects.get() == item
    assert not Operation.objects.filter(kind="deletion").exists()


def test_the_parts_of_a_failed_upload_are_deleted_and_it_is_not_retried(mona: Uploader) -> None:
    upload = mona.created()
    Upload.objects.update(status=UploadStatus.FAILED)
    Operation.objects.update(state=OperationState.FAILED, can_retry=True)
    assert mona.delete(upload).json()["status"] == "deleted"
    assert not Operation.objects.get(pk=upload.pk).can_retry
    deletion = Operation.objects.get(kind="deletion")
    assert (deletion.checkpoint["store_upload_id"], deletion.checkpoint["object_key"]) == (upload.store_upload_id, "")
    mona.created()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.mark.django_db(transaction=True)
def test_of_uploads_of_one_name_at_the_same_time_exactly_one_is_created(
    transactional_db: None, cast: Cast, threads: ThreadPoolExecutor
) -> None:
    def create(number: int) -> Refusal | None:
        name = ("film", "FILM.tgz", "film.tgz", "Film.TGZ")[number % 4]
        wanted = UploadRequest(parse_file_name(name), 5, campaign="2026-12")
        try:
            create_upload(Actor(cast.mona, "api"), cast.acme, wanted, timezone.now())
        except RequestRefused as error:
            return error.code
        finally:
            connection.close()
        return None

    outcomes = list(threads.map(create, range(8)))
    assert outcomes.count(None) == 1
    assert outcomes.count(Refusal.NAME_UNDER_WAY) == 7
    assert Upload.objects.count() == Draft.objects.count() == 1
    assert sorted(Operation.objects.values_list("kind", flat=True)) == ["scan", "upload"]


@pytest.mark.django_db(transaction=True)
def test_uploads_at_the_same_time_do_not_exceed_a_quota(
    transactional_db: None, cast: Cast, threads: ThreadPoolExecutor, settings: LazySettings
) -> None:
    settings.UPLOAD_QUOTA = 30

    def create(number: int) -> Any:
        try:
            return create_upload(
                Actor(cast.mona, "api"), cast.acme, UploadRequest(parse_file_name(f"f{number}"), 10), timezone.now()
            )
        except RequestRefused as error:
            return error.code
        finally:
            connection.close()

    outcomes = list(threads.map(create, range(8)))
    assert outcomes.count(Refusal.QUOTA) == 5
    assert Upload.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_completing_twice_at_the_same_time_is_recorded_once(
    transactional_db: None, cast: Cast, threads: ThreadPoolExecutor
) -> None:
    actor = Actor(cast.mona, "api")
    upload = create_upload(actor, cast.acme, UploadRequest(parse_file_name("film"), 5), timezone.now())

    def complete(_: int) -> None:
        try:
            row = Upload.objects.select_related("operation__airline").get(pk=upload.pk)
            requests.record_complete(actor, row, timezone.now())
        finally:
            connection.close()

    list(threads.map(complete, range(6)))
    assert AuditEntry.objects.filter(action="upload.completed").count() == 1
