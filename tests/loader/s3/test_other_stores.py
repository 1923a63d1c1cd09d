"""Responses in which stores, and proxies in front of them, differ from AWS."""

from __future__ import annotations

import base64
import gzip
import hashlib
from datetime import UTC, datetime

import pytest

from loader.errors import Unsupported, WorldError
from loader.s3.client import S3Bucket
from loader.s3.etags import etag_header, etag_text, is_md5_of, is_weak, parse_etag
from loader.s3.http.headers import EPOCH, parse_last_modified
from loader.s3.interface import NOT_MODIFIED
from tests.support.scripted_store import Reply, ScriptedStore

OBJECT = {"ETag": '"abc"', "Last-Modified": "Sat, 21 Nov 2026 03:00:00 GMT"}
WEAK = OBJECT | {"ETag": 'W/"abc"'}


@pytest.mark.parametrize(
    ("sent", "stored", "weak", "text"),
    [
        ('"abc"', "abc", False, "abc"),
        ("abc", "abc", False, "abc"),
        ('"ABC"', "ABC", False, "ABC"),
        ('W/"abc"', 'W/"abc"', True, "abc"),
        ('w/"abc"', 'W/"abc"', True, "abc"),
        ("W/abc", "W/abc", False, "W/abc"),
        ('"0x8DE4"', "0x8DE4", False, "0x8DE4"),
    ],
)
def test_a_strong_etag_loses_its_quotes_and_a_weak_one_remains_weak(
    sent: str, stored: str, weak: bool, text: str
) -> None:
    assert parse_etag(sent) == stored
    assert (is_weak(stored), etag_text(stored)) == (weak, text)
    assert parse_etag(etag_header(stored)) == stored


def test_an_md5_is_recognised_in_capitals_but_not_in_a_weak_etag() -> None:
    digest = hashlib.md5(b"0").hexdigest()
    assert is_md5_of(digest, b"0")
    assert is_md5_of(digest.upper(), b"0")
    assert not is_md5_of(f'W/"{digest}"', b"0")
    assert not is_md5_of(f"{digest}-1", b"0")


def test_a_weak_etag_is_never_sent_in_if_match(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(Reply(206, b"56789", WEAK | {"Content-Range": "bytes 5-9/10"}))
    with scripted.open("k", start=5, if_match='W/"abc"') as body:
        assert (body.etag, body.read()) == ('W/"abc"', b"56789")
    assert "if-match" not in store.asked[0].headers
    with pytest.raises(WorldError) as error:
        scripted.open("k", start=5, if_match='W/"def"')
    assert error.value.code == "OBJECT_CHANGED"
    with pytest.raises(Unsupported):
        scripted.put("k", b"", if_match='W/"abc"')
    assert [asked.method for asked in store.asked] == ["GET", "GET"]


def test_a_weak_etag_is_compared_by_the_store_with_what_was_read(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(Reply(304))
    assert scripted.get_if_changed("k", 10, 'W/"abc"') is NOT_MODIFIED
    assert store.asked[0].headers["if-none-match"] == 'W/"abc"'


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("Sat, 21 Nov 2026 03:00:00 GMT", datetime(2026, 11, 21, 3, tzinfo=UTC)),
        ("Mon, 01 Jan 0001 00:00:00 GMT", EPOCH),
        ("Thu, 01 Jan 1970 00:00:00 GMT", EPOCH),
        ("soon", EPOCH),
        (None, EPOCH),
    ],
)
def test_a_date_that_the_store_does_not_know_is_the_epoch(text: str | None, date: datetime) -> None:
    assert parse_last_modified(text) == date


