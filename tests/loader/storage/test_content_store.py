"""The content directory: final names are complete files, planted links are not followed, torn state is ignored."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from pathlib import Path

import pytest

from loader.contract.manifest import Item
from loader.errors import WorldError
from loader.storage.content_store import ContentStore
from loader.storage.directory import Directory
from loader.storage.inventory import FileState, ManifestVersion
from loader.storage.partial_file import PartialFile
from tests.support.partial_files import append

BODY = os.urandom(300_000)
ITEM = Item("movie é 1", len(BODY), hashlib.sha256(BODY).hexdigest())
NEVER = threading.Event()
FIRST, SECOND = ManifestVersion("1" * 64, 1), ManifestVersion("2" * 64, 2)


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "content")


def fill(part: PartialFile, body: bytes, etag: str = "e1") -> None:
    part.resume(NEVER)
    if not part.etag:
        part.restart(etag)
    append(part, memoryview(body)[part.written_bytes :])


def load(
    store: ContentStore, item: Item, body: bytes, edition: ManifestVersion = FIRST, *, beside: bool = False
) -> None:
    with store.open_partial("c", item, edition) as part:
        fill(part, body)
        store.install("c", part, edition, staged=beside)


def final(store: ContentStore, item: Item = ITEM) -> Path:
    return store.path / "c" / f"{item.name}.tgz"


def begun(store: ContentStore, ending: str = ".part") -> Path:
    return store.path / ".loader" / "parts" / "c" / f"{ITEM.name}.tgz{ending}"


def test_an_item_takes_its_final_name_only_when_it_is_whole(store: ContentStore) -> None:
    with store.open_partial("c", ITEM, FIRST) as part:
        fill(part, BODY[:1000])
        part.save()
    assert not final(store).exists()
    assert store.item_state("c", ITEM).bytes_done == 1000
    load(store, ITEM, BODY)
    assert final(store).read_bytes() == BODY
    assert store.item_state("c", ITEM).file is FileState.COMPLETE
    assert not begun(store).exists()
    assert not begun(store, ".json").exists()


def test_bytes_on_disk_are_hashed_again_and_resumed(store: ContentStore) -> None:
    with store.open_partial("c", ITEM, FIRST) as part:
        fill(part, BODY[:123_456])
    with store.open_partial("c", ITEM, FIRST) as part:
        part.resume(NEVER)
        assert (part.written_bytes, part.etag) == (123_456, "e1")
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
def test_a_torn_state_is_never_believed(store: ContentStore, state: bytes) -> None:
    with store.open_partial("c", ITEM, FIRST) as part:
        fill(part, BODY[:1000])
    begun(store, ".json").write_bytes(state)
    assert store.item_state("c", ITEM).bytes_done == 0
    with store.open_partial("c", ITEM, FIRST) as part:
        part.resume(NEVER)
        assert (part.written_bytes, part.etag) == (0, "")
    assert not begun(store).exists()


def test_bytes_of_another_version_are_not_resumed(store: ContentStore) -> None:
    with store.open_partial("c", ITEM, FIRST) as part:
        fill(part, BODY[:1000])
    other = Item(ITEM.name, ITEM.size, "0" * 64)
    with store.open_partial("c", other, SECOND) as part:
        part.resume(NEVER)
        assert part.written_bytes == 0


def test_after_a_power_cut_only_durable_bytes_are_believed(tmp_path: Path) -> None:
    folder = Directory.open(tmp_path)
    part = PartialFile(folder, ITEM, 1, boot="before")
    fill(part, BODY[:5000])
    part.save()
    append(part, BODY[5000:9000])
    part.close()
    assert PartialFile.resumable_bytes(folder, ITEM, "before") == 9000
    assert PartialFile.resumable_bytes(folder, ITEM, "after") == 5000


def test_a_part_longer_than_its_item_is_dropped(store: ContentStore) -> None:
    with store.open_partial("c", ITEM, FIRST) as part:
        fill(part, BODY)
    with begun(store).open("ab") as stream:
        stream.write(b"more")
    assert store.item_state("c", ITEM).bytes_done == 0


@pytest.mark.parametrize(("body", "code"), [(BODY[:-1], "SIZE_MISMATCH"), (BODY[:-1] + b"?", "HASH_MISMATCH")])
def test_wrong_bytes_never_take_the_final_name(store: ContentStore, body: bytes, code: str) -> None:
    if body[-1:] == BODY[-1:]:
        body = BODY[:-1]
    with store.open_partial("c", ITEM, FIRST) as part:
        fill(part, body)
        with pytest.raises(WorldError) as failed:
            store.install("c", part, FIRST, staged=False)
        assert failed.value.code == code
        assert part.written_bytes == 0
    assert not final(store).exists()
    assert not begun(store).exists()


def test_an_item_without_a_hash_is_checked_by_its_size(store: ContentStore) -> None:
    item = Item("plain", len(BODY))
    load(store, item, BODY)
    assert store.item_state("c", item).file is FileState.COMPLETE
    assert store.item_state("c", item, "e1").file is FileState.COMPLETE
    assert store.item_state("c", item, "another object").file is FileState.OTHER
    assert store.item_state("c", Item("plain", len(BODY), ITEM.sha256)).file is FileState.COMPLETE
    assert store.item_state("c", Item("plain", len(BODY), "0" * 64)).file is FileState.OTHER


def test_a_file_touched_by_others_is_read_before_it_is_believed(store: ContentStore) -> None:
    load(store, ITEM, BODY)
    final(store).write_bytes(BODY[:-1] + b"?" if BODY[-1:] != b"?" else BODY[:-1] + b"!")
    assert store.item_state("c", ITEM).file is FileState.UNVERIFIED
    assert not store.verify("c", ITEM, "", FIRST, NEVER)
    final(store).write_bytes(BODY)
    assert store.verify("c", ITEM, "", FIRST, NEVER)
    assert store.item_state("c", ITEM).file is FileState.COMPLETE


def test_a_new_item_is_complete_without_reading_its_record(
    store: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("loader.storage.item_index.read_state", lambda *_: pytest.fail("the record was read"))
        load(store, ITEM, BODY)
        assert store.item_state("c", ITEM).file is FileState.COMPLETE

    assert ContentStore(store.path).item_state("c", ITEM).file is FileState.COMPLETE


def test_a_new_version_waits_beside_and_takes_over_as_a_whole(store: ContentStore) -> None:
    one, two, missing = Item("one", 3), Item("two", 3), Item("gone", 3)
    for item in (one, two, missing):
        load(store, item, b"old")
    store.mark_complete("c", [one, two, missing], FIRST)
    assert store.installed_version("c") == FIRST
    (store.path / "c" / "theirs.txt").write_text("not ours")
    new = [Item("one", 5, hashlib.sha256(b"newer").hexdigest()), two]
    load(store, new[0], b"newer", SECOND, beside=True)
    assert final(store, one).read_bytes() == b"old"
    assert store.item_state("c", new[0]).staged
    store.activate_staged("c", new)
    store.mark_complete("c", new, SECOND)
    assert final(store, one).read_bytes() == b"newer"
    assert sorted(path.name for path in (store.path / "c").iterdir()) == ["one.tgz", "theirs.txt", "two.tgz"]
    assert store.installed_version("c") == SECOND
    assert [(report.campaign, report.items, report.bytes, report.verified) for report in store.held_campaigns()] == [
        ("c", 2, 8, False)
    ]


def test_parts_of_items_no_longer_listed_are_removed(store: ContentStore) -> None:
    with store.open_partial("c", ITEM, FIRST) as part:
        fill(part, BODY[:1000])
    store.remove_stale_partials("c", [ITEM])
    assert begun(store).exists()
    store.remove_stale_partials("c", [Item("other", 1)])
    assert not begun(store).parent.exists()


def test_a_second_loader_gets_an_error_and_touches_nothing(store: ContentStore) -> None:
    assert store.lock()
    before = sorted(store.path.rglob("*"))
    assert not ContentStore(store.path).lock()
    assert sorted(store.path.rglob("*")) == before == []
    store.close()
    assert ContentStore(store.path).lock()


# Planted files and links.


def test_a_link_in_place_of_a_part_is_not_written_through(store: ContentStore, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    begun(store).parent.mkdir(parents=True)
    for plant in (begun(store).symlink_to, begun(store).hardlink_to):
        plant(victim)
        load(store, ITEM, BODY)
        assert victim.read_bytes() == b"precious"
        assert final(store).read_bytes() == BODY


def test_a_link_in_place_of_a_part_with_a_believable_state_is_not_followed(store: ContentStore, tmp_path: Path) -> None:
    with store.open_partial("c", ITEM, FIRST) as part:
        fill(part, BODY[:1000])
    victim = tmp_path / "victim"
    victim.write_bytes(BODY[:1000])
    begun(store).unlink()
    begun(store).hardlink_to(victim)
    load(store, ITEM, BODY)
    assert victim.read_bytes() == BODY[:1000]
    assert final(store).read_bytes() == BODY


def test_a_link_under_the_final_name_is_replaced_not_followed(store: ContentStore, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(BODY)
    final(store).parent.mkdir(parents=True)
    final(store).symlink_to(victim)
    assert store.item_state("c", ITEM).file is FileState.ABSENT
    load(store, ITEM, BODY)
    assert not final(store).is_symlink()
    assert victim.read_bytes() == BODY


@pytest.mark.parametrize("place", ["c", ".loader", ".loader/parts", ".loader/parts/c", ".loader/held"])
def test_a_link_in_place_of_a_folder_is_an_error_of_the_item(store: ContentStore, tmp_path: Path, place: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (store.path / place).parent.mkdir(parents=True, exist_ok=True)
    (store.path / place).symlink_to(elsewhere)
    with pytest.raises(WorldError) as failed:
        load(store, ITEM, BODY)
    assert failed.value.code == "IO_ERROR"
    assert list(elsewhere.iterdir()) == []


def test_a_pipe_in_place_of_a_part_blocks_nothing(store: ContentStore) -> None:
    begun(store).parent.mkdir(parents=True)
    os.mkfifo(begun(store))
    load(store, ITEM, BODY)
    assert final(store).read_bytes() == BODY


def test_a_disk_error_names_no_path_outside(store: ContentStore) -> None:
    (store.path / "c").write_text("a file where a folder should be")
    with pytest.raises(WorldError) as failed:
        load(store, ITEM, BODY)
    assert failed.value.code == "IO_ERROR"
    assert str(store.path) not in str(failed.value)


def test_after_a_failed_fsync_the_bytes_are_dropped(store: ContentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    honest = os.fsync

    def broken(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            return honest(descriptor)
        calls.append(descriptor)
        raise OSError(5, "Input/output error")

    with store.open_partial("c", ITEM, FIRST) as part:
        fill(part, BODY)
        monkeypatch.setattr(os, "fsync", broken)
        with pytest.raises(WorldError) as failed:
            store.install("c", part, FIRST, staged=False)
    assert calls
    assert failed.value.code == "IO_ERROR"
    monkeypatch.undo()
    assert store.item_state("c", ITEM).bytes_done == 0
    assert not final(store).exists()
