"""A poll of the media bucket returns what it can read despite faults, and the current queue is stored."""

from __future__ import annotations

import gc
import json
import threading
from pathlib import Path

from loader.contract.keys import manifest_key, queue_key
from loader.contract.manifest import Item, Manifest, build_manifest
from loader.contract.transfer_queue import QUEUE_LIMIT
from loader.errors import Code, WorldError
from loader.media.manifest_reader import ManifestReader
from loader.media.manifest_verifier import ManifestVerifier
from loader.media.poller import MediaPoller
from loader.media.queue_reader import TransferQueueReader
from loader.media.snapshot import ManifestResult
from loader.planning.failure_history import FailureHistory
from loader.s3.memory import MemoryBucket
from loader.storage.content_store import ContentStore
from loader.storage.inventory import ItemKey

AIRLINE, TAIL = "ACME", "D-ABCD"


def test_a_disk_that_cannot_say_what_it_holds_does_not_blind_the_loader(tmp_path: Path) -> None:
    media, first_poll, asked = MemoryBucket("media"), threading.Event(), threading.Event()
    manifest = Manifest(content=(Item("a", 3),), airline=AIRLINE, campaign="c")
    media.put(manifest_key(AIRLINE, "c"), build_manifest(manifest))

    def broken(campaign: str, reading: ManifestResult) -> bool:
        asked.set()
        raise WorldError(Code.IO_ERROR, f"state of {campaign}: Input/output error")

    eyes = MediaPoller(
        TransferQueueReader(AIRLINE, TAIL, media, ContentStore(tmp_path)),
        ManifestReader(AIRLINE, (), media, ManifestVerifier("off", AIRLINE, TAIL)),
        FailureHistory(),
        broken,
        threading.Event(),
        first_poll.set,
    )
    eyes.start_poll()
    assert first_poll.wait(10)
    assert asked.is_set()
    sight = eyes.take_snapshot()
    assert sight is not None
    assert sight.manifests["c"].manifest is not None
    assert ["IO_ERROR" in problem or "Input/output error" in problem for problem in sight.problems] == [True]


def test_failures_can_be_read_while_more_requests_fail() -> None:
    failures, done, faults = FailureHistory(), threading.Event(), list[Exception]()

    def ask() -> None:
        try:
            while not done.is_set():
                assert failures.with_object_failures <= {"c"}
        except RuntimeError as error:
            faults.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    for number in range(20_000):
        failures.record(ItemKey("c", f"item-{number % 3_000}"), Code.OBJECT_GONE, "digest", "etag", 0.0)
        failures.record(ItemKey("c", f"item-{(number + 1_500) % 3_000}"), None, "digest", "", 0.0)
    done.set()
    asking.join()
    assert faults == []


def test_a_queue_written_closely_is_taken_and_remembered(tmp_path: Path) -> None:
    entries = [{"campaign": f"c{at}", "content": [f"m{name}" for name in range(10_000)]} for at in range(11)]
    body = json.dumps({"schema": 1, "version": 3, "entries": entries}, separators=(",", ":")).encode()
    body += b"\n" * (QUEUE_LIMIT - len(body))
    media, store = MemoryBucket("media"), ContentStore(tmp_path)
    media.put(queue_key(AIRLINE, TAIL), body)
    dispatch = TransferQueueReader(AIRLINE, TAIL, media, store)
    dispatch.read()
    assert dispatch.problem == ""
    assert dispatch.queue is not None
    assert TransferQueueReader(AIRLINE, TAIL, MemoryBucket("another"), store).queue == dispatch.queue


def test_failures_can_be_read_during_a_garbage_collection_with_other_threads() -> None:
    failures, collected, threshold = FailureHistory(), list[str](), gc.get_threshold()
    for number in range(3_000):
        failures.record(ItemKey("c", f"item-{number}"), Code.OBJECT_GONE, "digest", "etag", 0.0)

    def another(phase: str, info: dict[str, int]) -> None:
        collected.append(phase)
        failures.record(ItemKey("c", f"more-{len(collected)}"), Code.OBJECT_GONE, "digest", "etag", 0.0)

    gc.callbacks.append(another)
    gc.set_threshold(10)
    try:
        asked = [failures.with_object_failures for _ in range(50)]
    finally:
        gc.callbacks.remove(another)
        gc.set_threshold(*threshold)
    assert collected
    assert asked == [{"c"}] * 50
