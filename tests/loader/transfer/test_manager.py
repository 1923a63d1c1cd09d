"""The worker threads of a plan: every item they take up gets a result."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, cast
from unittest.mock import create_autospec

import pytest

from loader.contract.keys import content_key
from loader.contract.manifest import Item, Manifest
from loader.errors import Code
from loader.media.manifest_reader import ManifestReader
from loader.media.snapshot import ManifestResult
from loader.monitor.events import Broadcast
from loader.planning.model import Plan, PlanStep
from loader.reporting.reporter import StatusReporter
from loader.s3.memory import MemoryBody, MemoryBucket
from loader.s3.retry import Backoff
from loader.storage.content_store import ContentStore
from loader.storage.inventory import ManifestVersion
from loader.storage.partial_file import PartialFile
from loader.transfer.context import DownloadContext
from loader.transfer.manager import TransferManager
from loader.transfer.rate_limit import RateLimiter
from loader.transfer.task import TaskContext
from tests.support.portal_system import wait_until

BODY = b"content"
ITEM = Item("a", len(BODY))
STEP = PlanStep("c", ITEM, "fetch", 0)
MANIFEST = ManifestResult("c", Manifest((ITEM,)), ManifestVersion("1" * 64))


def surprise(*_: object, **__: object) -> None:
    raise RuntimeError("unexpected")


@pytest.fixture
def context(tmp_path: Path) -> Iterator[TaskContext]:
    media = MemoryBucket()
    media.put(content_key("ACME", "c", "a"), BODY)
    download = DownloadContext(media, RateLimiter(None), threading.Event(), lambda: Backoff(1, 0.01, 0.01))
    store = ContentStore(tmp_path)
    reporter = cast(StatusReporter, create_autospec(StatusReporter, instance=True))
    reader = cast(ManifestReader, create_autospec(ManifestReader, instance=True))
    yield TaskContext("ACME", [store], download, reader, reporter, Broadcast())
    store.close()


def carry_out(context: TaskContext) -> list[tuple[str, Code | None]]:
    """Load the item; return all results."""
    transfers = TransferManager(context, 2)
    transfers.start()
    transfers.apply_plan(Plan((STEP,)), {"c": MANIFEST}, {})
    wait_until(lambda: transfers.is_done)
    transfers.close(1.0)
    return [(result.step.item.name, result.code) for result in transfers.take_results()]


def test_an_item_that_was_loaded_has_a_result_without_a_code(context: TaskContext) -> None:
    assert carry_out(context) == [("a", None)]


def test_a_surprise_after_an_item_was_installed_is_a_failure_of_the_item(context: TaskContext) -> None:
    assert carry_out(replace(context, on_installed=surprise)) == [("a", Code.INTERNAL)]


def test_a_surprise_while_a_failure_is_reported_is_a_failure_of_the_item(
    context: TaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    context.download.media.delete(content_key("ACME", "c", "a"))
    monkeypatch.setattr(context.reporter, "error", surprise)
    assert carry_out(context) == [("a", Code.INTERNAL)]


class BlockingStore(ContentStore):
    """Installs nothing until `release` is set; `installing` has the items that wait for it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.installing: list[str] = []
        self.release = threading.Event()

    def install(self, campaign: str, part: PartialFile, *arguments: Any, **options: Any) -> None:
        self.installing.append(part.item.name)
        self.release.wait(30)
        super().install(campaign, part, *arguments, **options)


class CountingBucket(MemoryBucket):
    """Records the keys that are opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    def open(self, key: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> MemoryBody:
        self.opened.append(key)
        return super().open(key, start=start, end=end, if_match=if_match)


@contextmanager
def blocked_load(
    context: TaskContext, path: Path, items: Sequence[Item]
) -> Iterator[tuple[TransferManager, BlockingStore, CountingBucket]]:
    """Load the items, one download at a time, into a store that does not install them yet; end when all are done."""
    media, store = CountingBucket(), BlockingStore(path)
    for item in items:
        media.put(content_key("ACME", "c", item.name), BODY)
    context = replace(context, stores=[store], download=replace(context.download, media=media))
    result = ManifestResult("c", Manifest(tuple(items)), ManifestVersion("1" * 64))
    transfers = TransferManager(context, 1)
    transfers.start()
    transfers.apply_plan(Plan(tuple(PlanStep("c", item, "fetch", 0) for item in items)), {"c": result}, {})
    try:
        yield transfers, store, media
    finally:
        store.release.set()
        wait_until(lambda: transfers.is_done)
        transfers.close(1.0)
        store.close()


def test_the_next_download_does_not_wait_until_an_item_is_on_disk(context: TaskContext, tmp_path: Path) -> None:
    items = [Item(name, len(BODY), sha256(BODY).hexdigest()) for name in "abcde"]

    with blocked_load(context, tmp_path / "held", items) as (transfers, store, media):
        wait_until(lambda: len(store.installing) == 3)
        assert media.opened == [content_key("ACME", "c", name) for name in "abc"], (
            "two more than are downloaded at once"
        )

    assert {(one.step.item.name, one.code) for one in transfers.take_results()} == {(name, None) for name in "abcde"}


def test_an_item_with_a_wrong_hash_counts_as_a_download(context: TaskContext, tmp_path: Path) -> None:
    items = [Item("a", len(BODY), "0" * 64), Item("b", len(BODY))]

    with blocked_load(context, tmp_path / "held", items) as (transfers, store, media):
        wait_until(lambda: store.installing == ["a"])
        assert media.opened == [content_key("ACME", "c", "a")]

    assert media.opened == [content_key("ACME", "c", name) for name in "aab"]
    results = {(one.step.item.name, one.code) for one in transfers.take_results()}
    assert results == {("a", Code.HASH_MISMATCH), ("b", None)}
