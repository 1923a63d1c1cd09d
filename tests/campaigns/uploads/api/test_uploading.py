"""A manager announces a file, gets its parts signed, and completes it; others cannot."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from campaigns.models import Draft
from campaigns.uploads import requests
from campaigns.uploads.models import Upload, UploadPart, UploadStatus
from ifeportal.accounts.tokens import create_token
from ifeportal.models import Airline, AuditEntry
from ifeportal.operations.models import Operation, OperationState
from tests.conftest import Cast
from tests.support.api_fleet import ClientOf
from tests.support.uploads_api import PART, UPLOADS, StoreOfUploads, Uploader, address

pytestmark = pytest.mark.both_databases
SUM = base64.b64encode(b"s" * 32).decode()
WHOLE = {1: PART, 2: PART, 3: PART, 4: 5}


def program(cast: Cast, *, may_write: bool, airline: Airline | None = None) -> Uploader:
    """Return a client with a token of Mona."""
    client = APIClient()
    _, key = create_token(cast.mona, "program", days=1, airline=airline, may_write=may_write)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    return Uploader(client)


def test_an_upload_from_the_first_call_to_the_last(mona: Uploader, store: StoreOfUploads) -> None:
    upload = mona.created(campaign="2026-12")
    assert (upload.part_size, upload.parts_total) == (PART, 4)
    assert list(store.uploads) == [upload.store_upload_id]
    assert upload.incoming_key == f"ACME/.incoming/{upload.operation.uuid}/data"
    assert Draft.objects.get().name == "2026-12"
    assert mona.get(upload, "parts/").json() == {"part_size": PART, "parts": []}

    signed = mona.sign(upload, 1, 4)
    assert signed.status_code == 200
    assert signed["Cache-Control"] == "no-store"
    assert [(part["number"], part["method"]) for part in signed.json()["parts"]] == [(1, "PUT"), (4, "PUT")]
    store.claim_parts(upload, {1: PART, 4: 5})
    assert mona.get(upload, "parts/").json()["parts"][1] == {"number": 4, "size": 5, "etag": "0" * 32}

    refused = mona.complete(upload)
    assert (refused.status_code, refused.json()["code"], refused.json()["missing"]) == (409, "PARTS_MISSING", [2, 3])
    store.claim_parts(upload, WHOLE)
    for _ in range(2):
        done = mona.complete(upload)
        assert (done.status_code, done.json()["status"], done.json()["id"]) == (
            202,
            "loading",
            str(upload.operation.uuid),
        )
        assert done.json()["bytes_done"] == done.json()["bytes_total"], "all bytes have arrived"
    assert mona.sign(upload, 1).json()["code"] == "ENDED"
    assert list(AuditEntry.objects.order_by("pk").values_list("action", "via", "who")) == [
        ("draft.added", "api", "mona"),
        ("upload.created", "api", "mona"),
        ("upload.completed", "api", "mona"),
    ]


@pytest.mark.parametrize("size", [1, PART, PART + 1, 5 * 2**40])
def test_files_of_any_size_are_announced(mona: Uploader, size: int) -> None:
    upload = mona.created(size=size)
    answer = mona.sign(upload, upload.parts_total)
    assert answer.status_code == 200
    assert (
        int(answer.json()["parts"][0]["headers"]["Content-Length"])
        == size - (upload.parts_total - 1) * upload.part_size
    )


def test_a_part_of_another_length_is_missing(mona: Uploader, store: StoreOfUploads) -> None:
    upload = mona.created()
    store.claim_parts(upload, {**WHOLE, 2: PART - 1, 4: 6})
    assert mona.complete(upload).json()["missing"] == [2, 4]


def test_announced_sums_are_stored_and_a_later_one_replaces_them(mona: Uploader) -> None:
    upload = mona.created()
    body = {"parts": [{"number": 1, "sha256": SUM}, {"number": 2}]}
    assert mona.client.post(address(upload, "parts/"), body).status_code == 200
    assert dict(UploadPart.objects.values_list("number", "sha256")) == {1: SUM, 2: ""}
    assert mona.sign(upload, 1).status_code == 200
    assert dict(UploadPart.objects.values_list("number", "sha256")) == {1: "", 2: ""}


WRONG_PARTS: list[tuple[dict[str, Any], str]] = [
    ({"parts": [{"number": 0}]}, "parts"),
    ({"parts": [{"number": 5}]}, "parts"),
    ({"parts": [{"number": 10_001}]}, "parts"),
    ({"parts": [{"number": -1}]}, "parts"),
    ({"parts": [{"number": True}]}, "parts"),
    ({"parts": [{"number": "1"}]}, "parts"),
    ({"parts": [{"number": 1}, {"number": 1}]}, "parts"),
    ({"parts": [{"number": 1, "sha256": "short"}]}, "parts"),
    ({"parts": [{"number": 1, "sha256": base64.b64encode(b"x" * 31).decode()}]}, "parts"),
    ({"parts": [{"number": 1, "sha256": "a" * 64}]}, "parts"),
    ({"parts": [{"number": 1, "sha256": 7}]}, "parts"),
    ({"parts": []}, "parts"),
    ({"parts": {"number": 1}}, "parts"),
    ({"parts": [7]}, "parts"),
    ({"parts": [{"number": n} for n in range(1, 1_002)]}, "parts"),
    ({}, "parts"),
    ({"parts": [{"number": 1}], "valid_for": "13 hours"}, "valid_for"),
    ({"parts": [{"number": 1}], "valid_for": "soon"}, "valid_for"),
]


def test_parts_that_do_not_fit_are_refused(mona: Uploader) -> None:
    upload = mona.created()
    for body, field in WRONG_PARTS:
        answer = mona.client.post(address(upload, "parts/"), body)
        assert answer.status_code == 400, body
        assert list(answer.json()["errors"]) == [field], body
    assert not UploadPart.objects.exists()


def test_a_part_beyond_the_last_is_named(mona: Uploader) -> None:
    assert "There is no part 5. The upload has parts 1 to 4." in mona.sign(mona.created(), 5).json()["detail"]


def test_signatures_last_as_long_as_requested(mona: Uploader) -> None:
    upload = mona.created()
    for body, seconds in (({}, 900), ({"valid_for": "12 hours"}, 43_200)):
        [part] = mona.sign(upload, 1, **body).json()["parts"]
        until = datetime.fromisoformat(part["expires_at"]) - timezone.now()
        assert timedelta(seconds=seconds - 120) < until <= timedelta(seconds=seconds + 1)


def test_sums_are_signed_only_of_an_upload_that_announced_them(mona: Uploader) -> None:
    """A store rejects the sum of a part unless the upload was begun with checksums, and then wants that of each."""
    body = {"parts": [{"number": 1, "sha256": SUM}]}
    plain, checked = mona.created(), mona.created(name="checked", first_part_sha256=SUM)
    for upload, signed in ((plain, None), (checked, SUM)):
        [part] = mona.client.post(address(upload, "parts/"), body).json()["parts"]
        headers = {name.lower(): value for name, value in part["headers"].items()}
        assert headers.get("x-amz-checksum-sha256") == signed
    answer = mona.sign(checked, 2)
    assert (answer.status_code, list(answer.json()["errors"])) == (400, ["parts"])
    assert "Part 2: send its sha256" in answer.json()["detail"]


@pytest.mark.parametrize("by_token", [True, False])
def test_signing_costs_four_statements_and_no_request_to_the_store(
    cast: Cast, mona: Uploader, store: StoreOfUploads, by_token: bool
) -> None:
    upload = mona.created()
    uploader = program(cast, may_write=True) if by_token else mona
    uploader.sign(upload, 1)
    sent = (store.requests.put, store.requests.list, store.requests.get)
    store.is_away = True
    with CaptureQueriesContext(
        connection,
    ) as statements:
        answer = uploader.client.post(address(upload, "parts/"), {"parts": [{"number": 2, "sha256": SUM}]})
    assert answer.status_code == 200
    assert len(statements) <= 4, [each["sql"] for each in statements]
    assert (store.requests.put, store.requests.list, store.requests.get) == sent


def test_signing_postpones_the_expiry(mona: Uploader, settings: LazySettings) -> None:
    upload = mona.created()
    before = timezone.now() - timedelta(days=3)
    Upload.objects.update(touched_at=before)
    Operation.objects.update(expires_at=before + timedelta(days=7))
    mona.sign(upload, 1)
    upload.refresh_from_db()
    assert upload.touched_at
    assert upload.touched_at > before
    expires_at = Operation.objects.get().expires_at
    assert expires_at
    left = expires_at - timezone.now()
    assert timedelta(days=6, hours=23) < left <= timedelta(days=7)


def test_an_expired_upload_is_refused_even_before_a_worker_ends_it(mona: Uploader) -> None:
    upload = mona.created()
    Operation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    for answer in (mona.sign(upload, 1), mona.complete(upload)):
        assert (answer.status_code, answer.json()["code"]) == (409, "ENDED")
        assert "expired" in answer.json()["detail"]


@pytest.mark.parametrize("status", [UploadStatus.UPLOADED, UploadStatus.FAILED, UploadStatus.DELETED])
def test_an_upload_that_ended_takes_no_more_parts(mona: Uploader, status: UploadStatus) -> None:
    upload = mona.created()
    Upload.objects.update(status=status)
    Operation.objects.update(state=OperationState.SUCCEEDED)
    for answer in (mona.sign(upload, 1), mona.complete(upload)):
        assert (answer.status_code, answer.json()["code"]) == (409, "ENDED")
        assert status in answer.json()["detail"]
    assert mona.get(upload, "parts/").json()["parts"] == []


def test_while_the_store_is_away_the_upload_waits(mona: Uploader, store: StoreOfUploads) -> None:
    store.is_away = True
    upload = mona.created()
    assert upload.store_upload_id == ""
    answer = mona.sign(upload, 1)
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert "The object store has not accepted the upload yet." in answer.json()["detail"]
    assert mona.complete(upload).json()["missing"] == [1, 2, 3, 4]
    store.is_away = False
    assert requests.begin(upload, store.begin_upload(upload.incoming_key).upload_id)
    assert mona.sign(upload, 1).status_code == 200
    store.is_away = True
    for answer in (mona.get(upload, "parts/"), mona.complete(upload)):
        assert (answer.status_code, answer["Retry-After"]) == (503, "5")
        assert answer.json()["detail"] == "The object store is not responding. Try again in a few seconds."
    upload.refresh_from_db()
    assert upload.completed_at is None


def test_a_second_multipart_upload_is_aborted(mona: Uploader, store: StoreOfUploads) -> None:
    upload = mona.created()
    assert not requests.begin(upload, "another")
    assert upload.store_upload_id in store.uploads


def test_an_upload_that_the_store_lost_is_refused_with_what_to_do(mona: Uploader, store: StoreOfUploads) -> None:
    upload = mona.created()
    store.uploads.clear()
    answer = mona.complete(upload)
    assert (answer.status_code, answer.json()["code"]) == (409, "ENDED")
    assert "start a new one" in answer.json()["detail"]


def test_a_file_from_a_url_has_no_parts(mona: Uploader, store: StoreOfUploads) -> None:
    answer = mona.create(size=..., source_url="https://files.example.org/film.tgz?signature=s3cret")
    row = answer.json()
    assert (answer.status_code, row["stage"], row["bytes_total"], row["part_size"]) == (201, "fetching", None, None)
    assert row["source_url"] == "https://files.example.org/film.tgz"
    assert "s3cret" not in answer.content.decode()
    upload = Upload.objects.select_related("operation").get()
    assert upload.source_url.endswith("s3cret")
    assert upload.operation.state == OperationState.QUEUED
    assert not store.uploads
    for refused in (mona.sign(upload, 1), mona.complete(upload), mona.get(upload, "parts/")):
        assert (refused.status_code, refused.json()["code"]) == (409, "FROM_URL")


def test_viewers_see_managers_upload_strangers_see_nothing(
    cast: Cast, client_of: ClientOf, mona: Uploader, store: StoreOfUploads
) -> None:
    upload = mona.created()
    for user, read, write in (
        (cast.alice, 200, 403),
        (cast.otto, 200, 403),
        (cast.bob, 404, 404),
        (cast.bruno, 404, 404),
        (cast.nick, 404, 404),
        (cast.olga, 200, 200),
    ):
        other = Uploader(client_of(user))
        assert other.get(upload).status_code == read, user
        assert other.get(upload, "parts/").status_code == read, user
        assert other.sign(upload, 1).status_code == write, user
        expected = {200: 409}.get(write, write)
        assert other.complete(upload).status_code == expected, user
        assert other.create(name="other.tgz").status_code == {200: 201}.get(write, write), user
        if write != 200:
            assert other.delete(upload).status_code == write, user


def test_a_read_only_token_and_one_of_another_airline_upload_nothing(cast: Cast, mona: Uploader) -> None:
    upload = mona.created()
    reader = program(cast, may_write=False)
    assert reader.get(upload).status_code == 200
    for answer in (reader.create(name="b"), reader.sign(upload, 1), reader.complete(upload), reader.delete(upload)):
        assert answer.status_code == 403
    UploadPart.objects.all().delete()
    stranger = APIClient()
    _, key = create_token(cast.olga, "beta only", days=1, airline=cast.beta, may_write=True)
    stranger.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
    for answer in (Uploader(stranger).get(upload), Uploader(stranger).sign(upload, 1), Uploader(stranger).create()):
        assert answer.status_code == 404


def test_without_signing_in_there_is_nothing(cast: Cast, mona: Uploader) -> None:
    upload = mona.created()
    anonymous = Uploader(APIClient())
    for answer in (anonymous.create(), anonymous.get(upload), anonymous.sign(upload, 1), anonymous.delete(upload)):
        assert answer.status_code == 401


@pytest.mark.parametrize(
    "id", ["x", "1", "00000000-0000-0000-0000-00000000000G", "ffffffff-ffff-ffff-ffff-ffffffffffff"]
)
def test_an_unknown_id_is_404(mona: Uploader, id: str) -> None:
    for path in ("", "parts/"):
        assert mona.client.get(f"{UPLOADS}{id}/{path}").status_code == 404
    assert mona.client.post(f"{UPLOADS}{id}/complete/").status_code == 404


def test_the_list_is_filtered_searched_ordered_and_paged(
    cast: Cast, client_of: ClientOf, mona: Uploader, store: StoreOfUploads
) -> None:
    olga = Uploader(client_of(cast.olga))
    mona.created(name="alpha.tgz", size=3)
    mona.created(name="beta.tgz", size=1, campaign="2026-12", title="The sea")
    olga.created(name="gamma.tgz", size=2)
    olga.created(name="foreign.tgz", airline="BETA")

    def listed(query: str, who: Uploader = mona) -> list[str]:
        answer = who.client.get(f"{UPLOADS}?{query}")
        assert answer.status_code == 200, answer.content
        return [row["item"] for row in answer.json()["results"]]

    assert listed("") == ["gamma", "beta", "alpha"]
    assert listed("ordering=size") == ["beta", "gamma", "alpha"]
    assert listed("mine=true") == ["beta", "alpha"]
    assert listed("mine=false") == ["gamma"]
    assert listed("campaign=2026-12") == ["beta"]
    assert listed("q=sea") == ["beta"]
    assert listed("airline=BETA") == []
    assert listed("airline=BETA", olga) == ["foreign"]
    Upload.objects.filter(item="alpha").update(status=UploadStatus.UPLOADED)
    assert listed("status=uploaded") == ["alpha"]
    assert listed("status=uploaded&status=pending&ordering=name&page_size=2&page=2") == ["gamma"]
    assert listed("paging=cursor&page_size=2") == ["gamma", "beta"]
    assert mona.client.get(f"{UPLOADS}?status=lost").status_code == 400


def test_a_list_costs_the_same_for_any_number_of_uploads(mona: Uploader) -> None:
    mona.created(name="first")
    with CaptureQueriesContext(connection) as one:
        mona.client.get(UPLOADS)
    for number in range(5):
        mona.created(name=f"film-{number}")
    with CaptureQueriesContext(connection) as six:
        assert len(mona.client.get(UPLOADS).json()["results"]) == 6
    assert len(six) == len(one)
