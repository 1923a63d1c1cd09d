"""Wrong, truncated and hostile responses at the store's address raise errors instead of passing as content."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from loader.errors import Unsupported, WorldError
from loader.s3.client import S3Bucket
from loader.s3.interface import Body
from tests.support.scripted_store import Reply, ScriptedStore

OBJECT = {"ETag": '"abc"', "Last-Modified": "Sat, 21 Nov 2026 03:00:00 GMT"}
ENTRY = (
    "<Contents><Key>{}</Key><LastModified>2026-11-21T03:00:00Z</LastModified>"
    "<ETag>&quot;abc&quot;</ETag><Size>{}</Size></Contents>"
)


def drain(body: Body) -> None:
    while body.read(1000):
        pass


def listing(inside: str = "", *, truncated: str = "false", namespace: str = "") -> Reply:
    attribute = f' xmlns="{namespace}"' if namespace else ""
    text = f"<ListBucketResult{attribute}><IsTruncated>{truncated}</IsTruncated>{inside}</ListBucketResult>"
    return Reply(body=text.encode())


def refusal(status: int, code: str, **headers: str) -> Reply:
    return Reply(status, f"<Error><Code>{code}</Code><Message>AKEY signed wrongly</Message></Error>".encode(), headers)


NO_LISTINGS = {
    "nothing": Reply(),
    "a health page": Reply(body=b'{"status":"ok"}'),
    "a login page": Reply(body=b"<html><body>Welcome aboard! Log in.</body></html>"),
    "another answer": Reply(body=b"<ListAllMyBucketsResult><IsTruncated>false</IsTruncated></ListAllMyBucketsResult>"),
    "half a listing": Reply(body=b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>A/"),
    "no end told": Reply(body=b"<ListBucketResult></ListBucketResult>"),
    "more but no token": listing(truncated="true"),
    "more but an empty token": listing("<NextContinuationToken></NextContinuationToken>", truncated="true"),
    "an odd truth": listing(truncated="perhaps"),
    "no UTF-8": Reply(body=b"<ListBucketResult>\xff</ListBucketResult>"),
    "UTF-16": Reply(body="<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>".encode("utf-16")),
    "entities": Reply(
        body=b'<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'
        b"<ListBucketResult><IsTruncated>false</IsTruncated>&b;</ListBucketResult>"
    ),
    "a size below zero": listing(ENTRY.format("A/x", -1)),
    "a size in words": listing(ENTRY.format("A/x", "many")),
    "no key": listing(ENTRY.format("", 1)),
    "no date": listing("<Contents><Key>A/x</Key><ETag>a</ETag><Size>1</Size></Contents>"),
    "two ETags": listing(ENTRY.format("A/x</Key><ETag>x</ETag><Key>", 1)),
    "elements in elements": listing("<a>" * 500_000),
    "countless elements": listing("<a/>" * 500_000),
    "a tag without end": listing(f"<a b='{'x' * 100_000}'/>"),
    "another prefix": listing(ENTRY.format("B/x", 1)),
    "two keys": listing(ENTRY.format("A/x</Key><Key>A/y", 1)),
    "a key in pieces": listing(ENTRY.format("A/<x/>y", 1)),
    "two ends": listing("<IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>"),
    "an entry that is empty": listing("<Contents/>"),
    "a prefix that is empty": listing("<CommonPrefixes/>"),
}


@pytest.mark.parametrize("what", NO_LISTINGS)
def test_an_invalid_listing_is_an_error_and_not_an_empty_bucket(
    what: str, store: ScriptedStore, scripted: S3Bucket
) -> None:
    store.answers(NO_LISTINGS[what])
    with pytest.raises(WorldError) as error:
        list(scripted.list("A/"))
    assert error.value.code == "NETWORK"


@pytest.mark.parametrize("namespace", ["", "http://s3.amazonaws.com/doc/2006-03-01/", "urn:else"])
def test_a_listing_may_have_any_namespace(namespace: str, store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(listing(ENTRY.format("A/x", 5), namespace=namespace))
    assert [(info.key, info.size, info.etag) for info in scripted.list("A/")] == [("A/x", 5, "abc")]


def test_keys_are_decoded_only_if_the_listing_declares_the_encoding(store: ScriptedStore, scripted: S3Bucket) -> None:
    entry = ENTRY.format("A/a+b%20c%2Bd", 1)
    store.answers(listing(entry), listing(entry + "<EncodingType>url</EncodingType>"))
    assert [info.key for info in scripted.list("A/")] == ["A/a+b%20c%2Bd"]
    assert [info.key for info in scripted.list("A/")] == ["A/a b c+d"]


def test_a_listing_that_goes_in_circles_is_an_error(store: ScriptedStore, scripted: S3Bucket) -> None:
    page = "<NextContinuationToken>{}</NextContinuationToken>"
    store.answers(*(listing(page.format(token), truncated="true") for token in ("one", "two", "one")))
    with pytest.raises(WorldError, match="repeats a page"):
        list(scripted.list())
    assert scripted.requests.list == 3


def test_tokens_are_sent_as_they_came(store: ScriptedStore, scripted: S3Bucket) -> None:
    token = "<NextContinuationToken>a/b+c=&amp;d</NextContinuationToken>"
    store.answers(listing(token, truncated="true"), listing())
    assert list(scripted.list()) == []
    assert "continuation-token=a%2Fb%2Bc%3D%26d" in store.asked[1].path


REFUSALS = [
    (refusal(404, "NoSuchKey"), "OBJECT_GONE"),
    (refusal(404, "NoSuchBucket"), "OBJECT_GONE"),
    (refusal(403, "AccessDenied"), "FORBIDDEN"),
    (refusal(403, "RequestTimeTooSkewed"), "CLOCK_SKEW"),
    (refusal(400, "ExpiredToken"), "CREDENTIALS"),
    (refusal(403, "InvalidAccessKeyId"), "CREDENTIALS"),
    (refusal(403, "SignatureDoesNotMatch"), "CREDENTIALS"),
    (refusal(301, "PermanentRedirect"), "WRONG_ENDPOINT"),
    (refusal(400, "AuthorizationHeaderMalformed"), "WRONG_ENDPOINT"),
    (refusal(403, "SecondLevelDomainForbidden"), "WRONG_ENDPOINT"),
    (refusal(403, "InvalidObjectState"), "ARCHIVED"),
    (refusal(412, "PreconditionFailed"), "OBJECT_CHANGED"),
    (refusal(503, "SlowDown"), "THROTTLED"),
    (refusal(500, "InternalError"), "THROTTLED"),
    (refusal(429, "TooManyRequests"), "THROTTLED"),
    (refusal(400, "RequestTimeout"), "TIMEOUT"),
    (refusal(400, "SlowDownWrite"), "THROTTLED"),
    (refusal(400, "BadDigest"), "NETWORK"),
    (refusal(400, "InvalidRequest"), "INTERNAL"),
    (Reply(505), "INTERNAL"),
    (Reply(511), "NETWORK"),
    (Reply(408), "TIMEOUT"),
    *((Reply(status, b"<html>Error</html>"), "THROTTLED") for status in (421, 425, 429, 500, 502, 503, 504, 507, 529)),
    *((Reply(status, b"<html>Error</html>"), "THROTTLED") for status in (*range(520, 528), 530, 599)),
    (Reply(302, headers={"Location": "http://portal.invalid/login"}), "NETWORK"),
    (Reply(200, b"<html>Welcome aboard!</html>"), "NETWORK"),
]


@pytest.mark.parametrize(("reply", "code"), REFUSALS)
def test_every_refusal_has_a_code_and_no_secret_in_its_text(
    reply: Reply, code: str, store: ScriptedStore, scripted: S3Bucket
) -> None:
    store.answers(reply)
    attempts: list[Callable[[], object]] = [lambda: scripted.open("k"), lambda: scripted.put("k", b"")]
    if b"NoSuchKey" not in reply.body:  # a get returns None for an absent object
        attempts.append(lambda: scripted.get("k", 10))
    for attempt in attempts:
        with pytest.raises(WorldError) as error:
            attempt()
        assert error.value.code == code
        assert not any(word in str(error.value) for word in ("AKEY", "SECRET", "Signature=", "http:"))


def test_a_missing_bucket_is_named(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(refusal(404, "NoSuchBucket"))
    with pytest.raises(WorldError, match="the bucket 'b' does not exist"):
        list(scripted.list())


def test_a_wrong_clock_is_reported_with_both_times(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(refusal(403, "RequestTimeTooSkewed", Date="Sat, 21 Nov 2037 03:04:05 GMT"))
    with pytest.raises(WorldError, match=r"local clock says 20\d\d-.*store's says 2037-11-21 03:04:05 UTC"):
        scripted.get("k", 10)


def test_small_calls_are_tried_three_times_and_no_more(
    store: ScriptedStore, scripted: S3Bucket, waits: list[float]
) -> None:
    store.answers(refusal(503, "SlowDown"))
    with pytest.raises(WorldError):
        scripted.get("k", 10)
    assert scripted.requests.get == len(store.asked) == 3
    assert len(waits) == 2
    assert all(0 <= wait <= 1 for wait in waits)


def test_trying_again_may_help(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(refusal(503, "SlowDown"), Reply(200, b"ok", OBJECT))
    fetched = scripted.get("k", 10)
    assert fetched is not None
    assert fetched.body == b"ok"


def test_an_open_is_tried_once(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(refusal(503, "SlowDown"))
    with pytest.raises(WorldError):
        scripted.open("k")
    assert scripted.requests.get == 1


def test_a_conditional_put_that_may_have_arrived_is_tried_once(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(refusal(500, "InternalError"))
    with pytest.raises(WorldError):
        scripted.put("k", b"", if_none_match=True)
    assert scripted.requests.put == 1


@pytest.mark.parametrize(
    "busy",
    [refusal(409, "ConditionalRequestConflict"), refusal(503, "SlowDown"), refusal(429, "TooManyRequests"), Reply(429)],
)
def test_a_conditional_put_that_was_not_begun_is_tried_again(
    store: ScriptedStore, scripted: S3Bucket, busy: Reply
) -> None:
    store.answers(busy, Reply(200, b"", OBJECT))
    assert scripted.put("k", b"", if_none_match=True)
    assert [asked.headers["if-none-match"] for asked in store.asked] == ["*", "*"]


@pytest.mark.parametrize("reply", [refusal(501, "NotImplemented"), refusal(400, "NotImplemented"), Reply(501)])
def test_a_store_may_not_know_of_conditions(store: ScriptedStore, scripted: S3Bucket, reply: Reply) -> None:
    store.answers(reply)
    with pytest.raises(Unsupported):
        scripted.put("k", b"", if_none_match=True)


def test_a_store_may_say_how_long_to_wait(store: ScriptedStore, scripted: S3Bucket, waits: list[float]) -> None:
    store.answers(refusal(503, "SlowDown", **{"Retry-After": "7"}), Reply(200, b"ok", OBJECT))
    assert scripted.get("k", 10) is not None
    assert waits == [7]


def test_the_wait_of_a_request_is_bounded(store: ScriptedStore, scripted: S3Bucket, waits: list[float]) -> None:
    store.answers(refusal(503, "SlowDown", **{"Retry-After": "3600"}))
    with pytest.raises(WorldError) as error:
        scripted.get("k", 10)
    assert error.value.retry_after == 3600
    assert waits == []
    assert scripted.requests.get == 1


def test_a_store_that_ignores_the_range_is_detected_by_the_start(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(Reply(200, b"0123456789", OBJECT))
    with scripted.open("k", start=5) as body:
        assert (body.start, body.size, body.read()) == (0, 10, b"0123456789")
    fetched = scripted.get("k", 4)
    assert fetched is not None
    assert (fetched.body, fetched.size, fetched.truncated) == (b"0123", 10, True)


@pytest.mark.parametrize(
    "content_range", ["bytes 0-4/10", "bytes 6-9/10", "bytes 5-8/10", "bytes 5-9/5", "bytes */10", "5-9/10", "", None]
)
def test_a_wrong_range_is_never_appended(content_range: str | None, store: ScriptedStore, scripted: S3Bucket) -> None:
    headers = OBJECT if content_range is None else OBJECT | {"Content-Range": content_range}
    store.answers(Reply(206, b"56789", headers))
    with pytest.raises(WorldError) as error:
        scripted.open("k", start=5)
    assert error.value.code == "NETWORK"


@pytest.mark.parametrize("content_range", ["bytes 5-9/10", "bytes 5-6/10", "bytes 4-7/10", "bytes 0-9/10"])
def test_another_range_than_the_one_asked_for_is_never_taken(
    content_range: str, store: ScriptedStore, scripted: S3Bucket
) -> None:
    store.answers(Reply(206, b"5678", OBJECT | {"Content-Range": content_range}))
    with pytest.raises(WorldError) as error:
        scripted.open("k", start=5, end=8)
    assert error.value.code == "NETWORK"


def test_a_range_and_a_length_that_disagree_are_an_error(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(Reply(206, b"567", OBJECT | {"Content-Range": "bytes 5-9/10"}))
    with pytest.raises(WorldError):
        scripted.open("k", start=5)


SHORT = {
    "with a length": Reply(200, b"01234", OBJECT, lie=10, cut=True),
    "in chunks": Reply(200, b"01234", OBJECT, chunked=True, cut=True),
}


@pytest.mark.parametrize("how", SHORT)
def test_a_body_that_ends_early_is_an_error(how: str, store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(SHORT[how])
    with scripted.open("k") as body, pytest.raises(WorldError) as error:
        drain(body)
    assert error.value.code == "SHORT_BODY"
    with pytest.raises(WorldError) as error:
        scripted.get("k", 100)
    assert error.value.code == "SHORT_BODY"


def test_a_chunked_range_that_ends_early_in_good_order_is_an_error(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(Reply(206, b"567", OBJECT | {"Content-Range": "bytes 5-9/10"}, chunked=True))
    with scripted.open("k", start=5) as body, pytest.raises(WorldError) as error:
        drain(body)
    assert error.value.code == "SHORT_BODY"


def test_a_body_without_a_length_has_no_size(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(Reply(200, b"0123456789", OBJECT, chunked=True))
    with scripted.open("k") as body:
        assert (body.size, body.read(20)) == (None, b"0123456789")


def test_an_endless_small_object_is_cut_and_dropped(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(Reply(200, bytes(5_000_000), OBJECT, chunked=True))
    fetched = scripted.get("k", 4096)
    assert fetched is not None
    assert len(fetched.body) == 4096
    assert fetched.truncated


def test_a_store_that_is_silent_times_out(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(Reply(200, b"01", OBJECT, lie=10, pause=5))
    with scripted.open("k") as body, pytest.raises(WorldError) as error:
        drain(body)
    assert error.value.code == "TIMEOUT"


def test_a_small_object_that_only_drips_times_out(store: ScriptedStore) -> None:
    store.answers(Reply(200, bytes(400), OBJECT, pause=0.05))
    hasty = S3Bucket(
        "b", endpoint=store.endpoint, access_key="a", secret_key="b", read_timeout=0.1, sleep=lambda _: None
    )
    start = time.monotonic()
    with pytest.raises(WorldError) as error:
        hasty.get("k", 500)
    assert error.value.code == "TIMEOUT"
    assert time.monotonic() - start < 400 * 0.05, "cut off before the reply ended"


def test_a_read_can_be_aborted_from_another_thread(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(Reply(200, b"0", OBJECT, lie=10, pause=0.3))
    patient = S3Bucket("b", endpoint=store.endpoint, access_key="a", secret_key="b", read_timeout=600)
    with patient.open("k") as body:
        threading.Timer(0.1, body.abort).start()
        start = time.monotonic()
        with pytest.raises(WorldError):
            drain(body)
    assert time.monotonic() - start < 60


def test_a_store_that_is_not_there_is_a_network_error() -> None:
    unreachable = S3Bucket("b", endpoint="http://127.0.0.1:9", access_key="a", secret_key="b", sleep=lambda _: None)
    with pytest.raises(WorldError) as error:
        unreachable.get("k", 1)
    assert error.value.code == "NETWORK"
    unknown = S3Bucket("b", endpoint="http://store.invalid", access_key="a", secret_key="b", sleep=lambda _: None)
    with pytest.raises(WorldError) as error:
        unknown.open("k")
    assert error.value.code == "NETWORK"
