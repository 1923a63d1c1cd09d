"""The behaviour of every `Bucket`: one suite over memory, moto and SeaweedFS."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from loader.errors import WorldError
from loader.s3.client import S3Bucket
from loader.s3.conditional import Overtaken, put_if_unchanged
from loader.s3.errors import NoSuchBucket
from loader.s3.interface import NOT_MODIFIED, Bucket, GetResult
from loader.s3.memory import MemoryBucket

KEYS = [
    "ACME/2026-12/campaign.json",
    "Ünïted Ärlines/Dezember 2026/Über den Wolken.tgz",
    "a/with space/and  two.tgz",
    "a/plus+plus/100%/%41%2F.tgz",
    "a/q?x=1&y=2;z#frag.tgz",
    "a/'quoted' \"twice\" <tag> & more.tgz",
    "a/~tilde_dash-dot.tgz",
    "a/飛行機/🎬.tgz",
    "a/control\x01\x1f.tgz",
]


def md5(body: bytes) -> str:
    return hashlib.md5(body).hexdigest()


def code_of(error: pytest.ExceptionInfo[WorldError]) -> str:
    return error.value.code


@pytest.mark.parametrize("key", KEYS)
def test_any_key_can_be_written_read_listed_and_deleted(bucket: Bucket, key: str) -> None:
    etag = bucket.put(key, b"hello")
    fetched = bucket.get(key, 100)
    assert fetched is not None
    assert (fetched.body, fetched.etag, fetched.size, fetched.truncated) == (b"hello", etag, 5, False)
    assert [info.key for info in bucket.list()] == [key]
    bucket.delete(key)
    assert list(bucket.list()) == []


def test_a_key_with_a_newline_survives_the_listing(media: S3Bucket, memory_media: MemoryBucket) -> None:
    # Not on moto, which does not find such addresses.
    for bucket in (media, memory_media):
        bucket.put("a/line\nbreak.tgz", b"x")
        assert [info.key for info in bucket.list("a/")] == ["a/line\nbreak.tgz"]


def test_a_listing_has_size_etag_and_date(bucket: Bucket) -> None:
    bucket.put("A/N1/c/x.tgz.progress", b"4194304")
    (info,) = bucket.list("A/")
    assert (info.key, info.size, info.etag) == ("A/N1/c/x.tgz.progress", 7, md5(b"4194304"))
    assert info.last_modified.tzinfo is not None
    assert abs(info.last_modified - datetime.now(UTC)) < timedelta(seconds=30)


def test_a_listing_goes_on_after_the_first_thousand_keys(bucket: Bucket, request: pytest.FixtureRequest) -> None:
    keys = {f"A/N1/c/{number:04}" for number in range(1005)}
    if request.node.callspec.params["bucket"] == "moto":
        for key in keys:  # not over HTTP, which takes moto 10 ms each
            s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(bucket.name, key, b"0")
    else:
        for key in keys:
            bucket.put(key, b"0")
    before = bucket.requests.list
    assert {info.key for info in bucket.list("A/")} == keys
    assert bucket.requests.list == before + 2


def test_a_listing_is_of_its_prefix_only(bucket: Bucket) -> None:
    for key in ("A/1", "A/2", "AB/1", "B/1"):
        bucket.put(key, b"")
    assert {info.key for info in bucket.list("A/")} == {"A/1", "A/2"}
    assert list(bucket.list("nobody/")) == []


def test_prefixes_are_the_names_one_level_below(bucket: Bucket) -> None:
    for key in ("A/c 1/x", "A/c+2/x", "A/c+2/y", "A/é/x/y", "A/file", "B/c/x"):
        bucket.put(key, b"")
    assert sorted(bucket.list_prefixes()) == ["A", "B"]
    assert sorted(bucket.list_prefixes("A/")) == ["c 1", "c+2", "é"]
    assert bucket.list_prefixes("A/c 1/") == []


def test_a_get_stops_at_its_limit_and_reports_truncation(bucket: Bucket) -> None:
    bucket.put("k", b"0123456789")
    cut, whole = bucket.get("k", 4), bucket.get("k", 10)
    assert cut is not None
    assert (cut.body, cut.size, cut.truncated) == (b"0123", 10, True)
    assert whole is not None
    assert (whole.body, whole.size, whole.truncated) == (b"0123456789", 10, False)


def test_an_empty_object_is_not_a_missing_one(bucket: Bucket) -> None:
    etag = bucket.put("empty", b"")
    fetched = bucket.get("empty", 64)
    assert fetched is not None
    assert (fetched.body, fetched.size, fetched.truncated, fetched.etag) == (b"", 0, False, etag)
    with bucket.open("empty") as body:
        assert (body.size, body.start, body.read()) == (0, 0, b"")


def test_a_get_of_what_is_known_already_brings_nothing(bucket: Bucket) -> None:
    etag = bucket.put("k", b"one")
    assert bucket.get_if_changed("k", 10, etag) is NOT_MODIFIED
    bucket.put("k", b"two")
    changed = bucket.get_if_changed("k", 10, etag)
    assert isinstance(changed, GetResult)
    assert changed.body == b"two"


def test_absence_is_an_answer_not_an_error(bucket: Bucket) -> None:
    assert bucket.get("nope", 10) is None
    assert bucket.get_if_changed("nope", 10, md5(b"")) is None
    bucket.delete("nope")


def test_missing_objects_cannot_be_opened(bucket: Bucket) -> None:
    with pytest.raises(WorldError) as error:
        bucket.open("nope")
    assert code_of(error) == "OBJECT_GONE"
    assert "nope" in str(error.value)


def test_a_missing_bucket_is_an_error_not_an_absent_object(moto: str) -> None:
    bucket = S3Bucket("no-such-bucket", endpoint=moto, access_key="any", secret_key="any")
    with pytest.raises(NoSuchBucket) as error:
        bucket.get("k", 1)
    assert (code_of(error), str(error.value)) == ("OBJECT_GONE", "GET k: the bucket 'no-such-bucket' does not exist")


def test_an_object_can_be_read_from_the_middle(bucket: Bucket) -> None:
    content = bytes(range(256)) * 4096
    etag = bucket.put("k", content)
    with bucket.open("k", start=1000, if_match=etag) as body:
        assert (body.start, body.size, body.etag) == (1000, len(content), etag)
        buffer, found = bytearray(65_536), bytearray()
        while count := body.readinto(buffer):
            found += buffer[:count]
    assert found == content[1000:]


@pytest.mark.parametrize(("start", "end"), [(0, 7), (1000, 1001), (1000, 500_000), (1_048_000, 1_048_576)])
def test_a_range_of_an_object_can_be_read(bucket: Bucket, start: int, end: int) -> None:
    content = bytes(range(256)) * 4096
    etag = bucket.put("k", content)
    with bucket.open("k", start=start, end=end, if_match=etag) as body:
        assert (body.start, body.size) == (start, len(content))
        found = bytearray()
        while block := body.read():
            found += block
    assert found == content[start:end]


def test_a_body_closed_early_leaves_the_bucket_usable(bucket: Bucket) -> None:
    bucket.put("k", bytes(1_000_000))
    for _ in range(3):
        with bucket.open("k") as body:
            assert body.read(10)
    assert bucket.get("k", 1) is not None


def test_an_object_that_was_replaced_is_not_read_on(bucket: Bucket) -> None:
    etag = bucket.put("k", b"0123456789")
    bucket.put("k", b"9876543210")
    for start in (0, 5):
        with pytest.raises(WorldError) as error:
            bucket.open("k", start=start, if_match=etag)
        assert code_of(error) == "OBJECT_CHANGED"


def test_reading_beyond_the_end_reports_a_changed_object(bucket: Bucket) -> None:
    bucket.put("k", b"0123456789")
    with pytest.raises(WorldError) as error:
        bucket.open("k", start=10)
    assert code_of(error) == "OBJECT_CHANGED"


def test_a_put_may_insist_on_being_the_first(bucket: Bucket) -> None:
    bucket.put("lease", b"mine", if_none_match=True)
    with pytest.raises(WorldError) as error:
        bucket.put("lease", b"yours", if_none_match=True)
    assert code_of(error) == "OBJECT_CHANGED"
    stored = bucket.get("lease", 10)
    assert stored is not None
    assert stored.body == b"mine"


def test_a_put_may_insist_on_what_it_replaces(bucket: Bucket) -> None:
    etag = bucket.put("k", b"one")
    newer = bucket.put("k", b"two", if_match=etag)
    assert newer == md5(b"two")
    with pytest.raises(WorldError) as error:
        bucket.put("k", b"three", if_match=etag)
    assert code_of(error) == "OBJECT_CHANGED"


def test_only_the_object_that_was_read_is_replaced(bucket: Bucket) -> None:
    first = put_if_unchanged(bucket, "k", b"one", None)
    with pytest.raises(Overtaken):
        put_if_unchanged(bucket, "k", b"two", None)
    second = put_if_unchanged(bucket, "k", b"two", first)
    with pytest.raises(Overtaken):
        put_if_unchanged(bucket, "k", b"three", first)
    bucket.delete("k")
    with pytest.raises(Overtaken):
        put_if_unchanged(bucket, "k", b"three", second)
    assert bucket.get("k", 10) is None


def test_a_file_can_be_uploaded_in_parts(bucket: Bucket, tmp_path: Path) -> None:
    content = bytes(range(251)) * 80_000  # 20 MB: more than one part
    file, sent = tmp_path / "x.tgz", list[int]()
    file.write_bytes(content)
    etag = bucket.upload("A/c/x.tgz", file, progress=sent.append)
    assert sum(sent) == len(content)
    with bucket.open("A/c/x.tgz", if_match=etag) as body:
        digest = hashlib.sha256()
        while block := body.read():
            digest.update(block)
    assert digest.hexdigest() == hashlib.sha256(content).hexdigest()
    assert [(info.size, info.etag) for info in bucket.list()] == [(len(content), etag)]


def test_an_upload_of_an_unreadable_file_reports_the_cause(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(WorldError) as error:
        bucket.upload("A/c/x.tgz", tmp_path / "nothing.tgz")
    assert code_of(error) == "IO_ERROR"
    assert str(tmp_path) not in str(error.value)


def test_requests_are_counted_by_kind(bucket: Bucket) -> None:
    bucket.put("k", b"1")
    bucket.get("k", 1)
    bucket.open("k").close()
    list(bucket.list())
    bucket.list_prefixes()
    bucket.delete("k")
    counted = bucket.requests
    assert (counted.list, counted.get, counted.put, counted.delete) == (2, 2, 1, 1)


def test_every_successful_response_updates_the_store_clock(bucket: Bucket) -> None:
    etag = bucket.put("a/k", b"1")
    asking: list[Callable[[], object]] = [
        lambda: list(bucket.list()),
        lambda: bucket.list_prefixes(),
        lambda: bucket.get("a/k", 1),
        lambda: bucket.get_if_changed("a/k", 1, etag),
    ]
    for ask in asking:
        bucket.store_clock.update(datetime(2000, 1, 1, tzinfo=UTC))
        ask()
        store_time = bucket.store_clock.now()
        assert store_time is not None
        assert abs(store_time - datetime.now(UTC)) < timedelta(seconds=30)


def test_a_refusal_has_no_server_time(bucket: Bucket) -> None:
    bucket.get("not/there", 1)
    assert bucket.store_clock.now() is None


def test_memory_dates_come_from_its_clock() -> None:
    bucket = MemoryBucket(clock=lambda: datetime(2026, 12, 1, 8, 0, 0, 999_000, tzinfo=UTC))
    bucket.put("k", b"")
    assert [info.last_modified for info in bucket.list()] == [datetime(2026, 12, 1, 8, tzinfo=UTC)]


def test_a_read_that_was_aborted_raises() -> None:
    bucket = MemoryBucket()
    bucket.put("k", b"123")
    body = bucket.open("k")
    body.abort()
    with pytest.raises(WorldError):
        body.read()
