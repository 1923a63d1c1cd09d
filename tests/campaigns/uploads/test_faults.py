"""Uploads go on after the store was away, an answer was lost, or the worker was killed, at every step of the work."""

from __future__ import annotations

import hashlib
import io
import tarfile

import pytest

from campaigns.library.models import LibraryItem
from campaigns.models import Draft
from campaigns.uploads import operation as kind
from campaigns.uploads.models import Upload, UploadStatus
from campaigns.uploads.stages import copying
from campaigns.uploads.stages import work as upload_work
from ifeportal.operations.kinds import Continue, Done
from ifeportal.operations.models import Operation, OperationState
from loader.errors import Code, WorldError
from loader.s3 import part_plan
from loader.s3.memory import MemoryBucket
from loader.s3.multipart import memory
from tests.conftest import Cast
from tests.support.campaign_drafts import find_item
from tests.support.upload_work import (
    FaultyBucket,
    Killed,
    TestSlice,
    new_upload,
    noise,
    run_slice,
    send,
    tgz,
)

pytestmark = pytest.mark.django_db
PART = 50_000  # bytes; smaller than stores accept, because every fault reads all parts several times
ARCHIVE = tgz({"movie.mp4": noise(PART + PART // 5)})
FILM = noise(PART // 2)
KEY = "ACME/2026-12/movie.tgz"
LIBRARY_KEY = "ACME/.library/film.mp4.tgz"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_work, "WATCH_INTERVAL", 0.02)
    monkeypatch.setattr(copying, "SMALLEST_PART", PART)
    for module in (part_plan, memory):
        monkeypatch.setattr(module, "MIN_PART_SIZE", PART)


def away() -> WorldError:
    return WorldError(Code.NETWORK, "The store could not be reached.")


def finish(upload: Upload, media: MemoryBucket, **options: object) -> int:
    """Do slices until the end, each by a new worker after a fault. Return the number of faults."""
    faults = 0
    for _ in range(60):
        try:
            if isinstance(run_slice(upload, media, **options), Done):
                return faults
        except (WorldError, Killed):
            faults, options = faults + 1, {}
    raise AssertionError("the upload is never done")


def check_placed_once(upload: Upload, media: MemoryBucket) -> None:
    upload.refresh_from_db()
    assert upload.status == UploadStatus.UPLOADED
    (info,) = media.list()
    assert (info.key, info.size) == (upload.object_key, upload.object_size)
    body = media.open(info.key).read(info.size + 1)
    assert hashlib.sha256(body).hexdigest() == upload.object_sha256
    if upload.campaign:
        assert (info.key, body) == (KEY, ARCHIVE)
        assert find_item(Draft.objects.get(), "movie").is_hashed
    else:
        assert info.key == LIBRARY_KEY
        assert LibraryItem.objects.get().sha256 == upload.object_sha256
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            content = archive.extractfile("film.mp4")
            assert content is not None
            assert content.read() == FILM


def prepared(cast: Cast, media: MemoryBucket, *, packed: bool) -> Upload:
    name, body, campaign = ("film.mp4", FILM, "") if packed else ("movie.tgz", ARCHIVE, "2026-12")
    upload = new_upload(cast.acme, cast.mona, name, body, campaign=campaign, part_size=PART)
    send(upload, media, body)
    return upload


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("packed", [False, pytest.param(True, marks=pytest.mark.thorough)], ids=["archive", "packed"])
@pytest.mark.parametrize("error", [away, Killed])
def test_fault_at_every_call_to_the_store(cast: Cast, packed: bool, after: bool, error: type[Killed]) -> None:
    at, fired = 0, True
    while fired:
        at += 1
        Upload.objects.all().delete()
        LibraryItem.objects.all().delete()
        Draft.objects.all().delete()
        media = FaultyBucket(at, after=after, error=error)
        upload = prepared(cast, media, packed=packed)
        media.armed = True
        faults = finish(upload, media)
        media.armed = False
        fired = media.fired
        assert faults == int(fired)
        check_placed_once(upload, media)
    assert at > 12, "there are that many calls"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("packed", [False, True], ids=["archive", "packed"])
def test_kill_at_every_commit(cast: Cast, packed: bool, after: bool) -> None:
    at, faults = 0, 1
    while faults:
        at += 1
        Upload.objects.all().delete()
        LibraryItem.objects.all().delete()
        Draft.objects.all().delete()
        media = MemoryBucket()
        upload = prepared(cast, media, packed=packed)
        faults = finish(upload, media, die_at=at, after=after)
        check_placed_once(upload, media)
    assert at > 5


@pytest.mark.parametrize("packed", [False, True], ids=["archive", "packed"])
def test_cancelled_upload_leaves_nothing(cast: Cast, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """After every slice that may be cancelled: one slice does one step."""
    steps, more = 0, True
    while more:
        steps += 1
        media = MemoryBucket()
        monkeypatch.setattr(kind, "_media", lambda media=media: media)
        upload = prepared(cast, media, packed=packed)
        for _ in range(steps):
            more = isinstance(run_slice(upload, media, over=True), Continue)
        operation = Operation.objects.select_related("airline").get(pk=upload.pk)
        if not more or not kind.can_cancel(operation):
            break
        kind.clean_up(TestSlice(operation))
        kind.clean_up(TestSlice(operation))
        kind.ended(operation, OperationState.CANCELLED)
        upload.refresh_from_db()
        assert upload.status == UploadStatus.DELETED
        assert list(media.list()) == []
        assert list(media.list_uploads()) == []
    assert steps >= 2


def test_part_in_flight_while_the_upload_is_cancelled(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    media = MemoryBucket()
    monkeypatch.setattr(kind, "_media", lambda: media)
    upload = new_upload(cast.acme, cast.mona, body=ARCHIVE, part_size=PART)
    send(upload, media, ARCHIVE, complete=False)
    stored = media.uploads[upload.store_upload_id]
    resume, aborts = media.resume_upload, []

    def resume_and_revive(key: str, upload_id: str, **options: object) -> object:
        """Let the part that is in flight bring the upload back after the first abort, as some stores do."""
        multipart = resume(key, upload_id)
        abort = multipart.abort

        def abort_and_revive() -> None:
            abort()
            aborts.append(1)
            if len(aborts) == 1:
                media.uploads[upload_id] = stored

        multipart.abort = abort_and_revive  # type: ignore[method-assign]
        return multipart

    monkeypatch.setattr(media, "resume_upload", resume_and_revive)
    operation = Operation.objects.select_related("airline").get(pk=upload.pk)
    kind.clean_up(TestSlice(operation))
    assert len(aborts) == 2
    assert list(media.list_uploads()) == []


def test_status_after_the_end(cast: Cast) -> None:
    upload = new_upload(cast.acme, cast.mona, body=ARCHIVE, part_size=PART)
    operation = Operation.objects.get(pk=upload.pk)
    for state, status in ((OperationState.FAILED, "failed"), (OperationState.EXPIRED, "failed")):
        kind.ended(operation, state)
        upload.refresh_from_db()
        assert kind.status(Operation.objects.get(pk=upload.pk)) == upload.status == status
        kind.restart(operation)
        upload.refresh_from_db()
        assert upload.status == UploadStatus.PENDING
