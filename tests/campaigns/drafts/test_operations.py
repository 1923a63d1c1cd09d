"""Operations on drafts, from the scan of the bucket to the published manifest: no data is lost."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns.drafts import hashing, publication, requests
from campaigns.hashing import resumable_sha256
from campaigns.models import IS_HASHED, Campaign, DraftItem, DraftState
from campaigns.signing.private_keys import new_key, public_hex
from ifeportal.jobs.broker import queued_wakeups
from ifeportal.jobs.retries import RetryPolicy
from ifeportal.models import Airline, AuditEntry
from ifeportal.operations.execution import slices
from ifeportal.operations.execution.leases import OperationLease
from ifeportal.operations.execution.runner import run_due_operations
from ifeportal.operations.execution.slices import WorkerSlice
from ifeportal.operations.models import Operation, OperationQueue, OperationState
from ifeportal.operations.requests import RequestRejected, cancel, retry
from ifeportal.work_lease import LeaseLost
from loader.errors import Code, WorldError
from loader.s3.client import S3Bucket
from loader.s3.interface import ObjectInfo
from loader.s3.memory import MemoryBucket
from loader.signatures.dsse import parse_envelope, require_signatures
from tests.support import campaign_drafts
from tests.support.campaign_drafts import (
    ANYONE,
    NOON,
    create_hashed_draft,
    end_leases,
    end_pauses,
    find_item,
    hash_draft,
    new_draft,
    operation_of,
    publish_draft,
    read_manifest,
    run_operations,
    run_slice,
    scan_draft,
)
from tests.support.profiles import scaled

KEY = "ACME/2026-12/campaign.json"
FILMS = {"movie-001": b"one", "movie-002": b"two"}
pytestmark = pytest.mark.django_db


class Store(MemoryBucket):
    """Calls a hook of the test before each put, open and list."""

    def __init__(self) -> None:
        self.now = NOON
        super().__init__("ife-media", lambda: self.now)
        self.before_put: Callable[[str], None] = ignore_key
        self.before_open: Callable[[str], None] = ignore_key
        self.before_list: Callable[[str], None] = ignore_key

    def put(self, key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
        self.before_put(key)
        return super().put(key, body, if_none_match=if_none_match, if_match=if_match)

    def open(self, key: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> Any:
        self.before_open(key)
        return super().open(key, start=start, end=end, if_match=if_match)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self.before_list(prefix)
        return super().list(prefix)


def ignore_key(key: str) -> None:
    """Do nothing."""


class Once:
    """Calls `act` on the first call; then `done` is true."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act, self.done = act, False

    def __call__(self, key: str) -> None:
        if not self.done:
            self.done = True
            self.act()


def raising(error: Exception) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


@pytest.fixture
def acme() -> Airline:
    return Airline.objects.create(name="ACME")


@pytest.fixture
def store() -> Store:
    return Store()


def document(media: MemoryBucket) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(media.open(KEY).read(10**7))
    return found


