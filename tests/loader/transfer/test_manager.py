"""The worker threads of a plan: every item they take up gets a result."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast
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
from loader.s3.memory import MemoryBucket
from loader.s3.retry import Backoff
from loader.storage.content_store import ContentStore
from loader.storage.inventory import ManifestVersion
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
