"""Multipart uploads: atomic, resumable from another process, correct when a response is lost."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC
from pathlib import Path

import pytest

from ifeportal.embedded.seaweedfs import SeaweedFS
from loader.errors import WorldError
from loader.s3.client import S3Bucket
from loader.s3.errors import PartsRefused, UploadGone
from loader.s3.http.payload import FileSlice
from loader.s3.interface import Bucket, UploadedPart
from loader.s3.memory import MemoryBucket
from loader.s3.multipart.unfinished import list_uploads
from loader.s3.part_plan import MIN_PART_SIZE, PART_SIZE, multipart_etag
from tests.support.aircraft import ROOT
from tests.support.scripted_store import Reply, ScriptedStore

KEY = "ACME/2026-12/Über den Wolken+1.tgz"
PART = bytes(range(256)) * (MIN_PART_SIZE // 256)
NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def md5(body: bytes) -> str:
    return hashlib.md5(body).hexdigest()


def content_of(bucket: Bucket, key: str = KEY) -> bytes:
    found = bytearray()
    with bucket.open(key) as body:
        while block := body.read():
            found += block
    return bytes(found)


# Every bucket.


def test_parts_sent_in_any_order_make_the_object(bucket: Bucket) -> None:
    upload = bucket.begin_upload(KEY)
    last = upload.put_part(7, b"the end")
    first = upload.put_part(2, PART)
    assert (first, last) == (UploadedPart(2, md5(PART), len(PART)), UploadedPart(7, md5(b"the end"), 7))
    assert bucket.get(KEY, 1) is None
    assert upload.list_parts() == [first, last]
    etag = upload.complete([first, last])
    assert etag == multipart_etag([first.etag, last.etag])
    assert content_of(bucket) == PART + b"the end"
    assert [(info.key, info.etag) for info in bucket.list()] == [(KEY, etag)]


def test_an_upload_goes_on_where_it_was_left(bucket: Bucket) -> None:
    begun = bucket.begin_upload(KEY)
    begun.put_part(1, PART)
    resumed = bucket.resume_upload(KEY, begun.upload_id)
    (first_part,) = resumed.list_parts()
    assert first_part == UploadedPart(1, md5(PART), len(PART))
    resumed.complete([first_part, resumed.put_part(2, b"2")])
    assert content_of(bucket) == PART + b"2"


def test_a_part_can_be_sent_again(bucket: Bucket) -> None:
    upload = bucket.begin_upload(KEY)
    upload.put_part(1, b"first")
    again = upload.put_part(1, b"second")
    assert [part.number for part in upload.list_parts()] == [1]
    upload.complete([again])
    assert content_of(bucket) == b"second"


def test_a_slice_of_a_file_is_a_part(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"0123456789")
    with (tmp_path / "x").open("rb") as file:
        upload, sent = bucket.begin_upload(KEY), list[int]()
        part = upload.put_part(1, FileSlice(file.fileno(), 3, 5), on_sent=sent.append)
    upload.complete([part])
    assert (content_of(bucket), sent) == (b"34567", [5])


def test_after_an_abort_nothing_is_left(bucket: Bucket) -> None:
    upload = bucket.begin_upload(KEY)
    upload.put_part(1, b"1")
    upload.abort()
    upload.abort()
    with pytest.raises(UploadGone) as error:
        upload.list_parts()
    assert error.value.code == "OBJECT_GONE"
    assert bucket.get(KEY, 1) is None


def test_an_upload_that_was_aborted_goes_no_further(media: S3Bucket, memory_media: MemoryBucket) -> None:
    # Not on moto, which fails.
    for bucket in (media, memory_media):
        upload = bucket.begin_upload(KEY)
        part = upload.put_part(1, b"1")
        upload.abort()
        with pytest.raises(UploadGone):
            upload.put_part(2, b"2")
        with pytest.raises(UploadGone):
            upload.complete([part])


def test_completing_again_returns_the_same_object(bucket: Bucket) -> None:
    upload = bucket.begin_upload(KEY)
    parts = [upload.put_part(1, b"1")]
    etag = upload.complete(parts)
    assert bucket.resume_upload(KEY, upload.upload_id).complete(parts) == etag


def test_parts_the_store_does_not_hold_are_refused_and_the_upload_goes_on(bucket: Bucket) -> None:
    upload = bucket.begin_upload(KEY)
    one, two = upload.put_part(1, PART), upload.put_part(2, b"2")
    missing = UploadedPart(3, md5(b"3"), 1)
    for parts in ([one, missing], [UploadedPart(1, md5(b"other"), 5), two], [two, one]):
        with pytest.raises(PartsRefused):
            upload.complete(parts)
    assert upload.list_parts() == [one, two]
    upload.complete([one, two])
    assert content_of(bucket) == PART + b"2"


def test_a_small_part_before_the_last_is_refused(bucket: Bucket) -> None:
    upload = bucket.begin_upload(KEY)
    with pytest.raises(PartsRefused):
        upload.complete([upload.put_part(1, b"1"), upload.put_part(2, b"2")])


@pytest.mark.parametrize("number", [0, 10_001])
def test_a_part_has_a_number_from_1_to_10000(bucket: Bucket, number: int) -> None:
    upload = bucket.begin_upload(KEY)
    with pytest.raises(ValueError, match="from 1 to 10,000"):
        upload.put_part(number, b"")


def test_a_completion_may_insist_on_being_the_first(media: S3Bucket, memory_media: MemoryBucket) -> None:
    # Not on moto, which ignores conditions.
    for bucket in (media, memory_media):
        upload = bucket.begin_upload(KEY)
        parts = [upload.put_part(1, b"1")]
        old = bucket.put(KEY, b"old")
        with pytest.raises(WorldError) as error:
            upload.complete(parts, if_none_match=True)
        assert error.value.code == "OBJECT_CHANGED"
        upload.complete(parts, if_match=old)
        assert content_of(bucket) == b"1"


@pytest.mark.parametrize("size", [0, 1, PART_SIZE - 1, PART_SIZE, PART_SIZE + 1])
def test_a_file_of_any_size_has_the_etag_of_its_parts(bucket: Bucket, tmp_path: Path, size: int) -> None:
    content = (PART + PART)[:size]
    (tmp_path / "x").write_bytes(content)
    etag = bucket.upload(KEY, tmp_path / "x")
    assert content_of(bucket) == content
    if not isinstance(bucket, MemoryBucket):
        digests = [md5(content[start : start + PART_SIZE]) for start in range(0, size, PART_SIZE)]
        assert etag == (md5(content) if size < PART_SIZE else multipart_etag(digests))


# Checksums.


def test_an_upload_with_checksums_needs_that_of_every_part(media: S3Bucket, memory_media: MemoryBucket) -> None:
    # Not on moto, which ignores checksums.
    for bucket in (media, memory_media):
        begun = bucket.begin_upload(KEY, checksums=True)
        parts = [begun.put_part(1, PART), bucket.resume_upload(KEY, begun.upload_id, checksums=True).put_part(2, b"2")]
        wrong = [parts[0], replace(parts[1], sha256=parts[0].sha256)]
        for refused in (begun.list_parts(), wrong):
            with pytest.raises(PartsRefused):
                begun.complete([replace(part, sha256="") for part in parts] if refused != wrong else wrong)
        etag = begun.complete(parts)
        assert (etag, content_of(bucket)) == (multipart_etag([part.etag for part in parts]), PART + b"2")


def test_checksums_may_be_sent_to_every_store(bucket: Bucket) -> None:
    upload = bucket.begin_upload(KEY, checksums=True)
    part = upload.put_part(1, b"1")
    assert part.sha256 == base64.b64encode(hashlib.sha256(b"1").digest()).decode()
    upload.complete([part])
    assert content_of(bucket) == b"1"


# Unfinished uploads.


def test_unfinished_uploads_are_listed(bucket: Bucket) -> None:
    key = "ACME/.incoming/1/Über den Wolken+1 %41"
    begun = [bucket.begin_upload(key), bucket.begin_upload(key), bucket.begin_upload("BETA/.incoming/2/data")]
    completed = bucket.begin_upload("ACME/done")
    completed.complete([completed.put_part(1, b"1")])
    begun[0].put_part(1, b"1")
    assert {(found.key, found.upload_id) for found in bucket.list_uploads()} == {(b.key, b.upload_id) for b in begun}
    found = list(bucket.list_uploads("ACME/"))
    assert {upload.upload_id for upload in found} == {upload.upload_id for upload in begun[:2]}
    assert all(upload.started_at.tzinfo == UTC for upload in found)
    for upload in begun:
        upload.abort()
    assert list(bucket.list_uploads()) == []


def test_unfinished_uploads_are_listed_page_by_page(media: S3Bucket) -> None:
    begun = [media.begin_upload(key) for key in ("a/1", "a/1", "a/2", "b", "c/d")]
    found = list(list_uploads(media.transport, "", page=2))
    assert sorted((upload.key, upload.upload_id) for upload in found) == sorted((b.key, b.upload_id) for b in begun)


# Killed processes.

KILLED = """
import os, signal, sys
from loader.s3.client import S3Bucket
part = bytes(range(256)) * 20_480
upload = S3Bucket(sys.argv[1]).begin_upload(sys.argv[2])
upload.put_part(1, part)
upload.put_part(3, b"the end")
print(upload.upload_id, flush=True)
upload.put_part(2, part, on_sent=lambda sent: sent > 1_000_000 and os.kill(os.getpid(), signal.SIGKILL))
"""


def test_an_upload_survives_the_process_that_began_it(media: S3Bucket, seaweed: SeaweedFS) -> None:
    command = [sys.executable, "-c", KILLED, media.name, KEY]
    environment = {**os.environ, **seaweed.environment()}
    killed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    upload = media.resume_upload(KEY, killed.stdout.strip())
    listed_parts = upload.list_parts()
    assert [part.number for part in listed_parts if part.etag in (md5(PART), md5(b"the end"))] == [1, 3]
    sent = upload.put_part(2, PART)
    upload.complete([listed_parts[0], sent, listed_parts[-1]])
    assert content_of(media) == PART + PART + b"the end"


# Failing stores.


def begun(upload_id: str = "u1") -> Reply:
    return Reply(
        200,
        f"<InitiateMultipartUploadResult {NAMESPACE}><UploadId>{upload_id}</UploadId>".encode()
        + b"</InitiateMultipartUploadResult>",
    )


def stored(body: bytes = b"1") -> Reply:
    return Reply(200, b"", {"ETag": f'"{md5(body)}"'})


def completed(etag: str = "done-1") -> Reply:
    text = f"<CompleteMultipartUploadResult {NAMESPACE}><ETag>&quot;{etag}&quot;</ETag></CompleteMultipartUploadResult>"
    return Reply(200, b'<?xml version="1.0" encoding="UTF-8"?>\n  \n  ' + text.encode())


def failed(code: str, status: int = 200) -> Reply:
    return Reply(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())


def head(etag: str) -> Reply:
    return Reply(200, b"", {"ETag": f'"{etag}"'})


ONE = UploadedPart(1, md5(b"1"), 1)
WHOLE = multipart_etag([ONE.etag])


def test_a_part_that_is_refused_for_now_is_sent_again(
    store: ScriptedStore, scripted: S3Bucket, waits: list[float]
) -> None:
    store.answers(failed("SlowDown", 503), stored())
    sent: list[int] = []
    assert scripted.resume_upload("k", "u/1+").put_part(1, b"1", on_sent=sent.append) == ONE
    assert ([asked.path for asked in store.asked], len(waits), sent) == (
        ["/b/k?partNumber=1&uploadId=u%2F1%2B"] * 2,
        1,
        [1, 1],
    )
    assert store.asked[0].headers["x-amz-content-sha256"] == hashlib.sha256(b"1").hexdigest()


def test_a_part_is_not_sent_for_ever(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(failed("SlowDown", 503))
    with pytest.raises(WorldError) as error:
        scripted.resume_upload("k", "u").put_part(1, b"1")
    assert (error.value.code, len(store.asked)) == ("THROTTLED", 5)


def test_progress_counts_no_byte_twice(store: ScriptedStore, scripted: S3Bucket, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(PART_SIZE))
    store.answers(begun(), failed("InternalError", 500), stored(), completed())
    sent: list[int] = []
    scripted.upload("k", tmp_path / "x", progress=sent.append)
    assert sum(sent) == PART_SIZE
    assert all(count > 0 for count in sent)


@pytest.mark.parametrize("code", ["InternalError", "SlowDown", "ServiceUnavailable"])
def test_an_error_in_an_answer_of_200_is_an_error(code: str, store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(failed(code), completed())
    assert scripted.resume_upload("k", "u").complete([ONE]) == "done-1"
    assert len(store.asked) == 2


def test_refused_parts_in_an_answer_of_200_are_not_tried_again(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(failed("InvalidPart"))
    with pytest.raises(PartsRefused):
        scripted.resume_upload("k", "u").complete([ONE])
    assert len(store.asked) == 1


@pytest.mark.parametrize("second", [failed("NoSuchUpload", 404), failed("PreconditionFailed", 412)])
def test_a_completion_without_a_response_is_resolved_by_a_head_request(
    second: Reply, store: ScriptedStore, scripted: S3Bucket
) -> None:
    store.answers(Reply(200, b"", lie=100), second, head(WHOLE))
    assert scripted.resume_upload("k", "u").complete([ONE]) == WHOLE
    assert [asked.method for asked in store.asked] == ["POST", "POST", "HEAD"]


def test_a_store_that_sends_no_response_is_queried_for_the_result(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(*[failed("InternalError", 500)] * 5, head(WHOLE))
    assert scripted.resume_upload("k", "u").complete([ONE]) == WHOLE


@pytest.mark.parametrize("found", [head(md5(b"another")), Reply(404), failed("AccessDenied", 403)])
def test_an_upload_that_disappeared_without_its_object_is_gone(
    found: Reply, store: ScriptedStore, scripted: S3Bucket
) -> None:
    store.answers(failed("NoSuchUpload", 404), found)
    with pytest.raises(UploadGone, match="completed, aborted or has expired"):
        scripted.resume_upload("k", "u").complete([ONE])


def test_an_existing_object_is_not_mistaken_for_our_upload(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(failed("PreconditionFailed", 412), head(WHOLE))
    with pytest.raises(WorldError) as error:
        scripted.resume_upload("k", "u").complete([ONE], if_none_match=True)
    assert error.value.code == "OBJECT_CHANGED"
    assert [asked.headers.get("if-none-match") for asked in store.asked] == ["*"]


def page(numbers: range, after: int | None) -> Reply:
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;e{number}&quot;</ETag><Size>5</Size></Part>"
        for number in numbers
    )
    more = f"<NextPartNumberMarker>{after}</NextPartNumberMarker>" if after is not None else ""
    text = f"<IsTruncated>{str(after is not None).lower()}</IsTruncated>{more}{parts}"
    return Reply(200, f"<ListPartsResult {NAMESPACE}>{text}</ListPartsResult>".encode())


def test_a_listing_of_parts_follows_every_page(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(page(range(1, 1001), 1000), page(range(1001, 1202), None))
    parts = scripted.resume_upload("k", "u").list_parts()
    assert parts == [UploadedPart(number, f"e{number}", 5) for number in range(1, 1202)]
    assert "part-number-marker=1000" in store.asked[1].path


def test_a_listing_of_parts_that_leads_in_circles_ends(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(page(range(1, 3), 2))
    with pytest.raises(WorldError, match="repeats a page"):
        scripted.resume_upload("k", "u").list_parts()


@pytest.mark.parametrize(
    "body", [b"", b"<html>Welcome aboard!</html>", b"<!DOCTYPE x><ListPartsResult/>", b"<ListPartsResult/>"]
)
def test_a_page_of_another_server_is_no_answer(body: bytes, store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(Reply(200, body))
    upload = scripted.resume_upload("k", "u")
    for attempt in (lambda: scripted.begin_upload("k"), upload.list_parts, lambda: upload.complete([ONE])):
        with pytest.raises(WorldError) as error:
            attempt()
        assert error.value.code == "NETWORK"


def test_a_file_that_cannot_be_sent_leaves_no_parts_behind(
    store: ScriptedStore, scripted: S3Bucket, tmp_path: Path
) -> None:
    (tmp_path / "x").write_bytes(bytes(PART_SIZE))
    store.answers(begun(), failed("AccessDenied", 403), Reply(204))
    with pytest.raises(WorldError) as error:
        scripted.upload("k", tmp_path / "x")
    assert error.value.code == "FORBIDDEN"
    assert [(asked.method, asked.path.partition("?")[2]) for asked in store.asked] == [
        ("POST", "uploads="),
        ("PUT", "partNumber=1&uploadId=u1"),
        ("DELETE", "uploadId=u1"),
    ]


def test_an_upload_can_be_stopped_from_its_progress(media: S3Bucket, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(5 * PART_SIZE))
    total = 0

    def stop(count: int) -> None:
        nonlocal total
        total += count
        if total > PART_SIZE:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        media.upload(KEY, tmp_path / "x", progress=stop)
    assert media.get(KEY, 1) is None
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("upload")]
    assert media.requests.delete == 1


def test_a_file_that_becomes_shorter_is_reported(scripted: S3Bucket, store: ScriptedStore, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    with (tmp_path / "x").open("rb") as file, pytest.raises(WorldError, match="ends at byte 5, before byte 9"):
        scripted.resume_upload("k", "u").put_part(1, FileSlice(file.fileno(), 0, 9))
    assert store.asked == []