@pytest.mark.processes
def test_a_campaign_goes_from_the_bucket_to_a_signed_manifest_in_a_real_store(acme: Airline, media: S3Bucket) -> None:
    names = {"movie-001": b"1" * 3_000_000, "Über den Wolken, 映画 100% +&=;:@ 🎬": b"clouds", "leer": b""}
    for name, body in names.items():
        media.put(f"ACME/2026-12/{name}.tgz", body)
    media.put("ACME/2026-12/read me.txt", b"x")
    draft = scan_draft(new_draft(acme, title="December", exhibition_starts=date(2026, 12, 1)), media)
    assert (draft.state, draft.items.filter(included=True).count()) == (DraftState.EDITING, 3)
    assert draft.notices[0] == "Objects with invalid names: 1."
    assert draft.faulty_items == 3
    draft.items.filter(name="movie-001").update(title="The Long Way Up", kind="movie", required=False, priority=100)
    begun = resumable_sha256.resume("")
    begun.update(memoryview(bytearray(b"1" * 1_000_001)))
    draft.items.filter(name="movie-001").update(hashed_bytes=begun.count, hash_state=begun.state())
    media.put("ACME/2026-12/leer.tgz", b"no longer")
    assert hash_draft(draft, media).state == DraftState.FAILED  # the other two are hashed
    assert list(draft.items.exclude(error_code="").values_list("name", "error_code")) == [("leer", "OBJECT_CHANGED")]
    media.put("ACME/2026-12/leer.tgz", b"")
    assert hash_draft(scan_draft(draft, media), media).state == DraftState.READY
    key = Ed25519PrivateKey.generate()
    assert publish_draft(draft, media, [key]).state == DraftState.PUBLISHED, draft.error
    written = read_manifest(draft, media)
    assert {one.name: one.sha256 for one in written.content} == {
        name: campaign_drafts.sha256(body) for name, body in names.items()
    }
    film = next(one for one in written.content if one.name == "movie-001")
    assert (film.title, film.kind, film.required, film.priority) == ("The Long Way Up", "movie", False, 100)
    assert (written.version, written.title, written.exhibition.starts) == (1, "December", date(2026, 12, 1))
    fetched = media.get(f"{KEY}.dsse", 10**7)
    assert fetched is not None
    envelope = parse_envelope(fetched.body)
    assert require_signatures(envelope, [public_hex(key)], 1)
    assert media.get(KEY, 10**7).body == envelope.payload  # type: ignore[union-attr]
    find_item(draft, "movie-001")
    media.put("ACME/2026-12/movie-001.tgz", b"another cut")
    media.put(KEY, b'{"version": 7, "content": []}')
    requests.request_publish(draft, ANYONE)
    run_operations(media)
    draft.refresh_from_db()
    assert (draft.state, "was replaced since it was hashed" in draft.error) == (DraftState.FAILED, True)
    assert draft.error_code == "OBJECT_CHANGED"
    scan_draft(draft, media)
    hash_draft(draft, media)
    assert publish_draft(draft, media, [key]).version == 8
    requests.request_withdraw(draft, ANYONE)
    run_operations(media)
    draft.refresh_from_db()
    assert draft.state == DraftState.WITHDRAWN
    assert sorted(found.key for found in media.list("ACME/")) == sorted(
        [*(f"ACME/2026-12/{name}.tgz" for name in names), "ACME/2026-12/read me.txt"]
    )
    assert publish_draft(draft, media, [key]).version == 9


def test_hashes_in_a_manifest_are_reused(acme: Airline, store: Store) -> None:
    for name, body in FILMS.items():
        store.put(f"ACME/2026-12/{name}.tgz", body)
    first = {
        "name": "movie-002",
        "size": 3,
        "sha256": campaign_drafts.sha256(b"two"),
        "title": "Two",
        "rating": {"age": 12},
    }
    store.put(
        KEY,
        json.dumps(
            {
                "version": 4,
                "title": "December",
                "exhibition": {"starts": "2026-12-01", "cabin": "all"},
                "tails": ["D-ABCD"],
                "operator": "x",
                "content": [{**first, "required": False, "priority": 7, "kind": "movie"}],
            }
        ).encode(),
    )
    draft = scan_draft(new_draft(acme), store)
    assert (draft.title, draft.exhibition_starts, draft.version) == ("December", date(2026, 12, 1), 4)
    assert {row.name: row.included for row in draft.items.all()} == {"movie-002": True, "movie-001": False}
    assert draft.state == DraftState.PUBLISHED
    draft.items.filter(name="movie-001").update(included=True)
    requests.revalidate(draft, edited=True)
    gets = store.requests.get
    hash_draft(draft, store)
    assert store.requests.get - gets == 1  # for the new item only
    publish_draft(draft, store)
    written = document(store)
    assert (written["version"], written["operator"], written["tails"]) == (5, "x", ["D-ABCD"])
    assert written["exhibition"] == {"starts": "2026-12-01", "cabin": "all"}
    assert written["content"][0] == {**first, "required": False, "priority": 7, "kind": "movie"}
    assert [one["name"] for one in written["content"]] == ["movie-002", "movie-001"]


def test_an_object_newer_than_the_manifest_that_names_it_is_hashed_again(acme: Airline, store: Store) -> None:
    store.put(KEY, json.dumps({"content": [{"name": "a", "size": 3, "sha256": "0" * 64}]}).encode())
    store.now += timedelta(seconds=1)
    store.put("ACME/2026-12/a.tgz", b"two")
    draft = scan_draft(new_draft(acme), store)
    assert find_item(draft, "a").error_text == "Not hashed yet."
    assert find_item(hash_draft(draft, store), "a").sha256 == campaign_drafts.sha256(b"two")


