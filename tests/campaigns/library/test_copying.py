"""Copies of library items into a campaign: placed and listed, conflicts, faults at every step, cancelling, retries."""

from __future__ import annotations

import pytest

from campaigns.library import copying
from campaigns.library.models import LibraryItem
from campaigns.library.requests import RequestRefused, request_copies
from campaigns.models import Draft, DraftState
from campaigns.uploads.stages import copying as parts
from campaigns.uploads.stages import work as store_work
from ifeportal.audit import Actor
from ifeportal.models import AuditEntry
from ifeportal.operations.kinds import Continue, Wait
from ifeportal.operations.models import Operation
from ifeportal.operations.serialization import operation_state
from loader.errors import Code, WorldError
from loader.s3.memory import MemoryBucket
from tests.conftest import Cast
from tests.support.campaign_drafts import (
    create_hashed_draft,
    find_item,
    new_draft,
    publish_draft,
    read_manifest,
    scan_draft,
)
from tests.support.library import copy_items, copy_slice, copy_to_end, new_item
from tests.support.upload_work import MIB, FaultyBucket, Killed, TestSlice, noise

pytestmark = pytest.mark.django_db
LARGE = noise(6 * MIB)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy items over 5 MiB in parts, of which a slice that is over copies at most one."""
    monkeypatch.setattr(store_work, "WATCH_INTERVAL", 0.02)
    monkeypatch.setattr(copying, "SMALLEST_PART", 5 * MIB)
    monkeypatch.setattr(parts, "SMALLEST_PART", 5 * MIB)


@pytest.fixture
def media() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture
def draft(cast: Cast, media: MemoryBucket) -> Draft:
    return create_hashed_draft(cast.acme, media, {"old": b"old film"})


def body_of(media: MemoryBucket, key: str) -> bytes:
    return media.open(key).read(10 * MIB)


def again(operation: Operation) -> Operation:
    return Operation.objects.select_related("airline", "user").get(pk=operation.pk)


def test_items_are_copied_listed_hashed_and_can_be_published(cast: Cast, media: MemoryBucket, draft: Draft) -> None:
    small = new_item(cast.acme, "safety", b"safety", media, title="Safety <b>", kind="video")
    large = new_item(cast.acme, "film", LARGE, media)
    operation = copy_items(draft, cast.mona, large, small)
    assert (operation.title, operation.bytes_total) == ("Add 2 items from the library to 2026-12", len(LARGE) + 6)
    assert copy_to_end(operation, media) is None
    assert body_of(media, "ACME/2026-12/film.tgz") == LARGE
    assert body_of(media, "ACME/.library/film.tgz") == LARGE
    item = find_item(draft, "safety")
    assert (item.included, item.is_hashed, item.title, item.kind) == (True, True, "Safety <b>", "video")
    assert item.sha256 == small.sha256
    draft.refresh_from_db()
    assert draft.state == DraftState.READY
    publish_draft(draft, media)
    assert {each.name for each in read_manifest(draft, media).content} == {"old", "safety", "film"}
    state = operation_state(again(operation))
    assert (state["items_total"], state["items_copied"], state["items_failed"]) == (2, 2, [])
    assert state["page"] == "/library/add/ACME/2026-12/"
    entry = AuditEntry.objects.get(action="draft.from-library")
    assert entry.changes == {"items": [None, "film, safety"]}
    # A scan finds the objects as they were listed.
    scan_draft(draft, media)
    assert find_item(draft, "film").is_hashed


def test_one_conflict_names_the_item_and_the_others_go_on(cast: Cast, media: MemoryBucket, draft: Draft) -> None:
    items = [new_item(cast.acme, name, name.encode(), media) for name in ("changed", "gone", "ok", "same", "taken")]
    large = new_item(cast.acme, "large", LARGE, media)
    operation = copy_items(draft, cast.mona, *items, large)
    media.put("ACME/.library/changed.tgz", b"CHANGED")
    media.delete("ACME/.library/gone.tgz")
    media.put("ACME/2026-12/same.tgz", b"same")
    media.put("ACME/2026-12/taken.tgz", b"TAKEN")
    media.put("ACME/2026-12/large.tgz", LARGE[::-1])
    LibraryItem.objects.filter(name="vanished").delete()
    error = copy_to_end(operation, media)
    assert error is not None
    assert error.can_retry
    assert error.failure.error.startswith("4 items of 6 could not be added. changed: Its object in the library changed")
    assert body_of(media, "ACME/2026-12/taken.tgz") == b"TAKEN"
    assert body_of(media, "ACME/2026-12/large.tgz") == LARGE[::-1]
    assert not list(media.list_uploads("ACME/"))
    assert set(draft.items.values_list("name", flat=True)) == {"old", "ok", "same"}
    failed = operation_state(again(operation))["items_failed"]
    assert [each["name"] for each in failed] == ["changed", "gone", "taken", "large"]
    # After what was in the way is removed, a retry copies only those that failed.
    media.delete("ACME/2026-12/taken.tgz")
    media.delete("ACME/2026-12/large.tgz")
    copying.restart(again(operation))
    assert again(operation).checkpoint["items"] == [[row.pk, row.name] for row in (items[0], items[1], items[4], large)]
    error = copy_to_end(operation, media)
    assert error is not None
    assert error.failure.error.startswith("2 items of 6")
    assert find_item(draft, "large").is_hashed
    assert find_item(draft, "taken").is_hashed


def test_an_item_that_was_deleted_meanwhile_is_named(cast: Cast, media: MemoryBucket, draft: Draft) -> None:
    item = new_item(cast.acme, "film", b"film", media)
    operation = copy_items(draft, cast.mona, item)
    item.delete()
    error = copy_to_end(operation, media)
    assert error is not None
    assert error.failure.error == "1 item of 1 could not be added. film: The library does not have it any more."


def test_what_a_campaign_has_or_receives_is_not_copied_again(cast: Cast, media: MemoryBucket, draft: Draft) -> None:
    old = new_item(cast.acme, "OLD", b"another", media)
    film = new_item(cast.acme, "film", b"film", media)
    operation = copy_items(draft, cast.mona, film, old)
    assert operation.checkpoint["items"] == [[film.pk, "film"]]
    with pytest.raises(RequestRefused, match="already has items of these names"):
        copy_items(draft, cast.mona, film, old)
    with pytest.raises(RequestRefused, match="Select at least one item"):
        request_copies(Actor.job(cast.mona), draft, [])


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("error", [lambda: WorldError(Code.NETWORK, "away"), Killed], ids=["away", "killed"])
def test_fault_at_every_call_to_the_store(cast: Cast, after: bool, error: type[Killed]) -> None:
    at, fired = 0, True
    while fired:
        at += 1
        Draft.objects.all().delete()
        LibraryItem.objects.all().delete()
        media = FaultyBucket(at, after=after, error=error)
        items = [new_item(cast.acme, "large", LARGE, media), new_item(cast.acme, "small", b"small", media)]
        draft = new_draft(cast.acme, scanned_at="2026-12-01T12:00Z")
        operation = copy_items(draft, cast.mona, *items)
        media.armed = True
        faults, failed = 0, None
        try:
            failed = copy_to_end(operation, media)
        except Killed:
            faults += 1
            failed = copy_to_end(operation, media)
        media.armed, fired = False, media.fired
        assert failed is None
        assert faults == int(fired and error is Killed)
        assert {info.key for info in media.list("ACME/2026-12/")} == {
            f"ACME/2026-12/{x}.tgz" for x in ("large", "small")
        }
        assert body_of(media, "ACME/2026-12/large.tgz") == LARGE
        assert all(item.is_hashed for item in draft.items.all())
        assert draft.items.count() == 2
        assert again(operation).checkpoint["copied_bytes"] == len(LARGE) + 5
        Operation.objects.all().delete()
    assert at > 8, "there are that many calls"


def test_slices_end_between_parts_and_items_and_a_busy_draft_is_waited_for(
    cast: Cast, media: MemoryBucket, draft: Draft
) -> None:
    items = [new_item(cast.acme, "a", b"a", media), new_item(cast.acme, "b", b"b", media)]
    operation = copy_items(draft, cast.mona, *items)
    assert isinstance(copy_slice(operation, media, over=True), Continue)
    assert set(draft.items.values_list("name", flat=True)) == {"old", "a"}
    Draft.objects.update(state=DraftState.PUBLISHING)
    waiting = copy_slice(operation, media, over=True)
    assert isinstance(waiting, Wait)
    assert waiting.reason == "Waiting until the job that works on the campaign 2026-12 ends: publishing."
    Draft.objects.update(state=DraftState.EDITING)
    assert copy_to_end(operation, media) is None
    assert draft.items.count() == 3


def test_a_cancelled_copy_leaves_no_parts_and_lists_what_was_copied(
    cast: Cast, media: MemoryBucket, draft: Draft, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_media", lambda: media)
    upload = media.begin_upload("ACME/2026-12/film.tgz")
    small = new_item(cast.acme, "small", b"small", media)
    operation = copy_items(draft, cast.mona, small, new_item(cast.acme, "film", LARGE, media))
    Draft.objects.update(state=DraftState.PUBLISHING)
    copy_slice(operation, media, over=True)
    row = again(operation)
    row.checkpoint["current"] = {"key": upload.key, "upload_id": upload.upload_id}
    Draft.objects.update(state=DraftState.EDITING)
    for _ in range(2):  # it may be repeated
        copying.clean_up(TestSlice(row))
    assert not list(media.list_uploads("ACME/"))
    assert set(draft.items.values_list("name", flat=True)) == {"old", "small"}
