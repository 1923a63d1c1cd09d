"""The stages of an upload on a real store: what it says of parts, ETags, conditions and copies is not simulated."""

from __future__ import annotations

import hashlib

import pytest

from campaigns.uploads.models import UploadStatus
from campaigns.uploads.stages import copying
from loader.s3.client import S3Bucket
from tests.conftest import Cast
from tests.support.bucket_pool import FreshBuckets
from tests.support.campaign_drafts import create_hashed_draft, find_item, publish_draft, read_manifest
from tests.support.upload_work import MIB, fail, new_upload, noise, run_to_end, send, tgz

pytestmark = [pytest.mark.django_db]
ARCHIVE = tgz({"movie.mp4": noise(11 * MIB)})
FILM = noise(17 * MIB)


@pytest.fixture
def media(fresh_buckets: FreshBuckets, monkeypatch: pytest.MonkeyPatch) -> S3Bucket:
    monkeypatch.setattr(copying, "SMALLEST_PART", 5 * MIB)
    return fresh_buckets.take()


def digest(media: S3Bucket, key: str) -> str:
    found, body = hashlib.sha256(), media.open(key)
    with body:
        while block := body.read():
            found.update(block)
    return found.hexdigest()


def test_uploads_of_every_kind(cast: Cast, media: S3Bucket) -> None:
    draft = create_hashed_draft(cast.acme, media, {"old": b"old"})
    announced = hashlib.sha256(ARCHIVE).hexdigest().upper()
    cast.acme.verify_archives = True
    cast.acme.save()
    for name, body, columns in (
        ("movie.tgz", ARCHIVE, {"sha256": announced}),
        ("old.tgz", ARCHIVE, {"replace": True}),
        ("film.mp4", FILM, {"part_size": 32 * MIB}),
        ("unannounced.tgz", ARCHIVE, {"first_part_sha256": ""}),
        ("empty.txt", b"", {}),
    ):
        upload = new_upload(cast.acme, cast.mona, name, body, **columns)
        send(upload, media, body)
        run_to_end(upload, media)
        assert upload.status == UploadStatus.UPLOADED
        assert digest(media, upload.object_key) == upload.object_sha256
        assert find_item(draft, upload.item).is_hashed
    assert upload.object_key == "ACME/2026-12/empty.txt.tgz"
    assert list(media.list("ACME/.incoming/")) == []
    assert list(media.list_uploads()) == []

    draft.refresh_from_db()
    publish_draft(draft, media)
    manifest = read_manifest(draft, media)
    assert {item.name: item.sha256 for item in manifest.content}["old"] == announced.lower()

    other = tgz({"movie.mp4": b"other"})
    upload = new_upload(cast.acme, cast.mona, "movie.tgz", other, replace=True)
    send(upload, media, other)
    assert "published manifest" in str(fail(upload, media))
    assert digest(media, "ACME/2026-12/movie.tgz") == announced.lower()


def test_existing_object_is_not_overwritten(cast: Cast, media: S3Bucket) -> None:
    media.put("ACME/.library/movie.tgz", b"other")
    upload = new_upload(cast.acme, cast.mona, body=ARCHIVE, campaign="")
    send(upload, media, ARCHIVE)
    assert "already exists" in str(fail(upload, media))
    assert digest(media, "ACME/.library/movie.tgz") == hashlib.sha256(b"other").hexdigest()
