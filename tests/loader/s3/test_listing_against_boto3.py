"""boto3 as reference: both parse the same response alike; a response that only boto3 accepts is not a listing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from hypothesis import given, settings

from loader.errors import WorldError
from loader.s3.client import S3Bucket
from tests.support.listing_pages import STORES, Entry, Page, corrupted_page, pages, stores
from tests.support.scripted_store import ReceivedRequest, Reply, ScriptedStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Row = tuple[str, int, str, datetime]
ENTRIES = [
    Entry("A/N1/c/a b+c%é&<>\"'.tgz.progress", 7, when="2026-11-21T03:00:00.000Z"),
    Entry("A/N1/c/x.tgz.error", 0),
]
ONCE = settings(max_examples=40, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def answering() -> Iterator[ScriptedStore]:
    with ScriptedStore() as scripted:
        yield scripted


@pytest.fixture(scope="module")
def reference(answering: ScriptedStore) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=answering.endpoint,
        region_name="us-east-1",
        aws_access_key_id="AKEY",
        aws_secret_access_key="SECRET",
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


@pytest.fixture(scope="module")
def ours(answering: ScriptedStore) -> S3Bucket:
    return S3Bucket("bucket", endpoint=answering.endpoint, access_key="AKEY", secret_key="SECRET", sleep=lambda _: None)


def list_with_ours(bucket: S3Bucket, prefix: str = "A/") -> list[Row] | None:
    """Return the entries of the listing, None if it is refused."""
    try:
        return [(info.key, info.size, info.etag, info.last_modified) for info in bucket.list(prefix)]
    except WorldError:
        return None


def list_with_boto3(client: S3Client, prefix: str = "A/") -> list[Row] | None:
    rows: list[Row] = []
    try:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket="bucket", Prefix=prefix):
            for entry in page.get("Contents", []):
                rows.append((entry["Key"], entry["Size"], entry["ETag"].strip('"'), entry["LastModified"]))
    except (BotoCoreError, ClientError, KeyError, ValueError):
        return None
    return rows


@pytest.mark.parametrize("store", STORES)
def test_pages_of_every_known_store(store: str, answering: ScriptedStore, reference: S3Client, ours: S3Bucket) -> None:
    body = Page(ENTRIES).written_by(store)
    answering.answers(Reply(body=body))
    rows = list_with_ours(ours)
    assert rows is not None
    assert [row[0] for row in rows] == [entry.key for entry in ENTRIES]
    assert rows == list_with_boto3(reference)


@pytest.mark.parametrize("store", STORES)
def test_page_after_page(store: str, answering: ScriptedStore, reference: S3Client, ours: S3Bucket) -> None:
    bodies = [Page([Entry(f"A/{n}")], token=token).written_by(store) for n, token in enumerate(["a=&b", "c+d/", ""])]
    asked: list[list[str]] = []
    listings: list[list[Row] | None] = []
    readers: list[Callable[[], list[Row] | None]] = [lambda: list_with_ours(ours), lambda: list_with_boto3(reference)]
    for read in readers:
        answering.answers(*(Reply(body=body) for body in bodies))
        before = len(answering.asked)
        listings.append(read())
        asked.append(_tokens(answering.asked[before:]))
    assert listings[0] == listings[1]
    assert listings[0] is not None
    assert [row[0] for row in listings[0]] == ["A/0", "A/1", "A/2"]
    assert asked[0] == asked[1] == ["a%3D%26b", "c%2Bd%2F"]


def _tokens(asked: list[ReceivedRequest]) -> list[str]:
    """Return the tokens sent, still quoted. boto3 orders a query differently."""
    queries = [dict(pair.split("=") for pair in each.path.partition("?")[2].split("&")) for each in asked]
    return [query["continuation-token"] for query in queries if "continuation-token" in query]


@ONCE
@given(pages, stores)
def test_any_listing_gives_the_same_rows(
    answering: ScriptedStore, reference: S3Client, ours: S3Bucket, page: Page, store: str
) -> None:
    answering.answers(Reply(body=page.written_by(store)))
    rows = list_with_ours(ours)
    assert rows is not None
    assert rows == list_with_boto3(reference)


@ONCE
@given(corrupted_page())
def test_any_corruption_gives_the_same_result_or_an_error(
    answering: ScriptedStore, reference: S3Client, ours: S3Bucket, body: bytes
) -> None:
    answering.answers(Reply(body=body))
    rows, theirs = list_with_ours(ours), list_with_boto3(reference)
    # boto3 also parses fields that we do not use, and fails on them.
    assert rows is None or theirs is None or rows == theirs


REFUSED = {
    "an error": b"<Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>",
    "half a page": Page(ENTRIES).written_by("aws")[:-60],
    "an entry that is cut in two": Page(ENTRIES).written_by("aws").replace(b"<Contents><Key>A/N1", b"<Con"),
    "a size in words": Page(ENTRIES).written_by("aws").replace(b"<Size>7<", b"<Size>many<"),
    "no UTF-8": Page(ENTRIES).written_by("aws").replace(b"A/N1", b"A/\xff", 1),
}


@pytest.mark.parametrize("what", REFUSED)
def test_listings_refused_by_both_readers(
    what: str, answering: ScriptedStore, reference: S3Client, ours: S3Bucket
) -> None:
    answering.answers(Reply(body=REFUSED[what]))
    assert list_with_boto3(reference) is None
    assert list_with_ours(ours) is None


RUBBISH = {
    "nothing": b"",
    "another answer": b"<ListAllMyBucketsResult><IsTruncated>false</IsTruncated></ListAllMyBucketsResult>",
    "a page in HTML": b"<html><body>Welcome aboard!</body></html>",
    "no end told": b"<ListBucketResult></ListBucketResult>",
    "more but no token": b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
    "entries of another prefix": Page([Entry("B/x")]).written_by("aws"),
    "entities": b'<!DOCTYPE l [<!ENTITY a "aaa">]>' + Page(ENTRIES).written_by("bare"),
}


@pytest.mark.parametrize("what", RUBBISH)
def test_listings_accepted_only_by_boto3_are_refused(
    what: str, answering: ScriptedStore, reference: S3Client, ours: S3Bucket
) -> None:
    answering.answers(Reply(body=RUBBISH[what]))
    assert list_with_boto3(reference) is not None, "boto3 complains by now: the case belongs elsewhere"
    assert list_with_ours(ours) is None
