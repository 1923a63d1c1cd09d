"""Bytes of bodies are counted as they arrive, in every kind of request."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from loader.s3.client import S3Bucket
from loader.s3.memory import MemoryBucket
from tests.support.listing_pages import Entry, Page
from tests.support.scripted_store import Reply, ScriptedStore

OBJECT = {"ETag": '"abc"'}
LISTING = Page([Entry("A/x")], ["A/p/"]).written_by("aws")


def test_listings_count_with_all_their_bytes(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(Reply(body=LISTING))
    list(scripted.list("A/"))
    scripted.list_prefixes("A/")
    assert scripted.requests.received == 2 * len(LISTING)


def test_small_objects_count_up_to_their_limit(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(Reply(200, b"0123456789", OBJECT))
    scripted.get("k", 10)
    assert scripted.requests.received == 10
    scripted.get("k", 4)
    assert scripted.requests.received <= 10 + 5, "one more byte shows that the body continues"


def test_refusals_count_as_well_and_what_is_sent_does_not(store: ScriptedStore, scripted: S3Bucket) -> None:
    refusal = b"<Error><Code>NoSuchKey</Code></Error>"
    store.answers(Reply(404, refusal))
    assert scripted.get("k", 10) is None
    assert scripted.requests.received == len(refusal)
    store.answers(Reply(200, b"answer to a write", OBJECT))
    scripted.put("k", b"0123456789")
    assert scripted.requests.received == len(refusal)


@pytest.mark.parametrize("chunked", [False, True])
def test_open_objects_count_what_was_read(chunked: bool, store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(Reply(200, bytes(100_000), OBJECT, chunked=chunked))
    with scripted.open("k") as body:
        read = len(body.read(1000))
        assert scripted.requests.received == read
        while block := body.read():
            read += len(block)
    assert scripted.requests.received == read == 100_000


def test_no_byte_is_lost_between_threads(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(Reply(200, b"0123456789", OBJECT))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: scripted.get("k", 10), range(200)))
    assert (scripted.requests.get, scripted.requests.received) == (200, 2000)


def test_a_bucket_in_memory_counts_names_and_bodies() -> None:
    bucket = MemoryBucket()
    bucket.put("A/é", b"0123456789")
    list(bucket.list())
    assert bucket.requests.received == 4
    bucket.list_prefixes()
    bucket.get("A/é", 7)
    with bucket.open("A/é", start=4) as body:
        body.read()
    assert bucket.requests.received == 4 + 1 + 7 + 6