def test_a_range_of_an_object_of_unknown_size_is_read(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(Reply(206, b"56789", OBJECT | {"Content-Range": "bytes 5-9/*"}))
    with scripted.open("k", start=5) as body:
        assert (body.size, body.start, body.read()) == (None, 5, b"56789")
    with scripted.open("k", start=5, end=20) as body:
        assert (body.size, body.start, body.read()) == (None, 5, b"56789")


@pytest.mark.parametrize("content_range", ["bytes 4-8/*", "bytes 5-10/*", "bytes 9-5/*", "bytes */*"])
def test_a_range_of_unknown_size_must_fit_too(content_range: str, store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(Reply(206, b"56789", OBJECT | {"Content-Range": content_range}))
    with pytest.raises(WorldError) as error:
        scripted.open("k", start=5, end=10)
    assert error.value.code == "NETWORK"


def test_a_small_object_of_unknown_size_is_complete_or_asked_for_again(
    store: ScriptedStore, scripted: S3Bucket
) -> None:
    store.answers(Reply(206, b"0123456789", OBJECT | {"Content-Range": "bytes 0-9/*"}))
    fetched = scripted.get("k", 100)
    assert fetched is not None
    assert (fetched.body, fetched.size, fetched.truncated) == (b"0123456789", 10, False)
    store.answers(
        Reply(206, b"0123", OBJECT | {"Content-Range": "bytes 0-3/*"}),
        Reply(200, b"0123456789", OBJECT),
    )
    fetched = scripted.get("k", 4)
    assert fetched is not None
    assert (fetched.body, fetched.size, fetched.truncated) == (b"0123", 10, True)
    assert [asked.headers.get("range") for asked in store.asked] == ["bytes=0-99", "bytes=0-3", None]


def test_an_object_stored_with_gzip_arrives_as_it_is_stored(store: ScriptedStore, scripted: S3Bucket) -> None:
    stored = gzip.compress(b"content")
    store.answers(Reply(200, stored, OBJECT | {"Content-Encoding": "gzip"}))
    with scripted.open("k") as body:
        assert (body.size, body.read()) == (len(stored), stored)
    (asked,) = store.asked
    assert asked.headers["accept-encoding"] == "gzip"
    assert "accept-encoding" not in asked.headers["authorization"]


def test_a_body_that_a_proxy_compressed_is_requested_without(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(
        Reply(200, gzip.compress(b"content"), WEAK | {"Content-Encoding": "gzip"}, chunked=True),
        Reply(200, b"content", OBJECT),
    )
    with scripted.open("k") as body:
        assert (body.size, body.etag, body.read()) == (7, "abc", b"content")
    assert [asked.headers["accept-encoding"] for asked in store.asked] == ["gzip", "identity"]


def test_every_write_has_the_md5_that_object_lock_requires(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(Reply(200, b"", OBJECT))
    scripted.put("k", b"4194304")
    (asked,) = store.asked
    assert asked.headers["content-md5"] == base64.b64encode(hashlib.md5(b"4194304").digest()).decode()
    assert "content-md5" in asked.headers["authorization"]


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (
            Reply(301, b"<Error><Code>PermanentRedirect</Code></Error>", {"x-amz-bucket-region": "eu-west-1"}),
            r"not in the configured region \(301 PermanentRedirect\); set AWS_REGION=eu-west-1$",
        ),
        (
            Reply(400, b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>garage</Region></Error>"),
            r"\(400 AuthorizationHeaderMalformed\); set AWS_REGION=garage$",
        ),
        (
            Reply(400, b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>AKEY secret</Region></Error>"),
            "set AWS_REGION to the bucket's region$",
        ),
        (
            Reply(403, b"<Error><Code>SecondLevelDomainForbidden</Code></Error>"),
            "in the host name .* set AWS_S3_ADDRESSING_STYLE=virtual$",
        ),
        (Reply(403, b"<Error><Code>InvalidObjectState</Code></Error>"), "the object is archived"),
        (Reply(520, b"<html>unknown error</html>"), r"the store, or a proxy in front of it, cannot answer .*\(520\)$"),
    ],
)
def test_an_error_names_the_setting_to_change(
    reply: Reply, text: str, store: ScriptedStore, scripted: S3Bucket
) -> None:
    store.answers(reply)
    with pytest.raises(WorldError, match=text):
        scripted.open("k")


def test_a_redirect_to_another_region_needs_no_body(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(Reply(301, headers={"x-amz-bucket-region": "eu-west-1"}))
    with pytest.raises(WorldError, match="AWS_REGION=eu-west-1") as error:
        scripted.get("k", 10)
    assert error.value.code == "WRONG_ENDPOINT"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, *range(520, 528), 530])
def test_a_small_object_is_asked_for_again_after_passing_trouble(
    status: int, store: ScriptedStore, scripted: S3Bucket
) -> None:
    store.answers(Reply(status, b"<html>Error</html>"), Reply(200, b"ok", OBJECT))
    fetched = scripted.get("k", 10)
    assert fetched is not None
    assert fetched.body == b"ok"
    assert len(store.asked) == 2
