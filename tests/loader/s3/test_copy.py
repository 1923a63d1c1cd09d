"""Copies inside the store: of any size, pinned to one version of the source, never over an object by accident."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from loader.errors import WorldError
from loader.s3.client import S3Bucket
from loader.s3.interface import Bucket
from loader.s3.memory import MemoryBucket
from loader.s3.multipart.copying import copy_object
from loader.s3.part_plan import MIN_PART_SIZE
from tests.loader.s3.test_upload import NAMESPACE, PART, begun, completed, content_of, failed, head
from tests.support.scripted_store import Reply, ScriptedStore

SOURCE = "ACME/.incoming/Über den Wolken+1 %41/data"
KEY = "ACME/2026-12/Über den Wolken+1.tgz"


def md5(body: bytes) -> str:
    return hashlib.md5(body).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 1_000_000])
def test_an_object_of_any_size_is_copied(bucket: Bucket, size: int) -> None:
    body, copied = PART[:size], list[int]()
    source = bucket.put(SOURCE, body)
    etag = bucket.copy(SOURCE, KEY, size=size, if_match=source, progress=copied.append)
    assert content_of(bucket, KEY) == content_of(bucket, SOURCE) == body
    assert {info.key: info.etag for info in bucket.list()} == {SOURCE: source, KEY: etag}
    assert sum(copied) == size
    assert list(bucket.list_uploads()) == []


@pytest.mark.parametrize("name", ["media", "moto_bucket"])
def test_a_large_object_is_copied_in_parts(name: str, request: pytest.FixtureRequest) -> None:
    bucket: S3Bucket = request.getfixturevalue(name)
    upload = bucket.begin_upload(SOURCE)
    body = PART + PART[:100]
    source = upload.complete([upload.put_part(1, PART), upload.put_part(2, PART[:100])])
    copied: list[int] = []
    etag = copy_object(
        bucket.transport, SOURCE, KEY, size=len(body), if_match=source, progress=copied.append, part_size=MIN_PART_SIZE
    )
    assert content_of(bucket, KEY) == body
    assert sorted(copied) == [100, MIN_PART_SIZE]
    assert {info.etag for info in bucket.list(KEY)} == {etag}


def test_parts_of_other_objects_make_one(bucket: Bucket) -> None:
    source = bucket.put(SOURCE, b"0123456789")
    bucket.put("large", PART)
    upload = bucket.begin_upload(KEY)
    parts = [
        upload.copy_part(1, "large"),
        upload.copy_part(2, SOURCE, start=2, end=6, if_match=source),
    ]
    assert [part.size for part in parts] == [len(PART), 4]
    upload.complete(parts)
    assert content_of(bucket, KEY) == PART + b"2345"


@pytest.mark.parametrize(("size", "if_match"), [(10, md5(b"other")), (9, None), (11, None)])
def test_only_the_source_that_was_seen_is_copied(bucket: Bucket, size: int, if_match: str | None) -> None:
    bucket.put(SOURCE, b"0123456789")
    with pytest.raises(WorldError) as error:
        bucket.copy(SOURCE, KEY, size=size, if_match=if_match)
    assert error.value.code == "OBJECT_CHANGED"
    assert bucket.get(KEY, 1) is None
    assert list(bucket.list_uploads()) == []


def test_a_source_that_changes_in_the_middle_is_not_mixed(media: S3Bucket) -> None:
    etag = media.put(SOURCE, b"0123456789")
    upload = media.begin_upload(KEY)
    media.put(SOURCE, b"abcdefghij")
    for end in (None, 5):
        with pytest.raises(WorldError) as error:
            upload.copy_part(1, SOURCE, end=end, if_match=etag)
        assert error.value.code == "OBJECT_CHANGED"
    with pytest.raises(WorldError) as error:
        upload.copy_part(1, SOURCE, start=5, end=11)
    assert error.value.code == "OBJECT_CHANGED"


def test_a_source_that_does_not_exist_is_gone(bucket: Bucket) -> None:
    with pytest.raises(WorldError) as error:
        bucket.copy(SOURCE, KEY, size=1)
    assert error.value.code == "OBJECT_GONE"


@pytest.mark.parametrize("body", [b"", b"new"])
def test_a_copy_may_insist_on_a_new_key(media: S3Bucket, memory_media: MemoryBucket, body: bytes) -> None:
    # Not on moto, which ignores conditions.
    for bucket in (media, memory_media):
        bucket.put(SOURCE, body)
        bucket.copy(SOURCE, KEY, size=len(body), if_none_match=True)
        with pytest.raises(WorldError) as error:
            bucket.copy(SOURCE, KEY, size=len(body), if_none_match=True)
        assert error.value.code == "OBJECT_CHANGED"
        assert content_of(bucket, KEY) == body
        assert list(bucket.list_uploads()) == []


# Failing stores.


def sized(etag: str, size: int) -> Reply:
    return Reply(200, b"", {"ETag": f'"{etag}"'}, lie=size)


def part(etag: str) -> Reply:
    return Reply(200, f"<CopyPartResult {NAMESPACE}><ETag>&quot;{etag}&quot;</ETag></CopyPartResult>".encode())


def requests(store: ScriptedStore) -> list[str]:
    return [asked.method for asked in store.asked]


def test_a_part_that_fails_for_now_is_copied_again(store: ScriptedStore, scripted: S3Bucket) -> None:
    copy = part(md5(b"1"))
    store.answers(
        sized("e", 1),
        begun(),
        sized("e", 1),
        failed("SlowDown", 503),
        failed("InternalError"),
        copy,
        completed("made-1"),
    )
    assert scripted.copy("s", "k", size=1) == "made-1"
    assert requests(store) == ["HEAD", "POST", "HEAD", "PUT", "PUT", "PUT", "POST"]
    assert store.asked[3].headers["x-amz-copy-source-if-match"] == '"e"'
    assert store.asked[3].headers["x-amz-copy-source"] == "/b/s"


@pytest.mark.parametrize("code", ["AccessDenied", "PreconditionFailed"])
def test_after_a_failure_the_upload_is_aborted(store: ScriptedStore, scripted: S3Bucket, code: str) -> None:
    status = {"AccessDenied": 403, "PreconditionFailed": 412}[code]
    store.answers(sized("e", 1), begun(), sized("e", 1), failed(code, status), Reply(204))
    with pytest.raises(WorldError):
        scripted.copy("s", "k", size=1)
    assert requests(store) == ["HEAD", "POST", "HEAD", "PUT", "DELETE"]


def test_a_lost_answer_is_settled_although_the_parts_do_not_tell_the_etag(
    store: ScriptedStore, scripted: S3Bucket
) -> None:
    lost: Any = Reply(200, b"", lie=100)
    store.answers(
        sized("e-2", 1),
        begun(),
        sized("e-2", 1),
        part("e-2"),
        lost,
        failed("PreconditionFailed", 412),
        sized("made-1", 1),
        failed("NoSuchUpload", 404),
    )
    assert scripted.copy("s", "k", size=1, if_none_match=True) == "made-1"


def test_the_object_of_another_is_not_taken_for_the_copy(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(sized("e-2", 1), begun(), sized("e-2", 1), part("e-2"), failed("PreconditionFailed", 412), Reply(204))
    with pytest.raises(WorldError) as error:
        scripted.copy("s", "k", size=1, if_none_match=True)
    assert error.value.code == "OBJECT_CHANGED"
    assert head("x").status == 200
