"""Listings of other stores than AWS: without ETags, with odd counts and dates, or with plus signs; and hostile ones."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from loader.s3.client import LISTING_LIMIT, S3Bucket
from loader.s3.http.headers import EPOCH
from loader.s3.listing import ListPage, parse_listing, parse_with_elementtree
from tests.support.listing_pages import STORES, Entry, Page
from tests.support.scripted_store import Reply, ScriptedStore

READERS = [parse_listing, parse_with_elementtree]
ENTRIES = [Entry("A/c/movie.tgz", 7), Entry("A/c/trailer.tgz", 8)]
MIB = 1_048_576


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("count", [b"50493", b"0", b"-1", b"many", b""])
def test_an_unneeded_count_stops_nothing(count: bytes, read: Callable[[bytes], ListPage]) -> None:
    body = Page(ENTRIES, ["A/d/"]).written_by("aws")
    odd, changes = re.subn(rb"<KeyCount>3<", b"<KeyCount>%s<" % count, body)
    assert changes == 1
    assert read(odd) == read(body)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("which", [1, 2])
def test_a_listing_without_etags_is_a_listing(which: int, store: str, read: Callable[[bytes], ListPage]) -> None:
    body, changes = re.subn(rb"<ETag>[^/]*</ETag>", b"", Page(ENTRIES).written_by(store), count=which)
    assert changes == which
    page = read(body)
    assert [(info.key, info.size) for info in page.objects] == [(entry.key, entry.size) for entry in ENTRIES]
    assert [info.etag for info in page.objects] == [""] * which + [ENTRIES[0].etag] * (2 - which)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("when", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000+14:00", "1969-12-31T23:59:59Z"])
def test_a_date_that_the_store_does_not_know_is_the_epoch(when: str, read: Callable[[bytes], ListPage]) -> None:
    page = read(Page([Entry("A/x", when=when), Entry("A/y")]).written_by("minio"))
    assert [info.last_modified for info in page.objects] == [EPOCH, datetime(2026, 11, 21, 3, tzinfo=UTC)]


@pytest.mark.parametrize("read", READERS)
def test_a_weak_etag_of_a_listing_remains_weak(read: Callable[[bytes], ListPage]) -> None:
    body = Page([Entry("A/x", etag="abc")]).written_by("aws").replace(b"&quot;abc", b"W/&quot;abc")
    assert read(body).objects[0].etag == 'W/"abc"'


def listing(*names: str, folder: str = "", token: str = "") -> Reply:
    """Return a page whose names are written as they are."""
    page = Page([Entry(name) for name in names], [folder] if folder else [], token, encoded=False)
    return Reply(
        body=page.written_by("aws").replace(b"<IsTruncated>", b"<EncodingType>url</EncodingType><IsTruncated>")
    )


def test_a_plus_sign_is_itself_where_a_plus_sign_is_there(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(listing(folder="A/dec+jan/"), listing("A/dec+jan/campaign.json"), listing("A/dec+jan/a+b.tgz"))
    assert scripted.list_prefixes("A/") == ["dec+jan"]
    assert "prefix=A%2Fdec%2Bjan%2F" in store.asked[1].path
    assert [info.key for info in scripted.list("A/")] == ["A/dec+jan/a+b.tgz"]
    assert len(store.asked) == 3, "once found out, it is remembered"


def test_a_plus_sign_is_a_space_where_no_plus_sign_is_there(store: ScriptedStore, scripted: S3Bucket) -> None:
    other = S3Bucket("other", endpoint=store.endpoint, access_key="a", secret_key="b", sleep=lambda _: None)
    store.answers(listing(folder="A/dec+jan/"), listing(), listing("A/dec+jan/a+b.tgz"))
    assert other.list_prefixes("A/") == ["dec jan"]
    assert [info.key for info in other.list("A/")] == ["A/dec jan/a b.tgz"]
    assert len(store.asked) == 3


@pytest.mark.parametrize(
    ("prefix", "names", "keys"),
    [
        ("A/dec+jan/", ["A/dec+jan/a+b"], ["A/dec+jan/a+b"]),
        ("A/dec jan/", ["A/dec+jan/a+b"], ["A/dec jan/a b"]),
        ("A/", ["A/a+b", "A/c%2Bd"], ["A/a b", "A/c+d"]),
        ("A/a b/", ["A/a%20b/c+d", "A/a%20b/e%2Bf"], ["A/a b/c d", "A/a b/e+f"]),
    ],
)
def test_the_page_reveals_the_meaning_of_a_plus_sign(
    prefix: str, names: list[str], keys: list[str], store: ScriptedStore
) -> None:
    bucket = S3Bucket("evident", endpoint=store.endpoint, access_key="a", secret_key="b")
    store.answers(listing(*names))
    assert [info.key for info in bucket.list(prefix)] == keys
    assert len(store.asked) == 1


def test_a_page_of_a_thousand_longest_names_fits() -> None:
    keys = [f"A/{number:04}".ljust(1024, "%") for number in range(1000)]
    body = Page([Entry(key, 2**60) for key in keys], token="x" * 1024).written_by("minio")
    assert 3 * MIB < len(body) < LISTING_LIMIT
    assert [info.key for info in parse_listing(body).objects] == keys


HOSTILE = {
    "nested": b"<a>" * (LISTING_LIMIT // 3),
    "flat": b"<ListBucketResult>" + b"<a/>" * (LISTING_LIMIT // 5) + b"</ListBucketResult>",
    "attributes": b"<ListBucketResult " + b" ".join(b"a%d=''" % n for n in range(300_000)) + b"/>",
    "namespaces": b"<ListBucketResult " + b" ".join(b"xmlns:a%d='u:%d'" % (n, n) for n in range(150_000)) + b"/>",
    "entries in entries": Page(ENTRIES).written_by("aws").replace(b"<Size>", b"<Size>" + b"<Contents>" * 150_000),
    "a comment": b"<ListBucketResult><!--" + b"x" * (LISTING_LIMIT - 100) + b"--></ListBucketResult>",
}


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_page_is_refused_in_little_memory(what: str, read: Callable[[bytes], ListPage]) -> None:
    body = HOSTILE[what]
    assert len(body) <= LISTING_LIMIT
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="it "):
            read(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * MIB, "the text itself takes 4 MiB, its copies no more than that each"
