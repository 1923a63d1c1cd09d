"""Pages of any store are parsed alike; the fast parser and ElementTree never disagree."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings

from loader.s3.interface import ObjectInfo
from loader.s3.listing import ListPage, parse_listing, parse_with_elementtree
from tests.support.listing_pages import STORES, Entry, Page, corrupted_page, pages, stores
from tests.support.profiles import scaled

AT = datetime(2026, 11, 21, 3, tzinfo=UTC)
ETAG = "cfcd208495d565ef66e7dff9f98764da"
ENTRIES = [Entry("A/N1/2026-12/movie-1.tgz.progress", 7), Entry("A/N1/2026-12/a b+c%é.tgz.progress", 8, f"{ETAG}-12")]


def either(read: Any, body: bytes) -> ListPage | str:
    """Return the page, or the error of the parser."""
    try:
        page: ListPage = read(body)
    except ValueError as error:
        return str(error)
    return page


@pytest.fixture
def elements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that ElementTree parsed."""
    given: list[str] = []
    real = ElementTree.fromstring

    def fromstring(text: str) -> ElementTree.Element:
        given.append(text)
        return real(text)

    monkeypatch.setattr(ElementTree, "fromstring", fromstring)
    return given


@pytest.mark.parametrize("store", STORES)
def test_entries_as_every_known_store_writes_them_are_read_quickly(store: str, elements: list[str]) -> None:
    page = parse_listing(Page(ENTRIES, token="next").written_by(store))
    assert page.objects == [
        ObjectInfo("A/N1/2026-12/movie-1.tgz.progress", 7, ETAG, AT),
        ObjectInfo("A/N1/2026-12/a b+c%é.tgz.progress", 8, f"{ETAG}-12", AT),
    ]
    assert page.token == "next"
    assert ["Contents" in text for text in elements] == [False], "only what is around the entries"


@pytest.mark.parametrize("store", STORES)
def test_a_page_that_looks_otherwise_is_read_as_well(store: str, elements: list[str]) -> None:
    body = Page(ENTRIES).written_by(store)
    for other in (
        body.replace(b"><", b">\n  <"),
        body.replace(b"movie", b"movie&#45;"),
        body.replace(b"</Size>", b" </Size>"),
    ):
        assert either(parse_listing, other) == either(parse_with_elementtree, other)
    assert any("Contents" in text for text in elements)


@pytest.mark.parametrize("entry", [Entry("A/line\nbreak"), Entry("A/a<b"), Entry("A/ü%0A")])
def test_keys_with_line_breaks_do_not_mix(entry: Entry) -> None:
    page = parse_listing(Page([Entry("A/a b"), entry, Entry("A/z z")]).written_by("seaweed"))
    assert [info.key for info in page.objects] == ["A/a b", entry.key, "A/z z"]


@settings(max_examples=scaled(100, quick=40), deadline=None, derandomize=True)
@given(pages, stores)
def test_any_written_listing_is_read(page: Page, store: str) -> None:
    read = parse_listing(page.written_by(store))
    assert [(info.key, info.size, info.etag) for info in read.objects] == [
        (entry.key, entry.size, entry.etag) for entry in page.entries
    ]
    assert read.prefixes == list(page.prefixes)


@settings(max_examples=scaled(300, quick=100), deadline=None, derandomize=True)
@given(corrupted_page())
def test_both_readers_agree_on_any_bytes(body: bytes) -> None:
    assert either(parse_listing, body) == either(parse_with_elementtree, body)


@pytest.mark.parametrize("store", STORES)
def test_a_page_that_ends_early_is_never_a_page(store: str) -> None:
    body = Page(ENTRIES, ["A/p/"], token="more").written_by(store)
    for length in range(len(body)):
        cut = either(parse_listing, body[:length])
        assert isinstance(cut, str), f"{length} of {len(body)} bytes"
        assert cut == either(parse_with_elementtree, body[:length])


@pytest.mark.parametrize("store", STORES)
def test_both_readers_agree_on_a_missing_byte(store: str) -> None:
    body = Page(ENTRIES, ["A/p/"], token="more").written_by(store)
    for at in range(len(body)):
        other = body[:at] + body[at + 1 :]
        assert either(parse_listing, other) == either(parse_with_elementtree, other), f"without byte {at}"