def test_every_fault_is_named_by_item_and_as_a_whole(acme: Airline, store: Store) -> None:
    draft = new_draft(acme, exhibition_starts=date(2026, 12, 2), exhibition_ends=date(2026, 12, 1))
    requests.revalidate(draft)
    assert draft.faults == [
        "The bucket has not been scanned yet. Scan it.",
        "The exhibition ends (2026-12-01) before it starts (2026-12-02).",
    ]
    for name in ("Film", "film", "good", "bad\u202ename", "-dash"):
        store.put(f"ACME/2026-12/{name}.tgz", b"x")
    store.put("ACME/2026-12/deep/film.tgz", b"x")
    scan_draft(draft, store)
    DraftItem.objects.update(included=True)
    hash_draft(draft, store)
    store.delete("ACME/2026-12/good.tgz")
    scan_draft(draft, store)
    faults = {row.name: row.error_text for row in draft.items.exclude(error_text="")}
    assert faults.pop("film").startswith("The name differs from 'Film' only in case")
    assert faults.pop("good").startswith("Not in the bucket")
    assert sorted(faults) == ["'-dash.tgz'", "'bad\\u202ename.tgz'", "'deep/film.tgz'"]
    assert all(fault.startswith("This item cannot be published: ") for fault in faults.values())
    with pytest.raises(RequestRejected, match="before it starts"):
        requests.request_publish(draft, ANYONE)
    assert draft.state == DraftState.EDITING


def test_an_empty_campaign_is_not_published(acme: Airline, store: Store) -> None:
    draft = scan_draft(new_draft(acme), store)
    assert draft.faults == ["No items are included. Include at least one."]
    with pytest.raises(RequestRejected, match="Include at least one"):
        requests.request_publish(draft, ANYONE)


def test_an_object_that_changes_while_it_is_hashed_is_noticed(acme: Airline, store: Store) -> None:
    store.put("ACME/2026-12/a.tgz", b"first")
    draft = scan_draft(new_draft(acme), store)
    swap = store.before_open = Once(lambda: MemoryBucket.put(store, "ACME/2026-12/a.tgz", b"other"))
    assert hash_draft(draft, store).state == DraftState.FAILED
    assert swap.done
    assert (draft.error_code, find_item(draft, "a").state_text) == ("OBJECT_CHANGED", "Failed: OBJECT_CHANGED")
    assert "hash again" in draft.advice
    assert hash_draft(scan_draft(draft, store), store).state == DraftState.READY
    assert find_item(draft, "a").sha256 == campaign_drafts.sha256(b"other")


