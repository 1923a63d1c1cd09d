"""Which version a row stores of an object, and which later listing entries are the same."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from ifeportal.storage.object_versions import (
    ETAG_LIMIT,
    is_confirmed,
    is_same_version,
    listed_version,
    version_read,
)
from loader.s3.interface import GetResult, ObjectInfo

AT = datetime(2026, 12, 1, 12, tzinfo=UTC)
LATER = AT + timedelta(seconds=1)
NO_DATE = datetime(1, 1, 1, tzinfo=UTC)
BODY = b"1234567"
MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
OTHER = hashlib.md5(b"7654321", usedforsecurity=False).hexdigest()


def listed(etag: str, at: datetime = AT) -> ObjectInfo:
    return ObjectInfo("k", len(BODY), etag, at)


def read(etag: str, at: datetime = AT, store_time: datetime | None = LATER) -> GetResult:
    return GetResult(BODY, etag, at, len(BODY), truncated=False, server_time=store_time)


@pytest.mark.parametrize(
    ("in_listing", "in_get", "confirmed"),
    [
        (MD5, MD5, True),
        (f"{MD5}-1", f"{MD5}-1", True),
        (MD5.upper(), MD5, True),
        (MD5, f"W/{MD5}", True),
        (f'W/"{MD5}', MD5, False),
        (f"0x8D{MD5}-1", MD5, False),
        ("opaque", "another", False),
        ("x" * 500, MD5, False),
        ("", MD5, True),
    ],
)
def test_an_unchanged_object_is_recognised_by_its_listing(in_listing: str, in_get: str, confirmed: bool) -> None:
    stored = version_read(listed(in_listing), read(in_get))
    assert is_same_version(stored, listed(in_listing))
    assert is_confirmed(stored) is confirmed
    assert 0 < len(stored) <= ETAG_LIMIT
    assert not is_same_version(stored, listed("new"))


def test_a_rewrite_between_listing_and_get_is_read_again() -> None:
    after = LATER + timedelta(seconds=5)
    assert version_read(listed(OTHER), read(MD5, LATER, after)) == MD5, "the next listing has that ETag"
    assert version_read(listed(OTHER), read(MD5, AT, AT)) == MD5, "in the second of the listing"
    opaque = version_read(listed("opaque"), read(MD5, LATER, after))
    assert not is_same_version(opaque, listed("new", LATER))
    assert not is_confirmed(opaque), "with a newer date it is read although the ETag is the old one"


def test_without_etags_an_object_read_in_the_second_it_was_written_is_read_again() -> None:
    assert not is_same_version(version_read(listed(""), read(MD5, AT, AT)), listed(""))
    assert is_same_version(version_read(listed(""), read(MD5, AT, None)), listed(""))


def test_without_etag_and_date_no_version_is_recognised() -> None:
    assert listed_version(listed("", NO_DATE)) == ""
    stored = version_read(listed("", NO_DATE), read(MD5))
    assert stored, "an empty version would mean that the object is gone"
    assert not is_same_version(stored, listed("", NO_DATE))
