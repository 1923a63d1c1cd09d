"""An upload with the real runner of operations: the API's rows, slices, the end, cancel and retry."""

from __future__ import annotations

import hashlib
import logging
from datetime import timedelta

import pytest
from django.utils import timezone

from campaigns.models import Draft
from campaigns.uploads import deletion
from campaigns.uploads import operation as kind
from campaigns.uploads.announcements.names import parse_file_name
from campaigns.uploads.models import Upload, UploadStatus
from campaigns.uploads.requests import UploadRequest, create_upload, delete_upload, record_complete
from campaigns.uploads.stages import checking
from campaigns.uploads.stages.work import UploadWork
from ifeportal.audit import Actor
from ifeportal.models import Airline, AuditEntry
from ifeportal.operations import requests as operations
from ifeportal.operations.models import Operation, OperationState
from loader.s3.memory import MemoryBucket
from tests.conftest import Cast
from tests.support.operations import do_all
from tests.support.upload_work import noise, send, tgz

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
ARCHIVE = tgz({"movie.mp4": noise(300_000)})
KEY = "ACME/2026-12/movie.tgz"


@pytest.fixture
def media(monkeypatch: pytest.MonkeyPatch) -> MemoryBucket:
    media = MemoryBucket()
    for module in (kind, deletion):
        monkeypatch.setattr(module, "_media", lambda: media)
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


def test_an_upload_that_is_not_continued_expires_and_leaves_nothing(cast: Cast, media: MemoryBucket) -> None:
    upload = create(cast, ARCHIVE)
    send(upload, media, ARCHIVE, complete=False)
    media.put(upload.incoming_key, b"bytes")
    Operation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    operation = run(upload)
    assert (operation.state, operation.error_code, upload.status) == ("expired", "EXPIRED", UploadStatus.FAILED)
    assert operation.error == "The operation was not continued before it expired."
    assert [*media.list(), *media.list_uploads()] == []

    operations.retry(operation, Actor.job(cast.mona))
    operation.refresh_from_db()
    assert operation.expires_at is not None
    assert operation.expires_at > timezone.now()
    send(upload, media, ARCHIVE, complete=False)
    record_complete(Actor.job(cast.mona), upload, timezone.now())
    assert run(upload).state == OperationState.SUCCEEDED
    assert [info.key for info in media.list()] == [KEY]


def test_parts_that_arrive_postpone_the_expiry_until_the_upload_is_complete(cast: Cast, media: MemoryBucket) -> None:
    upload = create(cast, ARCHIVE)
    before = timezone.now() + timedelta(days=1)
    Upload.objects.update(touched_at=timezone.now() - timedelta(days=6))
    Operation.objects.update(expires_at=before, next_try_at=timezone.now())
    send(upload, media, ARCHIVE, complete=False)
    do_all()
    operation = Operation.objects.get(kind="upload")
    assert operation.expires_at is not None
    assert operation.expires_at > before
    assert operation.next_try_at is not None
    assert operation.next_try_at > timezone.now()

    record_complete(Actor.job(cast.mona), upload, timezone.now())
    assert Operation.objects.get(kind="upload").expires_at is None, "the portal has to act now, not the client"
    do_all()
    operation = Operation.objects.get(kind="upload")
    assert operation.state == OperationState.SUCCEEDED, "due at once"
    operations.wake(operation)
    record_complete(Actor.job(cast.mona), upload, timezone.now())
    assert do_all() == 0


def test_an_upload_whose_part_is_lost_may_expire_again(cast: Cast, media: MemoryBucket) -> None:
    upload = create(cast, ARCHIVE)
    record_complete(Actor.job(cast.mona), upload, timezone.now())
    do_all()
    operation = Operation.objects.get(kind="upload")
    assert "missing in the object store" in operation.waiting_for
    assert operation.expires_at is not None


def test_the_audit_log_has_one_entry_for_each_act(cast: Cast, media: MemoryBucket) -> None:
    upload = create(cast, ARCHIVE)
    send(upload, media, ARCHIVE, complete=False)
    record_complete(Actor.job(cast.mona), upload, timezone.now())
    run(upload)
    delete_upload(Actor.job(cast.mona), upload, timezone.now())
    do_all()
    entries = AuditEntry.objects.filter(target__contains="movie").order_by("pk")
    assert list(entries.values_list("action", "target")) == [
        ("upload.created", "ACME/2026-12/movie"),
        ("upload.completed", "ACME/2026-12/movie"),
        ("operation.upload.succeeded", "ACME/2026-12/movie"),
        ("upload.deleted", "ACME/2026-12/movie"),
        ("operation.deletion.succeeded", "Delete movie"),
    ]


def test_an_upload_whose_draft_was_deleted_gets_another(cast: Cast, media: MemoryBucket) -> None:
    upload = create(cast, ARCHIVE)
    send(upload, media, ARCHIVE, complete=False)
    Draft.objects.all().delete()
    record_complete(Actor.job(cast.mona), upload, timezone.now())
    assert run(upload).state == OperationState.SUCCEEDED
    assert list(Draft.objects.get().items.values_list("name", flat=True)) == ["movie"]


def test_an_airline_that_is_deleted_during_a_slice_ends_it(
    cast: Cast, media: MemoryBucket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    upload = create(cast, ARCHIVE)
    send(upload, media, ARCHIVE, complete=False)
    record_complete(Actor.job(cast.mona), upload, timezone.now())
    check = checking.check

    def check_without_airline(work: UploadWork) -> None:
        Airline.objects.filter(pk=cast.acme.pk).delete()
        check(work)

    monkeypatch.setattr(checking, "check", check_without_airline)
    with caplog.at_level(logging.WARNING):
        do_all()
    assert not Operation.objects.exists()
    assert not Upload.objects.exists()
    [warning] = [record for record in caplog.records if "stopped" in record.getMessage()]
    assert warning.levelname == "WARNING"
    assert "or it was deleted" in caplog.text