class OtherEtagsInListings(Store):
    """Lists each object with an ETag of another kind than the one a GET returns, as a gateway to Azure does."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for found in super().list(prefix):
            found.etag = f"0x8D{found.etag}-1"
            yield found


def test_a_store_whose_listings_have_other_etags_is_hashed_published_and_withdrawn(acme: Airline) -> None:
    store = OtherEtagsInListings()
    store.put("ACME/2026-12/a.tgz", b"first")
    draft = scan_draft(new_draft(acme), store)
    assert hash_draft(draft, store).state == DraftState.READY
    assert find_item(draft, "a").sha256 == campaign_drafts.sha256(b"first")
    assert publish_draft(draft, store).state == DraftState.PUBLISHED
    store.put("ACME/2026-12/campaign.json.dsse", b"{}")
    requests.request_withdraw(scan_draft(draft, store), ANYONE)
    run_operations(store)
    draft.refresh_from_db()
    assert (draft.state, [found.key for found in store.list()]) == (DraftState.WITHDRAWN, ["ACME/2026-12/a.tgz"])


def test_a_change_is_noticed_where_listings_have_other_etags(acme: Airline) -> None:
    store = OtherEtagsInListings()
    store.put("ACME/2026-12/a.tgz", b"first")
    draft = scan_draft(new_draft(acme), store)
    swap = store.before_open = Once(lambda: MemoryBucket.put(store, "ACME/2026-12/a.tgz", b"other"))
    assert hash_draft(draft, store).state == DraftState.FAILED
    assert (swap.done, draft.error_code) == (True, "OBJECT_CHANGED")


class Slow(Store):
    """Returns a body in pieces of 1,000 bytes, and calls `act` before piece number `after`."""

    def __init__(self, after: int, act: Callable[[], object]) -> None:
        super().__init__()
        self.after, self.act, self.pieces = after, act, 0

    def open(self, key: str, *, start: int = 0, end: int | None = None, if_match: str | None = None) -> Any:
        body = super().open(key, start=start, end=end, if_match=if_match)
        whole, outer = body.readinto, self

        def piece(buffer: memoryview) -> int:
            outer.pieces += 1
            if outer.pieces == outer.after:
                outer.act()
            read: int = whole(buffer[:1000])
            return read

        body.readinto = piece
        return body


def test_the_next_slice_resumes_from_saved_hashes(acme: Airline) -> None:
    body = bytes(range(256)) * 40
    store = Slow(6, raising(WorldError(Code.SHORT_BODY, "the connection ended")))
    store.put("ACME/2026-12/a.tgz", body)
    draft = scan_draft(new_draft(acme), store)
    requests.request_hash(draft, ANYONE)
    assert run_operations(store) == 1
    row, operation = find_item(draft, "a"), operation_of(draft)
    assert (row.state_text, row.hashed_bytes, row.error_code) == ("Hashing, 48%", 5000, "SHORT_BODY")
    assert (operation.state, operation.attempts, operation.error_code) == (OperationState.WAITING, 1, "SHORT_BODY")
    assert operation.error == "a: the connection ended"
    starts: list[int] = []
    opened = Store.open

    def noted(self: Store, key: str, *, start: int = 0, **more: Any) -> Any:
        starts.append(start)
        return opened(self, key, start=start, **more)

    end_pauses()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "open", noted)
        assert run_operations(store) == 1
    assert starts == [5000]
    row.refresh_from_db()
    assert (row.sha256, row.state_text, row.error_code, row.hash_state) == (
        campaign_drafts.sha256(body),
        "Hashed",
        "",
        "",
    )
    operation = operation_of(draft)
    assert (operation.state, operation.bytes_done, operation.bytes_total) == ("succeeded", len(body), len(body))


def test_an_item_that_fails_is_tried_again_after_the_others(acme: Airline, store: Store) -> None:
    for name in ("a", "b", "c"):
        store.put(f"ACME/2026-12/{name}.tgz", name.encode())
    draft = scan_draft(new_draft(acme), store)
    requests.request_hash(draft, ANYONE)

    def fail(key: str) -> None:
        if key.endswith("/a.tgz"):
            raise WorldError(Code.NETWORK, "the store refuses connections")

    store.before_open = fail
    for _ in range(RetryPolicy().max_attempts + 2):
        run_operations(store)
        end_pauses()
    draft.refresh_from_db()
    assert (draft.state, draft.error) == (DraftState.FAILED, "a: the store refuses connections")
    assert [item.is_hashed for item in draft.items.order_by("name")] == [False, True, True]
    assert find_item(draft, "a").error_text.startswith("Hashing failed: the store refuses connections.")
    store.before_open = ignore_key
    retry(operation_of(draft), ANYONE)
    draft.refresh_from_db()
    assert draft.state == DraftState.HASHING
    run_operations(store)
    draft.refresh_from_db()
    assert (draft.state, operation_of(draft).bytes_total) == (DraftState.READY, 1)


def test_a_worker_that_loses_its_lease_in_mid_hash_writes_nothing_and_the_next_ends_right(
    acme: Airline, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[int] = []

    def lose(self: OperationLease, **columns: Any) -> None:
        lost.append(1)
        raise LeaseLost("held by another worker")

    store = Store()
    for name in ("a", "b"):
        store.put(f"ACME/2026-12/{name}.tgz", name.encode() * 5000)
    draft = scan_draft(new_draft(acme), store)
    requests.request_hash(draft, ANYONE)
    with monkeypatch.context() as patch:
        patch.setattr(OperationLease, "check_fence", lose)
        run_slice(store)
    assert lost
    assert not draft.items.filter(IS_HASHED).exists()
    end_leases()
    run_operations(store)
    assert {row.name: row.sha256 for row in draft.items.all()} == {
        name: campaign_drafts.sha256(name.encode() * 5000) for name in ("a", "b")
    }


def test_a_lease_that_is_lost_while_bytes_come_ends_the_reading(acme: Airline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "REPORT_INTERVAL", 0.01)
    lost = threading.Event()
    store = Slow(3, lost.wait)
    body = bytes(range(256)) * 40
    store.put("ACME/2026-12/a.tgz", body)
    draft = scan_draft(new_draft(acme), store)
    requests.request_hash(draft, ANYONE)

    def lose(self: OperationLease) -> None:
        lost.set()
        raise LeaseLost("held by another worker")

    with monkeypatch.context() as patch:
        patch.setattr(OperationLease, "heartbeat", lose)
        run_slice(store)
    assert (lost.is_set(), find_item(draft, "a").is_hashed) == (True, False)
    end_leases()
    run_operations(store)
    assert find_item(draft, "a").sha256 == campaign_drafts.sha256(body)


@pytest.mark.parametrize("piece", [1, 3, 8])  # of the second slice: in b, at the start of a, in the middle of a
def test_a_worker_that_is_killed_in_mid_hash_is_followed_by_one_that_ends_right(acme: Airline, piece: int) -> None:
    body = bytes(range(256)) * 40
    store = Slow(4, raising(WorldError(Code.SHORT_BODY)))
    store.put("ACME/2026-12/a.tgz", body)
    store.put("ACME/2026-12/b.tgz", b"b")
    draft = scan_draft(new_draft(acme), store)
    requests.request_hash(draft, ANYONE)
    run_slice(store)
    end_pauses()
    store.after, store.act = store.pieces + piece, raising(SystemExit())  # type: ignore[arg-type]
    with pytest.raises(SystemExit):
        run_slice(store)
    assert run_slice(store) is None, "the lease of the killed worker has not run out"
    end_leases()
    run_operations(store)
    draft.refresh_from_db()
    assert draft.state == DraftState.READY, draft.error
    assert find_item(draft, "a").sha256 == campaign_drafts.sha256(body)


def test_cancelling_in_mid_hash_preserves_finished_and_partial_hashes(
    acme: Airline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "REPORT_INTERVAL", 0.01)
    monkeypatch.setattr(slices, "REPORT_INTERVAL", 0.0)
    reached, report, stops = threading.Event(), WorkerSlice.report, list[threading.Event]()

    def stop_event() -> threading.Event:
        stops.append(threading.Event())
        return stops[-1]

    def wait_for_stop() -> None:
        reached.set()
        stops[-1].wait(60)

    def cancel_when_reached(self: WorkerSlice, *progress: Any, **stage: Any) -> None:
        if reached.is_set() and self.operation.cancel_requested_at is None:
            cancel(self.operation, ANYONE)
        report(self, *progress, **stage)

    monkeypatch.setattr(hashing, "threading", SimpleNamespace(Event=stop_event))
    body = bytes(range(256)) * 40
    store = Slow(5, wait_for_stop)
    store.put("ACME/2026-12/a.tgz", b"a")
    store.put("ACME/2026-12/b.tgz", body)
    draft = scan_draft(new_draft(acme), store)
    requests.request_hash(draft, ANYONE)
    with monkeypatch.context() as patch:
        patch.setattr(WorkerSlice, "report", cancel_when_reached)
        run_operations(store)
    draft.refresh_from_db()
    partial = find_item(draft, "b")
    assert (draft.state, operation_of(draft).state) == (DraftState.EDITING, OperationState.CANCELLED)
    assert find_item(draft, "a").is_hashed
    assert (partial.hash_pending, partial.hashed_bytes, bool(partial.hash_state)) == (False, 3000, True)
    assert hash_draft(draft, store).state == DraftState.READY
    assert find_item(draft, "b").sha256 == campaign_drafts.sha256(body)


def test_the_workers_do_what_was_asked_and_sign_with_the_keys_of_the_settings(
    acme: Airline, store: Store, settings: Any, tmp_path: Path
) -> None:
    key = new_key(tmp_path / "sam", b"open sesame")
    settings.SIGNING_KEYS, settings.SIGNING_PASSPHRASE = (str(tmp_path / "sam"),), "open sesame"
    store.put("ACME/2026-12/a.tgz", b"a")
    draft = new_draft(acme)

    def work() -> str:
        with campaign_drafts.worker(store):
            OperationQueue.objects.update(admitted_at=None)  # a request does it when it is committed
            run_due_operations()
        draft.refresh_from_db()
        return str(draft.state)

    for ask, state in (
        (requests.request_scan, DraftState.EDITING),
        (requests.request_hash, DraftState.READY),
        (requests.request_publish, DraftState.PUBLISHED),
    ):
        ask(draft, ANYONE)
        assert work() == state, draft.error
    assert require_signatures(parse_envelope(store.open(f"{KEY}.dsse").read(10**6)), [public_hex(key)], 1)
    settings.SIGNING_PASSPHRASE = ""
    requests.request_publish(draft, ANYONE)
    assert work() == DraftState.FAILED
    assert "sam is encrypted" in draft.error
    assert "SIGNING_KEYS" in draft.advice
    settings.SIGNING_PASSPHRASE = "open sesame"
    retry(operation_of(draft), ANYONE)
    assert work() == DraftState.PUBLISHED


@pytest.mark.parametrize("point", [KEY, f"{KEY}.dsse", "rows"])
def test_a_worker_killed_while_it_publishes_is_followed_by_one_that_does_the_rest(
    acme: Airline, store: Store, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    draft = create_hashed_draft(acme, store, FILMS)
    key = Ed25519PrivateKey.generate()

    def die(name: str) -> None:
        if name == point:
            raise KeyboardInterrupt

    store.before_put = die
    requests.request_publish(draft, ANYONE)
    with monkeypatch.context() as patch:
        patch.setattr(publication, "record_result", lambda *given: die("rows"))
        with pytest.raises(KeyboardInterrupt):
            run_slice(store, [key])
    store.before_put = ignore_key
    draft.refresh_from_db()
    assert (draft.state, store.get(KEY, 10**7) is None) == (DraftState.PUBLISHING, point == KEY)
    end_leases()
    run_operations(store, [key])
    draft.refresh_from_db()
    assert (draft.state, draft.version, document(store)["version"]) == (DraftState.PUBLISHED, 1, 1)
    assert require_signatures(parse_envelope(store.open(f"{KEY}.dsse").read(10**6)), [public_hex(key)], 1)
    assert AuditEntry.objects.filter(action="draft.published").count() == 1


def test_the_second_of_two_publishers_overwrites_nothing_and_loses_nothing(acme: Airline, store: Store) -> None:
    draft = create_hashed_draft(acme, store, FILMS)
    draft.items.filter(name="movie-001").update(title="Ours")
    theirs = b'{"version": 3, "content": [{"name": "movie-001", "size": 3, "title": "Theirs"}]}'
    overtaken = store.before_put = Once(lambda: MemoryBucket.put(store, KEY, theirs))
    publish_draft(draft, store)
    assert overtaken.done
    assert (draft.state, draft.error_code) == (DraftState.FAILED, "OBJECT_CHANGED")
    assert "someone else published" in draft.error
    assert store.open(KEY).read() == theirs
    requests.request_publish(draft, ANYONE)
    run_operations(store)
    draft.refresh_from_db()
    assert "Someone else published version 3 since the last scan" in draft.error
    assert store.open(KEY).read() == theirs
    scan_draft(draft, store)
    assert find_item(draft, "movie-001").title == "Ours"
    assert "Someone else published version 3" in draft.notices[-1]
    assert "movie-001" in draft.notices[-1]
    assert publish_draft(draft, store).version == 4
    assert document(store)["content"][0]["title"] == "Ours"


@pytest.mark.parametrize(
    ("theirs", "change"),
    [
        (None, "Someone else deleted campaign.json"),
        (b'{"content": []}', "Someone else published a campaign.json without a version"),
        (b'{"version": 7, "content": []}', "Someone else published version 7"),
    ],
    ids=["deleted", "without a version", "a version"],
)
def test_a_change_by_someone_else_is_named(acme: Airline, store: Store, theirs: bytes | None, change: str) -> None:
    draft = publish_draft(create_hashed_draft(acme, store, FILMS), store)
    if theirs is None:
        store.delete(KEY)
    else:
        store.put(KEY, theirs)
    requests.request_publish(draft, ANYONE)
    run_operations(store)
    draft.refresh_from_db()
    assert draft.error_code == "OBJECT_CHANGED"
    assert draft.error.startswith(f"{change} since the last scan.")
    assert scan_draft(draft, store).notices[-1].startswith(f"{change}.")


def test_a_signature_written_by_someone_else_meanwhile_is_a_change_in_the_bucket(acme: Airline, store: Store) -> None:
    draft = create_hashed_draft(acme, store, FILMS)

    def overtake(key: str) -> None:
        if key == f"{KEY}.dsse":
            MemoryBucket.put(store, key, b"theirs")

    store.before_put = overtake
    publish_draft(draft, store, [Ed25519PrivateKey.generate()])
    assert (draft.state, draft.error_code) == (DraftState.FAILED, "OBJECT_CHANGED")


def test_a_draft_that_was_published_elsewhere_is_not_withdrawn(acme: Airline, store: Store) -> None:
    draft = publish_draft(create_hashed_draft(acme, store, FILMS), store)
    store.put(KEY, b'{"version": 3, "content": []}')
    requests.request_withdraw(draft, ANYONE)
    run_operations(store)
    draft.refresh_from_db()
    assert (draft.state, document(store)["version"]) == (DraftState.FAILED, 3)


def test_withdrawing_deletes_manifest_and_signature_and_updates_the_campaign(acme: Airline, store: Store) -> None:
    Campaign.objects.create(airline=acme, name="2026-12", version=9)
    draft = publish_draft(create_hashed_draft(acme, store, FILMS), store, [Ed25519PrivateKey.generate()])
    assert draft.version == 10  # above every version ever known
    requests.request_withdraw(draft, ANYONE)
    run_operations(store)
    draft.refresh_from_db()
    assert [found.key for found in store.list()] == [f"ACME/2026-12/{name}.tgz" for name in FILMS]
    assert Campaign.objects.get().withdrawn_at == draft.withdrawn_at
    assert publish_draft(draft, store).version == 11
    assert Campaign.objects.get().withdrawn_at is None
    requests.request_withdraw(draft, ANYONE)
    store.delete(KEY)  # by someone else, or by this job before it was killed
    run_operations(store)
    draft.refresh_from_db()
    assert draft.state == DraftState.WITHDRAWN


def test_a_store_that_is_away_is_tried_again_and_then_given_up(acme: Airline, store: Store) -> None:
    draft = new_draft(acme)
    requests.request_scan(draft, ANYONE)
    tries: list[str] = []

    def away(prefix: str) -> None:
        tries.append(prefix)
        raise WorldError(Code.NETWORK, "the store refuses connections")

    store.before_list = away
    for attempt in range(RetryPolicy().max_attempts):
        run_operations(store)
        assert run_operations(store) == 0, "before its time"
        draft.refresh_from_db()
        assert (operation_of(draft).attempts, draft.error_code) == (attempt + 1, "NETWORK")
        end_pauses()
    assert len(tries) == RetryPolicy().max_attempts
    assert draft.state == DraftState.FAILED
    assert "can reach the object store" in draft.advice


def test_a_job_that_repeatedly_kills_its_worker_is_abandoned(acme: Airline, store: Store) -> None:
    draft = new_draft(acme)
    requests.request_scan(draft, ANYONE)
    store.before_list = lambda prefix: (_ for _ in ()).throw(SystemExit)
    for _ in range(RetryPolicy().max_attempts):
        with pytest.raises(SystemExit):
            run_slice(store)
        end_leases()
    run_operations(store)
    draft.refresh_from_db()
    assert (draft.state, draft.error_code) == (DraftState.FAILED, "INTERNAL")


def test_a_draft_that_a_job_works_on_can_be_stopped_but_not_asked_for_something_else(
    acme: Airline, store: Store
) -> None:
    draft = create_hashed_draft(acme, store, FILMS)
    requests.request_scan(draft, ANYONE)
    with pytest.raises(RequestRejected, match="A job is working on this draft"):
        requests.request_publish(draft, ANYONE)
    assert requests.stop(draft, ANYONE) == "Stopping."
    run_operations(store)
    draft.refresh_from_db()
    assert (draft.state, operation_of(draft).state) == (DraftState.READY, OperationState.CANCELLED)
    requests.request_publish(draft, ANYONE)
    with pytest.raises(RequestRejected, match="Nothing to stop"):
        requests.stop(draft, ANYONE)
    with pytest.raises(RequestRejected, match="cannot be cancelled"):
        cancel(operation_of(draft), ANYONE)


def test_a_request_wakes_a_worker(acme: Airline, django_capture_on_commit_callbacks: Any) -> None:
    before = queued_wakeups()
    with django_capture_on_commit_callbacks(execute=True):
        requests.request_scan(new_draft(acme), ANYONE)
    assert queued_wakeups() == before + 1


def test_drafts_take_turns_at_being_hashed(acme: Airline, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("x", "y"):
        for film in ("a", "b"):
            store.put(f"ACME/{name}/{film}.tgz", b"1")
    for draft in [scan_draft(new_draft(acme, name), store) for name in ("x", "y")]:
        requests.request_hash(draft, ANYONE)
    order: list[str] = []
    store.before_open = order.append
    monkeypatch.setattr(WorkerSlice, "is_over", True)
    run_operations(store)
    assert [key.split("/")[1] for key in order] == ["x", "y", "x", "y"]


def test_an_operation_that_was_followed_by_another_is_not_retried(acme: Airline, store: Store) -> None:
    draft = publish_draft(create_hashed_draft(acme, store, FILMS), store)
    failed = operation_of(draft)
    Operation.objects.filter(pk=failed.pk).update(state=OperationState.FAILED, can_retry=True)
    scan_draft(draft, store)
    with pytest.raises(RequestRejected, match="has had other work since"):
        retry(failed, ANYONE)


def test_a_draft_whose_operation_was_purged_can_be_stopped(acme: Airline, store: Store) -> None:
    draft = create_hashed_draft(acme, store, FILMS)
    requests.request_scan(draft, ANYONE)
    Operation.objects.all().delete()
    assert requests.stop(draft, ANYONE) == "Stopped."
    draft.refresh_from_db()
    assert draft.state == DraftState.READY


def test_without_openssl_an_item_is_hashed_in_one_go(
    acme: Airline, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resumable_sha256, "openssl", lambda: None)
    assert isinstance(resumable_sha256.resume(""), resumable_sha256.PlainSha256)
    draft = create_hashed_draft(acme, store, FILMS)
    assert find_item(draft, "movie-001").sha256 == campaign_drafts.sha256(b"one")


def test_many_items_take_few_queries(acme: Airline, store: Store) -> None:
    count = scaled(10_000, quick=2_000)
    entries = [{"name": f"track {n:05}", "size": 1, "sha256": campaign_drafts.sha256(b"x")} for n in range(count)]
    for entry in entries:
        store._objects[f"ACME/2026-12/{entry['name']}.tgz"] = store._objects.get("x") or _put_object(store)
    store.put(KEY, json.dumps({"content": entries}).encode())
    draft = new_draft(acme)
    with CaptureQueriesContext(connection) as queries:
        scan_draft(draft, store)
    assert (draft.state, draft.items.count()) == (DraftState.PUBLISHED, count)
    assert len(queries) < 400  # SQLite takes 37 rows per query
    draft.items.filter(name="track 00007").update(title="Seven")
    with CaptureQueriesContext(connection) as queries:
        publish_draft(draft, store)
    assert (draft.state, draft.version) == (DraftState.PUBLISHED, 1)
    assert len(queries) < 80
    with CaptureQueriesContext(connection) as queries:
        scan_draft(draft, store)
    assert len(queries) < 80


def _put_object(store: Store) -> Any:
    store.put("x", b"x")
    return store._objects["x"]


def test_a_hash_state_of_another_machine_type_is_discarded() -> None:
    begun = resumable_sha256.resume("")
    begun.update(memoryview(bytearray(b"abc" * 100)))
    aside = begun.state()
    again = resumable_sha256.resume(aside)
    again.update(memoryview(bytearray(b"d")))
    assert again.hexdigest() == campaign_drafts.sha256(b"abc" * 100 + b"d")
    assert begun.hexdigest() == campaign_drafts.sha256(b"abc" * 100)
    for broken in ("00", "no hex", "0" * 224, aside[:-8] + "00000021"):
        assert resumable_sha256.resume(broken).count == 0


def test_the_crc32_is_computed_with_the_hash_also_across_slices_and_published(acme: Airline) -> None:
    body = bytes(range(256)) * 40
    store = Slow(6, raising(WorldError(Code.SHORT_BODY)))
    store.put("ACME/2026-12/a.tgz", body)
    draft = scan_draft(new_draft(acme), store)
    requests.request_hash(draft, ANYONE)
    run_operations(store)
    assert find_item(draft, "a").hashed_bytes == 5000
    end_pauses()
    run_operations(store)
    publish_draft(draft, store)
    assert document(store)["content"][0]["crc32"] == f"{zlib.crc32(body):08x}"


def test_the_crc32_of_a_manifest_is_kept_with_its_hash_and_not_beyond(acme: Airline, store: Store) -> None:
    store.put("ACME/2026-12/a.tgz", b"one")
    entry = {"name": "a", "size": 3, "sha256": campaign_drafts.sha256(b"one"), "crc32": f"{zlib.crc32(b'one'):08X}"}
    store.put(KEY, json.dumps({"version": 1, "content": [entry]}).encode())
    draft = scan_draft(new_draft(acme), store)
    assert find_item(draft, "a").crc32 == f"{zlib.crc32(b'one'):08x}"
    publish_draft(draft, store)
    assert document(store)["content"][0]["crc32"] == f"{zlib.crc32(b'one'):08x}"
    store.now += timedelta(seconds=1)
    store.put("ACME/2026-12/a.tgz", b"two")
    draft = publish_draft(hash_draft(scan_draft(draft, store), store), store)
    assert document(store)["content"][0]["crc32"] == f"{zlib.crc32(b'two'):08x}"


def test_the_crc32_stays_unknown_if_the_saved_state_has_none(acme: Airline, store: Store) -> None:
    store.put("ACME/2026-12/a.tgz", b"one")
    draft = scan_draft(new_draft(acme), store)
    begun = resumable_sha256.resume("")
    begun.update(memoryview(bytearray(b"o")))
    draft.items.update(hashed_bytes=1, hash_state=begun.state())
    hash_draft(draft, store)
    row = find_item(draft, "a")
    assert (row.sha256, row.crc32) == (campaign_drafts.sha256(b"one"), "")
    publish_draft(draft, store)
    assert "crc32" not in document(store)["content"][0]
