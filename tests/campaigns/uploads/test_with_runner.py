"""An upload with the real runner of operations: the API's rows, slices, the end, cancel and retry."""

from __future__ import annotations

import hashlib

import pytest
from django.utils import timezone

from campaigns.models import Draft
from campaigns.uploads import operation as kind
from campaigns.uploads.announcements.names import parse_file_name
from campaigns.uploads.models import Upload, UploadStatus
from campaigns.uploads.requests import UploadRequest, create_upload, delete_upload, record_complete
from ifeportal.audit import Actor
from ifeportal.operations import requests as operations
from ifeportal.operations.models import Operation, OperationState
from loader.s3.memory import MemoryBucket
from tests.conftest import Cast
from tests.support.operations import do_all
from tests.support.upload_work import noise, send, tgz

pytestmark = [pytest.mark.django_db]
ARCHIVE = tgz({"movie.mp4": noise(300_000)})
KEY = "ACME/2026-12/movie.tgz"


@pytest.fixture
def media(monkeypatch: pytest.MonkeyPatch) -> MemoryBucket:
    media = MemoryBucket()
    monkeypatch.setattr(kind, "_media", lambda: media)
    return media


def create(cast: Cast, body: bytes) -> Upload:
    wanted = UploadRequest(parse_file_name("movie.tgz"), len(body), "2026-12")
    upload = create_upload(Actor.job(cast.mona), cast.acme, wanted, timezone.now())
    Draft.objects.update(state="editing")
    return upload


def run(upload: Upload) -> Operation:
    """Do what is due, waits included."""
    for _ in range(20):
        operation = Operation.objects.get(pk=upload.pk)
        if not operation.is_open:
            break
        Operation.objects.filter(pk=upload.pk, state=OperationState.WAITING).update(next_try_at=timezone.now())
        do_all()
    upload.refresh_from_db()
    return Operation.objects.get(pk=upload.pk)


def test_upload_is_placed(cast: Cast, media: MemoryBucket) -> None:
    upload = create(cast, ARCHIVE)
    Operation.objects.update(next_try_at=timezone.now())
    do_all()
    operation = Operation.objects.get(pk=upload.pk)
    assert (operation.state, operation.waiting_for) == ("waiting", "Waiting for the client to send the file.")
    send(upload, media, ARCHIVE, complete=False)
    record_complete(Actor.job(cast.mona), upload, timezone.now())
    operation = run(upload)
    assert (operation.state, operation.error) == (OperationState.SUCCEEDED, "")
    assert (upload.status, upload.object_sha256) == ("uploaded", hashlib.sha256(ARCHIVE).hexdigest())
    assert [info.key for info in media.list()] == [KEY]


def test_cancelled_upload_leaves_nothing(cast: Cast, media: MemoryBucket) -> None:
    upload = create(cast, ARCHIVE)
    send(upload, media, ARCHIVE, complete=False)
    delete_upload(Actor.job(cast.mona), upload, timezone.now())
    operation = run(upload)
    assert (operation.state, upload.status) == (OperationState.CANCELLED, UploadStatus.DELETED)
    assert list(media.list_uploads()) == []


def test_failed_upload_is_retried_from_where_it_failed(cast: Cast, media: MemoryBucket) -> None:
    media.put(KEY, b"other")
    upload = create(cast, ARCHIVE)
    send(upload, media, ARCHIVE, complete=False)
    record_complete(Actor.job(cast.mona), upload, timezone.now())
    operation = run(upload)
    assert (operation.state, operation.error_code, operation.can_retry) == ("failed", "OBJECT_CHANGED", True)
    assert upload.status == UploadStatus.FAILED
    media.delete(KEY)
    operations.retry(operation, Actor.job(cast.mona))
    upload.refresh_from_db()
    assert upload.status == UploadStatus.LOADING
    assert run(upload).state == OperationState.SUCCEEDED
    assert upload.status == UploadStatus.UPLOADED
