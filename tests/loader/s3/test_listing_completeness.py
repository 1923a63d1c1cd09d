"""A partial listing would mean that the other objects are deleted: a listing is complete or raises."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from loader.errors import WorldError
from loader.s3.client import LISTING_LIMIT, MAX_EMPTY_PAGES, S3Bucket
from tests.support.listing_pages import STORES, Entry, Page
from tests.support.scripted_store import Reply, ScriptedStore

FIRST = Page([Entry(f"A/{number:03}") for number in range(100)], token="more")
LAST = Page([Entry(f"A/{number:03}") for number in range(100, 200)])


def page(what: Page, kind: str = "aws") -> Reply:
    return Reply(body=what.written_by(kind))


@contextmanager
def refused(code: str = "NETWORK", match: str | None = None) -> Iterator[None]:
    with pytest.raises(WorldError, match=match) as error:
        yield
    assert error.value.code == code
    assert not error.value.permanent, "the next poll tries again"


@pytest.mark.parametrize("kind", STORES)
def test_two_pages_are_one_listing(kind: str, store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(page(FIRST, kind), page(LAST, kind))
    assert [info.key for info in scripted.list("A/")] == [f"A/{number:03}" for number in range(200)]
    assert scripted.requests.list == 2


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_connection_that_ends_within_a_page(
    chunked: bool, kind: str, store: ScriptedStore, scripted: S3Bucket, waits: list[float]
) -> None:
    body = LAST.written_by(kind)
    for length in (1, len(body) // 2, len(body) - 1):
        cut = Reply(body=body[:length], lie=None if chunked else len(body), chunked=chunked, cut=True)
        store.answers(page(FIRST, kind), cut)
        asked = len(store.asked)
        with refused("SHORT_BODY"):
            list(scripted.list("A/"))
        assert len(store.asked) == asked + 1 + 3, "the second page is asked for three times"
    assert len(waits) == 3 * 2


def test_a_page_that_was_cut_once_is_asked_for_again(store: ScriptedStore, scripted: S3Bucket) -> None:
    body = LAST.written_by("seaweed")
    store.answers(page(FIRST), Reply(body=body[:-5], lie=len(body), cut=True), Reply(body=body))
    assert len(list(scripted.list("A/"))) == 200
    assert len(store.asked) == 3


SECOND = {
    "cut in good order": Reply(body=LAST.written_by("aws")[:-20]),
    "cut between two entries": Reply(body=LAST.written_by("seaweed").partition(b"</Contents>")[0] + b"</Contents>"),
    "nothing": Reply(),
    "an error": Reply(body=b'<?xml version="1.0"?><Error><Code>InternalError</Code></Error>'),
    "a login page": Reply(body=b"<!DOCTYPE html><html><body>Welcome aboard!</body></html>"),
    "well-formed HTML": Reply(body=b"<html><body>Welcome aboard!</body></html>"),
    "a name of another prefix": page(Page([Entry("A/1"), Entry("B/1"), Entry("A/2")])),
    "a prefix of another prefix": page(Page([Entry("A/1")], ["B/"])),
    "a date out of range in UTC": Reply(
        body=re.sub(rb"(<LastModified>)[^<]+", rb"\g<1>9999-12-31T23:00:00-14:00", LAST.written_by("aws"), count=1)
    ),
    "entities": Reply(
        body=b'<!DOCTYPE l [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>' + LAST.written_by("bare")
    ),
    "an entity nobody declared": Reply(body=LAST.written_by("aws").replace(b"A/150", b"A/&a;")),
    "a page without an end": Reply(body=LAST.written_by("bare") + b" " * LISTING_LIMIT),
}


@pytest.mark.parametrize("what", SECOND)
def test_a_second_page_that_is_none(what: str, store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(page(FIRST), SECOND[what])
    listing = scripted.list("A/")
    assert len(list(itertools.islice(listing, 100))) == 100
    with refused(match="not a listing"):
        list(listing)
    assert len(store.asked) == 2


def test_a_page_that_comes_again_under_another_token(store: ScriptedStore, scripted: S3Bucket) -> None:
    again = Page(FIRST.entries, token="still more")
    store.answers(page(FIRST), page(again), page(LAST))
    with refused(match="repeats a page"):
        list(scripted.list("A/"))
    assert len(store.asked) == 2


def test_pages_without_anything_may_come_but_not_for_ever(store: ScriptedStore, scripted: S3Bucket) -> None:
    nothing = [page(Page(token=f"token-{number}")) for number in range(2 * MAX_EMPTY_PAGES)]
    store.answers(*nothing[1:MAX_EMPTY_PAGES], page(FIRST), *nothing[MAX_EMPTY_PAGES + 1 :], page(LAST))
    assert len(list(scripted.list("A/"))) == 200
    store.answers(*nothing[:MAX_EMPTY_PAGES], page(LAST))
    asked = len(store.asked)
    with refused(match="empty pages in a row"):
        list(scripted.list("A/"))
    assert len(store.asked) == asked + MAX_EMPTY_PAGES


def test_an_abandoned_listing_leaves_nothing_behind(store: ScriptedStore, scripted: S3Bucket) -> None:
    for _ in range(3):
        store.answers(page(FIRST), page(LAST))
        listing = scripted.list("A/")
        assert next(listing).key == "A/000"
        del listing
    assert len(store.asked) == 3, "a page is asked for when it is wanted"
    assert len({asked.client for asked in store.asked}) == 1, "the connection served on"
