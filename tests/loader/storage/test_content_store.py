"""The content directory: nothing half-done under a final name, nothing planted is followed, no torn state believed."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from pathlib import Path

import pytest

from loader.contract.manifest import Item
from loader.errors import WorldError
from loader.storage.content_store import Store
from loader.storage.directory import Folder
from loader.storage.inventory import Edition
from loader.storage.partial_file import Part
from tests.support.partial_files import append

BODY = os.urandom(300_000)
ITEM = Item("movie é 1", len(BODY), hashlib.sha256(BODY).hexdigest())
NEVER = threading.Event()
FIRST, SECOND = Edition("1" * 64, 1), Edition("2" * 64, 2)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "content")


def fill(part: Part, body: bytes, etag: str = "e1") -> None:
    part.resume(NEVER)
    if not part.etag:
        part.begin(etag)
    append(part, memoryview(body)[part.kept :])


def load(store: Store, item: Item, body: bytes, edition: Edition = FIRST, *, beside: bool = False) -> None:
    with store.part("c", item, edition) as part:
        fill(part, body)
        store.finish("c", part, edition, beside=beside)


def final(store: Store, item: Item = ITEM) -> Path:
    return store.path / "c" / f"{item.name}.tgz"


def begun(store: Store, ending: str = ".part") -> Path:
    return store.path / ".loader" / "parts" / "c" / f"{ITEM.name}.tgz{ending}"


def test_an_item_takes_its_final_name_only_when_it_is_whole(store: Store) -> None:
    with store.part("c", ITEM, FIRST) as part:
        fill(part, BODY[:1000])
        part.save()
    assert not final(store).exists()
    assert store.find("c", ITEM).part == 1000
    load(store, ITEM, BODY)
    assert final(store).read_bytes() == BODY
    assert store.find("c", ITEM).final == "whole"
    assert not begun(store).exists()
    assert not begun(store, ".json").exists()


def test_what_is_on_disk_is_hashed_again_and_gone_on_with(store: Store) -> None:
    with store.part("c", ITEM, FIRST) as part:
        fill(part, BODY[:123_456])
    with store.part("c", ITEM, FIRST) as part:
        part.resume(NEVER)
        assert (part.kept, part.etag) == (123_456, "e1")
        assert part.sha256 == hashlib.sha256(BODY[:123_456]).hexdigest()


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"etag": 5}',
        b'{"etag":"e1","size":true,"durable":0,"boot":""}',
        b"\xff\xfe",
        b"[" * 9000,
    ],
)
def test_a_torn_state_is_never_believed(store: Store, state: bytes) -> None:
    with store.part("c", ITEM, FIRST) as part:
        fill(part, BODY[:1000])
    begun(store, ".json").write_bytes(state)
    assert store.find("c", ITEM).part == 0
    with store.part("c", ITEM, FIRST) as part:
        part.resume(NEVER)
        assert (part.kept, part.etag) == (0, "")
    assert not begun(store).exists()


def test_bytes_of_another_version_are_not_gone_on_with(store: Store) -> None:
    with store.part("c", ITEM, FIRST) as part:
        fill(part, BODY[:1000])
    other = Item(ITEM.name, ITEM.size, "0" * 64)
    with store.part("c", other, SECOND) as part:
        part.resume(NEVER)
        assert part.kept == 0


def test_after_a_power_cut_only_durable_bytes_are_believed(tmp_path: Path) -> None:
    folder = Folder.open(tmp_path)
    part = Part(folder, ITEM, 1, boot="before")
    fill(part, BODY[:5000])
    part.save()
    append(part, BODY[5000:9000])
    part.close()
    assert Part.trusted(folder, ITEM, "before") == 9000
    assert Part.trusted(folder, ITEM, "after") == 5000


def test_a_part_longer_than_its_item_is_dropped(store: Store) -> None:
    with store.part("c", ITEM, FIRST) as part:
        fill(part, BODY)
    with begun(store).open("ab") as stream:
        stream.write(b"more")
    assert store.find("c", ITEM).part == 0


@pytest.mark.parametrize(("body", "code"), [(BODY[:-1], "SIZE_MISMATCH"), (BODY[:-1] + b"?", "HASH_MISMATCH")])
def test_wrong_bytes_never_take_the_final_name(store: Store, body: bytes, code: str) -> None:
    if body[-1:] == BODY[-1:]:
        body = BODY[:-1]
    with store.part("c", ITEM, FIRST) as part:
        fill(part, body)
        with pytest.raises(WorldError) as failed:
            store.finish("c", part, FIRST, beside=False)
        assert failed.value.code == code
        assert part.kept == 0
    assert not final(store).exists()
    assert not begun(store).exists()


def test_an_item_without_a_hash_is_checked_by_its_size(store: Store) -> None:
    item = Item("plain", len(BODY))
    load(store, item, BODY)
    assert store.find("c", item).final == "whole"
    assert store.find("c", item, "e1").final == "whole"
    assert store.find("c", item, "another object").final == "other"
    assert store.find("c", Item("plain", len(BODY), ITEM.sha256)).final == "whole"
    assert store.find("c", Item("plain", len(BODY), "0" * 64)).final == "other"


def test_a_file_touched_by_others_is_read_before_it_is_believed(store: Store) -> None:
    load(store, ITEM, BODY)
    final(store).write_bytes(BODY[:-1] + b"?" if BODY[-1:] != b"?" else BODY[:-1] + b"!")
    assert store.find("c", ITEM).final == "unchecked"
    assert not store.verify("c", ITEM, "", FIRST, NEVER)
    final(store).write_bytes(BODY)
    assert store.verify("c", ITEM, "", FIRST, NEVER)
    assert store.find("c", ITEM).final == "whole"


def test_a_new_version_waits_beside_and_takes_over_as_a_whole(store: Store) -> None:
    one, two, gone = Item("one", 3), Item("two", 3), Item("gone", 3)
    for item in (one, two, gone):
        load(store, item, b"old")
    store.settle("c", [one, two, gone], FIRST)
    assert store.edition("c") == FIRST
    (store.path / "c" / "theirs.txt").write_text("not ours")
    new = [Item("one", 5, hashlib.sha256(b"newer").hexdigest()), two]
    load(store, new[0], b"newer", SECOND, beside=True)
    assert final(store, one).read_bytes() == b"old"
    assert store.find("c", new[0]).beside
    store.switch("c", new)
    store.settle("c", new, SECOND)
    assert final(store, one).read_bytes() == b"newer"
    assert sorted(path.name for path in (store.path / "c").iterdir()) == ["one.tgz", "theirs.txt", "two.tgz"]
    assert store.edition("c") == SECOND
    assert [(held.campaign, held.items, held.bytes, held.verified) for held in store.held()] == [("c", 2, 8, False)]


def test_parts_of_items_no_longer_listed_are_removed(store: Store) -> None:
    with store.part("c", ITEM, FIRST) as part:
        fill(part, BODY[:1000])
    store.tidy("c", [ITEM])
    assert begun(store).exists()
    store.tidy("c", [Item("other", 1)])
    assert not begun(store).parent.exists()


def test_a_second_loader_is_told_and_touches_nothing(store: Store) -> None:
    assert store.lock()
    before = sorted(store.path.rglob("*"))
    assert not Store(store.path).lock()
    assert sorted(store.path.rglob("*")) == before == []
    store.close()
    assert Store(store.path).lock()


# What others may have planted.


def test_a_link_in_place_of_a_part_is_not_written_through(store: Store, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    begun(store).parent.mkdir(parents=True)
    for plant in (begun(store).symlink_to, begun(store).hardlink_to):
        plant(victim)
        load(store, ITEM, BODY)
        assert victim.read_bytes() == b"precious"
        assert final(store).read_bytes() == BODY


def test_a_link_in_place_of_a_part_with_a_believable_state_is_not_followed(store: Store, tmp_path: Path) -> None:
    with store.part("c", ITEM, FIRST) as part:
        fill(part, BODY[:1000])
    victim = tmp_path / "victim"
    victim.write_bytes(BODY[:1000])
    begun(store).unlink()
    begun(store).hardlink_to(victim)
    load(store, ITEM, BODY)
    assert victim.read_bytes() == BODY[:1000]
    assert final(store).read_bytes() == BODY


def test_a_link_under_the_final_name_is_replaced_not_followed(store: Store, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(BODY)
    final(store).parent.mkdir(parents=True)
    final(store).symlink_to(victim)
    assert store.find("c", ITEM).final == "absent"
    load(store, ITEM, BODY)
    assert not final(store).is_symlink()
    assert victim.read_bytes() == BODY


@pytest.mark.parametrize("place", ["c", ".loader", ".loader/parts", ".loader/parts/c", ".loader/held"])
def test_a_link_in_place_of_a_folder_is_an_error_of_the_item(store: Store, tmp_path: Path, place: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (store.path / place).parent.mkdir(parents=True, exist_ok=True)
    (store.path / place).symlink_to(elsewhere)
    with pytest.raises(WorldError) as failed:
        load(store, ITEM, BODY)
    assert failed.value.code == "IO_ERROR"
    assert list(elsewhere.iterdir()) == []


def test_a_pipe_in_place_of_a_part_stops_nobody(store: Store) -> None:
    begun(store).parent.mkdir(parents=True)
    os.mkfifo(begun(store))
    load(store, ITEM, BODY)
    assert final(store).read_bytes() == BODY


def test_a_disk_error_names_no_path_outside(store: Store) -> None:
    (store.path / "c").write_text("a file where a folder should be")
    with pytest.raises(WorldError) as failed:
        load(store, ITEM, BODY)
    assert failed.value.code == "IO_ERROR"
    assert str(store.path) not in str(failed.value)


def test_after_a_failed_fsync_the_bytes_are_dropped(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    honest = os.fsync

    def broken(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            return honest(descriptor)
        calls.append(descriptor)
        raise OSError(5, "Input/output error")

    with store.part("c", ITEM, FIRST) as part:
        fill(part, BODY)
        monkeypatch.setattr(os, "fsync", broken)
        with pytest.raises(WorldError) as failed:
            store.finish("c", part, FIRST, beside=False)
    assert calls
    assert failed.value.code == "IO_ERROR"
    monkeypatch.undo()
    assert store.find("c", ITEM).part == 0
    assert not final(store).exists()
