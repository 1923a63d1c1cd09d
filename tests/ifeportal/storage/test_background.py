"""Listings that are read ahead of their reader."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from ifeportal.storage.background import PAGE_SIZE, PAGES_AHEAD, PrefetchedListing
from loader.s3.interface import ObjectInfo
from loader.s3.memory import MemoryBucket


class SlowlyReadBucket(MemoryBucket):
    """Lists `pages` full pages and counts those taken; `is_ahead` is set once `ahead` pages and one more are taken."""

    def __init__(self, pages: int, ahead: int) -> None:
        super().__init__("status")
        self.pages, self.ahead, self.taken = pages, ahead, 0
        self.is_ahead = threading.Event()

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for page in range(self.pages):
            self.taken += 1
            if self.taken > self.ahead:
                self.is_ahead.set()
            for number in range(PAGE_SIZE):
                yield ObjectInfo(f"{page:03}/{number:04}", 1, "e", datetime(2026, 12, 1, tzinfo=UTC))


@pytest.mark.parametrize("ahead", [2, PAGES_AHEAD])
def test_a_limited_number_of_pages_is_read_ahead(ahead: int) -> None:
    bucket = SlowlyReadBucket(pages=ahead + 3, ahead=ahead)
    listing = PrefetchedListing(bucket, "", pages_ahead=ahead)

    assert bucket.is_ahead.wait(30)
    assert bucket.taken == ahead + 1

    assert sum(1 for _ in listing) == PAGE_SIZE * (ahead + 3)
