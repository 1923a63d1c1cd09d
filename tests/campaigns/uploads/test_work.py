"""The worker's side of an upload: receive, complete, check, pack, place, record."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import threading
import zlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from campaigns.library.models import LibraryItem
from campaigns.models import Draft, DraftState
from campaigns.uploads.archives import walk as archive_walk
from campaigns.uploads.models import Upload, UploadPart, UploadStatus
from campaigns.uploads.stages import work as upload_work
from campaigns.uploads.stages.receiving import next_pause
from ifeportal.operations.kinds import Continue, Done
from ifeportal.operations.models import Operation
from loader.errors import Code
from loader.s3.memory import MemoryBucket
from tests.conftest import Cast
from tests.support.campaign_drafts import create_hashed_draft, find_item, publish_draft, read_manifest
from tests.support.upload_work import (
    MIB,
    NOON,
    PART,
    fail,
    new_upload,
    noise,
    run_slice,
    run_to_end,
    send,
    tgz,
    wait_for_client,
)

pytestmark = pytest.mark.django_db
KEY = "ACME/2026-12/movie.tgz"
ARCHIVE = tgz({"movie.mp4": noise(11 * MIB)})


@pytest.fixture
def media() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture(autouse=True)
def quick_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_work, "WATCH_INTERVAL", 0.02)


def stored(media: MemoryBucket) -> dict[str, bytes]:
    """Return every object of the bucket."""
    return {info.key: media.open(info.key).read(info.size + 1) for info in media.list()}


def test_parts_arrive_and_become_an_item_of_the_draft(cast: Cast, media: MemoryBucket) -> None:
    draft = Draft.objects.create(airline=cast.acme, name="2026-12")
    upload = new_upload(cast.acme, cast.mona, body=ARCHIVE, title="The Movie", kind="movie")
    wait = wait_for_client(upload, media)
    assert (wait.seconds, wait.reason) == (3.0, "Waiting for the client to send the file.")
    upload.refresh_from_db()
    assert (upload.status, upload.received_bytes) == (UploadStatus.PENDING, 0)

    send(upload, media, ARCHIVE[:PART], complete=False)
    assert wait_for_client(upload, media).reason == "", "parts arrive"
    upload.refresh_from_db()
    assert (upload.status, upload.received_bytes) == (UploadStatus.LOADING, PART)
    Upload.objects.filter(pk=upload.pk).update(touched_at=NOON - timedelta(minutes=2))
    assert wait_for_client(upload, media).reason == "Waiting for the client to send the file."

    send(upload, media, ARCHIVE, complete=False)
    assert wait_for_client(upload, media).reason == "Waiting for the client to complete the upload."
    Upload.objects.filter(pk=upload.pk).update(completed_at=upload.touched_at)
    run_to_end(upload, media)

    assert stored(media) == {KEY: ARCHIVE}
    digest, crc = hashlib.sha256(ARCHIVE).hexdigest(), f"{zlib.crc32(ARCHIVE):08x}"
    assert upload.status == UploadStatus.UPLOADED
    assert upload.uploaded_at is not None
    assert (upload.object_key, upload.object_size) == (KEY, len(ARCHIVE))
    assert (upload.object_sha256, upload.object_crc32) == (digest, crc)
    item = find_item(draft, "movie")
    assert (item.included, item.is_hashed, item.sha256, item.size) == (True, True, digest, len(ARCHIVE))
    assert (item.title, item.kind) == ("The Movie", "movie")


def test_item_of_an_upload_is_published(cast: Cast, media: MemoryBucket) -> None:
    draft = create_hashed_draft(cast.acme, media, {"first": b"1"})
    upload = new_upload(cast.acme, cast.mona, body=ARCHIVE)
    send(upload, media, ARCHIVE)
    run_to_end(upload, media)
    draft.refresh_from_db()
    assert draft.state == DraftState.READY
    assert publish_draft(draft, media).state == DraftState.PUBLISHED
    assert [item.name for item in read_manifest(draft, media).content] == ["first", "movie"]


def test_upload_without_campaign_is_in_the_library(cast: Cast, media: MemoryBucket) -> None:
    upload = new_upload(cast.acme, cast.mona, body=ARCHIVE, campaign="", title="The Movie")
    send(upload, media, ARCHIVE)
    run_to_end(upload, media)
    item = LibraryItem.objects.get()
    assert stored(media) == {"ACME/.library/movie.tgz": ARCHIVE}
    assert (item.name, item.title, item.size, item.added_by) == ("movie", "The Movie", len(ARCHIVE), cast.mona)
    assert (item.sha256, item.etag) == (hashlib.sha256(ARCHIVE).hexdigest(), upload.object_etag)


@pytest.mark.parametrize("body", [b"", b"x", noise(MIB + 1), b"text " * 5 * MIB], ids=["0", "1", "noise", "text"])
def test_other_file_is_packed(cast: Cast, media: MemoryBucket, body: bytes, tmp_path: Path) -> None:
    upload = new_upload(cast.acme, cast.mona, "Safety vidéo.mp4", body, campaign="", part_size=32 * MIB)
    send(upload, media, body)
    run_to_end(upload, media)
    packed = stored(media).pop("ACME/.library/Safety vidéo.mp4.tgz")
    assert (upload.object_sha256, upload.object_size) == (hashlib.sha256(packed).hexdigest(), len(packed))
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        (member,) = archive
        content = archive.extractfile(member)
        assert content is not None
        assert (member.name, content.read()) == ("Safety vidéo.mp4", body)
    (tmp_path / "packed.tgz").write_bytes(packed)
    subprocess.run(["tar", "xzf", "packed.tgz"], cwd=tmp_path, check=True)
    assert (tmp_path / "Safety vidéo.mp4").read_bytes() == body
    assert len(packed) < 1.001 * len(body) + 2000
    if body.startswith(b"text"):
        assert len(packed) < len(body) / 50


def test_packing_of_a_large_file_resumes_at_each_part(cast: Cast, media: MemoryBucket, tmp_path: Path) -> None:
    body = noise(40 * MIB)
    upload = new_upload(cast.acme, cast.mona, "film.mp4", body, campaign="", part_size=64 * MIB)
    send(upload, media, body)
    parts = []
    for _ in range(20):
        result = run_slice(upload, media, over=True)
        checkpoint = Operation.objects.get(pk=upload.pk).checkpoint
        parts.append((checkpoint.get("pack") or {}).get("parts"))
        if isinstance(result, Done):
            break
    assert isinstance(result, Done)
    assert {1, 2} <= set(parts)
    (tmp_path / "packed.tgz").write_bytes(stored(media)["ACME/.library/film.mp4.tgz"])
    subprocess.run(["tar", "xzf", "packed.tgz"], cwd=tmp_path, check=True)
    assert (tmp_path / "film.mp4").read_bytes() == body


def test_hash_resumes_after_each_slice(cast: Cast, media: MemoryBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = new_upload(cast.acme, cast.mona, body=ARCHIVE)
    send(upload, media, ARCHIVE)
    opened: list[int] = []
    looked = threading.Event()
    slow = media.open

    def open_slowly(key: str, **options: Any) -> Any:
        """Return a body that ends its first read only after the worker has looked whether the slice is over."""
        body = slow(key, **options)
        if key == upload.incoming_key and "start" in options and options.get("end") is None and "if_match" in options:
            opened.append(options["start"])
            read = body.readinto
            body.readinto = lambda buffer: looked.wait(20) and read(buffer)  # type: ignore[method-assign]
        return body

    monkeypatch.setattr(media, "open", open_slowly)
    for _ in range(100):
        looked.clear()
        if isinstance(run_slice(upload, media, over=True, looked=looked), Done):
            break
    upload.refresh_from_db()
    assert upload.object_sha256 == hashlib.sha256(ARCHIVE).hexdigest()
    assert upload.object_crc32 == f"{zlib.crc32(ARCHIVE):08x}"
    assert len(opened) > 2
    assert opened == sorted(set(opened)), "each slice continues where the last ended"


def test_pause_grows_with_the_idle_time() -> None:
    assert [next_pause(idle) for idle in (-5, 0, 29, 100, 10_000)] == [3, 3, 3, 10, 60]


def test_missing_part_is_named_and_awaited(cast: Cast, media: MemoryBucket) -> None:
    upload = new_upload(cast.acme, cast.mona, body=ARCHIVE)
    send(upload, media, ARCHIVE)
    multipart = media.uploads[upload.store_upload_id]
    part = multipart.parts.pop(2)
    wait = wait_for_client(upload, media)
    assert wait.reason == "Part 2 is missing in the object store. Send the rest, then complete the upload."
    upload.refresh_from_db()
    assert upload.completed_at is None
    multipart.parts[2] = part
    Upload.objects.filter(pk=upload.pk).update(completed_at=upload.touched_at)
    run_to_end(upload, media)
    assert stored(media) == {KEY: ARCHIVE}


@pytest.mark.parametrize("size", [len(ARCHIVE) - 1, len(ARCHIVE) + 1])
def test_size_that_was_announced_wrongly_fails(cast: Cast, media: MemoryBucket, size: int) -> None:
    upload = new_upload(cast.acme, cast.mona, body=ARCHIVE, size=size)
    send(upload, media, ARCHIVE)
    error = fail(upload, media)
    assert error.failure.code == Code.SIZE_MISMATCH
    assert str(error) == f"The file has {len(ARCHIVE):,} bytes, but {size:,} bytes were announced."
    assert not error.can_retry
    assert stored(media) == {}


def test_part_with_another_sum_fails(cast: Cast, media: MemoryBucket) -> None:
    """A client that did not announce sums for the store sends one for the worker."""
    upload = new_upload(cast.acme, cast.mona, body=ARCHIVE, first_part_sha256="")
    send(upload, media, ARCHIVE)
    right = UploadPart.objects.get(upload=upload, number=2).sha256
    UploadPart.objects.filter(upload=upload, number=2).update(sha256="A" * 43 + "=")
    error = fail(upload, media)
    assert str(error) == "Part 2 does not have the SHA-256 that was announced for it."
    assert (error.failure.code, error.can_retry) == (Code.HASH_MISMATCH, True)
    assert KEY not in stored(media)
    UploadPart.objects.filter(upload=upload, number=2).update(sha256=right)
    run_to_end(upload, media)
    assert stored(media) == {KEY: ARCHIVE}


def test_other_sha256_than_announced_fails(cast: Cast, media: MemoryBucket) -> None:
    upload = new_upload(cast.acme, cast.mona, body=ARCHIVE, sha256="0" * 64)
    send(upload, media, ARCHIVE)
    error = fail(upload, media)
    assert (error.failure.code, error.can_retry) == (Code.HASH_MISMATCH, False)
    assert KEY not in stored(media)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "it is empty"),
        (b"<html>", "it is not compressed with gzip"),
        (ARCHIVE[:12], "it ends within the first file header"),
        (b"\x1f\x8b\x08" + b"\xff" * 600, "its gzip data is damaged"),
        (zlib.compress(b"text " * 1000, wbits=31), "it does not contain a tar archive"),
    ],
    ids=["empty", "not gzip", "truncated", "damaged", "not tar"],
)
def test_wrong_archive_fails_without_reading_it_all(cast: Cast, media: MemoryBucket, body: bytes, reason: str) -> None:
    upload = new_upload(cast.acme, cast.mona, body=body)
    send(upload, media, body)
    assert str(fail(upload, media)) == f"movie.tgz is not a .tgz: {reason}."


FREE_EXPANSION = 20 * MIB  # instead of a gigabyte, which takes seconds to unpack


def bomb() -> bytes:
    """Return an archive of a few kilobytes with one file of zeros, twice as long as the tests allow."""
    header = tarfile.TarInfo("a")
    header.size = 2 * FREE_EXPANSION
    return zlib.compress(header.tobuf() + bytes(header.size), wbits=31)


WALKS: dict[str, tuple[Callable[[], bytes], str]] = {
    "whole": (lambda: tgz({"a": b"1" * 2000, "b" * 300: b"2"}), ""),
    "no files": (lambda: tgz({}), ""),
    "truncated": (lambda: tgz({"a": noise(MIB)})[:-2000], "it is truncated"),
    "damaged": (lambda: tgz({"a": noise(MIB)})[:-8] + bytes(8), "its gzip data is damaged"),
    "bomb": (bomb, "its content expands beyond every plausible size"),
    "second header": (
        lambda: zlib.compress(tarfile.TarInfo("a").tobuf() + b"x" * 512 + bytes(1024), wbits=31),
        "its tar archive is damaged or truncated",
    ),
}


@pytest.mark.parametrize("case", WALKS)
def test_archive_is_unpacked_to_its_end_if_the_airline_wants_it(
    cast: Cast, media: MemoryBucket, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert archive_walk.FREE_EXPANSION == 1024 * MIB
    monkeypatch.setattr(archive_walk, "FREE_EXPANSION", FREE_EXPANSION)
    cast.acme.verify_archives = True
    cast.acme.save()
    make, reason = WALKS[case]
    body = make()
    upload = new_upload(cast.acme, cast.mona, body=body)
    send(upload, media, body)
    if reason:
        assert str(fail(upload, media)) == f"movie.tgz is not a .tgz: {reason}."
        assert KEY not in stored(media)
    else:
        run_to_end(upload, media)
        assert stored(media) == {KEY: body}


def test_existing_object_is_not_overwritten(cast: Cast, media: MemoryBucket) -> None:
    media.put(KEY, b"other")
    upload = new_upload(cast.acme, cast.mona, body=ARCHIVE)
    send(upload, media, ARCHIVE)
    error = fail(upload, media)
    assert str(error) == f"The object {KEY} already exists. Nothing was overwritten."
    assert (error.failure.code, error.can_retry) == (Code.OBJECT_CHANGED, True)
    assert media.open(KEY).read() == b"other"
    media.delete(KEY)
    run_to_end(upload, media)
    assert stored(media) == {KEY: ARCHIVE}


def test_object_that_appears_while_it_is_copied_is_not_overwritten(
    cast: Cast, media: MemoryBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = new_upload(cast.acme, cast.mona, body=ARCHIVE)
    send(upload, media, ARCHIVE)
    begin = media.begin_upload

    def begin_and_put(key: str, **options: Any) -> Any:
        if key == KEY:
            media.put(KEY, b"x" * len(ARCHIVE))
        return begin(key, **options)

    monkeypatch.setattr(media, "begin_upload", begin_and_put)
    assert "already exists" in str(fail(upload, media))
    assert stored(media)[KEY] == b"x" * len(ARCHIVE)


def test_replaced_object_is_the_one_that_was_seen(cast: Cast, media: MemoryBucket) -> None:
    draft = create_hashed_draft(cast.acme, media, {"movie": b"old"})
    upload = new_upload(cast.acme, cast.mona, body=ARCHIVE, replace=True)
    send(upload, media, ARCHIVE)
    run_to_end(upload, media)
    assert stored(media) == {KEY: ARCHIVE}
    assert find_item(draft, "movie").sha256 == upload.object_sha256
    assert draft.items.count() == 1


def test_what_a_published_manifest_names_is_not_replaced(cast: Cast, media: MemoryBucket) -> None:
    publish_draft(create_hashed_draft(cast.acme, media, {"movie": b"old"}), media)
    upload = new_upload(cast.acme, cast.mona, body=ARCHIVE, replace=True)
    send(upload, media, ARCHIVE)
    error = fail(upload, media)
    assert str(error) == "The published manifest of 2026-12 names movie. Nothing was overwritten."
    assert media.open(KEY).read() == b"old"


def test_object_that_a_manifest_names_can_be_uploaded_again(cast: Cast, media: MemoryBucket) -> None:
    publish_draft(create_hashed_draft(cast.acme, media, {"movie": ARCHIVE}), media)
    media.delete(KEY)
    upload = new_upload(cast.acme, cast.mona, body=ARCHIVE)
    send(upload, media, ARCHIVE)
    run_to_end(upload, media)
    assert media.open(KEY).size == len(ARCHIVE)


@pytest.mark.parametrize("state", [DraftState.SCANNING, DraftState.PUBLISHING])
def test_item_waits_for_a_job_on_the_draft(cast: Cast, media: MemoryBucket, state: DraftState) -> None:
    draft = Draft.objects.create(airline=cast.acme, name="2026-12", state=state)
    upload = new_upload(cast.acme, cast.mona, body=ARCHIVE)
    send(upload, media, ARCHIVE)
    assert "Waiting until the job" in wait_for_client(upload, media).reason
    assert not draft.items.exists()
    Draft.objects.update(state=DraftState.EDITING)
    run_to_end(upload, media)
    assert find_item(draft, "movie").is_hashed


def test_missing_draft_is_created_and_scanned(cast: Cast, media: MemoryBucket) -> None:
    upload = new_upload(cast.acme, cast.mona, body=ARCHIVE)
    send(upload, media, ARCHIVE)
    run_to_end(upload, media)
    draft = Draft.objects.get()
    assert (draft.name, draft.state, draft.operation and draft.operation.user) == (
        "2026-12",
        DraftState.SCANNING,
        cast.mona,
    )
    assert find_item(draft, "movie").included


def test_lost_parts_are_said_and_a_retry_begins_again(cast: Cast, media: MemoryBucket) -> None:
    upload = new_upload(cast.acme, cast.mona, body=ARCHIVE)
    send(upload, media, ARCHIVE)
    media.uploads.clear()
    error = fail(upload, media)
    assert (str(error), error.can_retry) == ("The object store no longer has the parts of this upload.", True)
    wait_for_client(upload, media)
    send(upload, media, ARCHIVE)
    run_to_end(upload, media)
    assert stored(media) == {KEY: ARCHIVE}


def test_slice_that_is_over_continues(cast: Cast, media: MemoryBucket) -> None:
    upload = new_upload(cast.acme, cast.mona, body=ARCHIVE)
    send(upload, media, ARCHIVE)
    assert isinstance(run_slice(upload, media, over=True), Continue)
    run_to_end(upload, media, over=True)
    assert stored(media) == {KEY: ARCHIVE}


@pytest.mark.parametrize("campaign", ["", "2026-12"])
def test_name_that_differs_from_an_item_in_case_only_fails(cast: Cast, media: MemoryBucket, campaign: str) -> None:
    for name, replace in (("movie.tgz", False), ("Movie.tgz", True)):
        upload = new_upload(cast.acme, cast.mona, name, ARCHIVE, campaign=campaign, replace=replace)
        send(upload, media, ARCHIVE)
        if replace:
            error = fail(upload, media)
        else:
            run_to_end(upload, media)
    assert (error.failure.code, error.can_retry) == (Code.BAD_NAME, True)
    assert "whose name differs from Movie in case only" in str(error)
    assert upload.object_key == ""
