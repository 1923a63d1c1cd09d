"""Equal content gets a hard link; a purge removes one campaign completely and nothing else. Real disk, with kills."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from loader import failpoints
from loader.contract.manifest import Exhibition, Item
from loader.errors import WorldError
from loader.storage.content_store import ContentStore
from loader.storage.directory import Directory
from loader.storage.inventory import CampaignOnDisk, FileState, ManifestVersion
from loader.storage.item_index import ItemIndex
from tests.support.partial_files import append

BODY, OTHER = os.urandom(300_000), os.urandom(10_000)
NEVER = threading.Event()
FIRST, SECOND = ManifestVersion("1" * 64, 1), ManifestVersion("2" * 64, 2)


def of(name: str, body: bytes) -> Item:
    return Item(name, len(body), hashlib.sha256(body).hexdigest())


FILM = of("film é", BODY)


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(tmp_path / "content")


def load(
    store: ContentStore,
    campaign: str,
    item: Item,
    body: bytes,
    edition: ManifestVersion = FIRST,
    *,
    beside: bool = False,
) -> None:
    begin(store, campaign, item, body)
    with store.open_partial(campaign, item, edition) as part:
        part.resume(NEVER)
        store.install(campaign, part, edition, staged=beside)


def begin(store: ContentStore, campaign: str, item: Item, body: bytes) -> None:
    with store.open_partial(campaign, item, FIRST) as part:
        part.resume(NEVER)
        part.restart("e1")
        append(part, body)
        part.save()


def whole(store: ContentStore, campaign: str, bodies: dict[str, bytes], ends: date | None = None) -> None:
    """A complete campaign."""
    items = [of(name, body) for name, body in bodies.items()]
    for item in items:
        load(store, campaign, item, bodies[item.name])
    store.mark_complete(campaign, items, FIRST, exhibition=Exhibition(ends=ends), title="A title")


def final(store: ContentStore, campaign: str, item: Item) -> Path:
    return store.path / campaign / f"{item.name}.tgz"


def tree(store: ContentStore) -> set[str]:
    """Return every file."""
    return {str(path.relative_to(store.path)) for path in store.path.rglob("*") if not path.is_dir()}


def killed_at(point: str, do: Callable[[], object]) -> bool:
    """Run the work in a process that dies at a failpoint; return whether it did."""
    child = os.fork()
    if child == 0:
        failpoints.enable_failpoints({failpoints.VARIABLE: point})
        do()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


# Linking.


class Raced(ItemIndex):
    """An index that another thread invalidates right after each read of its locations."""

    def __getattribute__(self, name: str) -> object:
        return self.__dict__.pop(name, None) if name == "_locations" else super().__getattribute__(name)


def test_an_index_that_is_invalidated_during_a_look_up_still_answers(store: ContentStore) -> None:
    whole(store, "old", {"a": BODY})
    with Directory.open(store.path) as root:
        index = ItemIndex(root)
        assert index.has_duplicate("new", FILM)
        index.__class__ = Raced
        assert index.has_duplicate("new", FILM)


def test_the_same_content_of_another_campaign_is_found_and_linked(store: ContentStore) -> None:
    load(store, "old", FILM, BODY)
    again = of("another name", BODY)
    assert store.item_state("new", again).linkable
    assert store.link_duplicate("new", again, SECOND, staged=False)
    assert store.item_state("new", again).file is FileState.COMPLETE
    assert final(store, "new", again).samefile(final(store, "old", FILM))
    assert not [name for name in tree(store) if "parts" in name]


def test_a_new_version_that_only_renames_is_linked_beside(store: ContentStore) -> None:
    whole(store, "c", {"a": BODY, "b": OTHER})
    swapped = [of("a", OTHER), of("b", BODY)]
    for item in swapped:
        assert store.item_state("c", item).linkable
        assert store.link_duplicate("c", item, SECOND, staged=True)
        assert store.item_state("c", item).staged
    assert final(store, "c", swapped[0]).read_bytes() == BODY
    store.activate_staged("c", swapped)
    store.mark_complete("c", swapped, SECOND)
    assert [final(store, "c", item).read_bytes() for item in swapped] == [OTHER, BODY]
    assert [store.item_state("c", item).file for item in swapped] == [FileState.COMPLETE, FileState.COMPLETE]
    assert [final(store, "c", item).stat().st_nlink for item in swapped] == [1, 1]


def test_bytes_begun_are_given_up_for_a_link(store: ContentStore) -> None:
    load(store, "old", FILM, BODY)
    begin(store, "new", FILM, BODY[:1000])
    assert (store.item_state("new", FILM).bytes_done, store.item_state("new", FILM).linkable) == (1000, True)
    assert store.link_duplicate("new", FILM, SECOND, staged=False)
    assert not [name for name in tree(store) if "parts" in name]


def test_without_a_hash_nothing_is_the_same(store: ContentStore) -> None:
    load(store, "old", FILM, BODY)
    assert not store.item_state("new", Item("film", len(BODY))).linkable
    assert not store.item_state("new", Item("film", len(BODY), "0" * 64)).linkable
    assert not store.item_state("new", Item("film", len(BODY) + 1, FILM.sha256)).linkable


def test_link_sources_are_found_after_a_restart_and_after_every_change(store: ContentStore) -> None:
    load(store, "old", FILM, BODY)
    again = ContentStore(store.path)
    assert again.item_state("new", FILM).linkable
    load(again, "old", of("late", OTHER), OTHER)
    assert again.item_state("new", of("late", OTHER)).linkable
    again.purge("old", ["late"])
    assert not again.item_state("new", of("late", OTHER)).linkable
    newer = os.urandom(5000)
    load(again, "old", of("late", newer), newer, SECOND, beside=True)
    assert not again.item_state("new", of("late", newer)).linkable
    again.activate_staged("old", [of("late", newer)])
    assert again.item_state("new", of("late", newer)).linkable


def test_files_changed_by_other_programs_are_not_linked(store: ContentStore) -> None:
    load(store, "old", FILM, BODY)
    load(store, "older", FILM, BODY)
    assert store.item_state("new", FILM).linkable
    final(store, "old", FILM).unlink()
    final(store, "older", FILM).write_bytes(BODY[:-1] + bytes([BODY[-1] ^ 1]))
    assert not store.item_state("new", FILM).linkable
    assert not store.link_duplicate("new", FILM, SECOND, staged=False)
    assert not final(store, "new", FILM).exists()


def test_a_planted_link_is_no_source(store: ContentStore, tmp_path: Path) -> None:
    load(store, "old", FILM, BODY)
    moved = tmp_path / "moved"
    final(store, "old", FILM).rename(moved)
    final(store, "old", FILM).symlink_to(moved)
    assert not store.item_state("new", FILM).linkable
    assert not store.link_duplicate("new", FILM, SECOND, staged=False)


def test_a_file_system_without_links_is_reported_once(store: ContentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    load(store, "old", FILM, BODY)
    tried: list[object] = []

    def refuse(*names: object, **_: object) -> None:
        tried.append(names)
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert not store.link_duplicate("new", FILM, SECOND, staged=False)
    assert tried
    assert not store.item_state("new", FILM).linkable


def test_a_disk_that_is_broken_while_linking_is_an_error(store: ContentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    load(store, "old", FILM, BODY)

    def refuse(*_names: object, **_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(WorldError) as failed:
        store.link_duplicate("new", FILM, SECOND, staged=False)
    assert failed.value.code == "IO_ERROR"


@pytest.mark.parametrize("point", ["link-made", "linked"])
@pytest.mark.parametrize("beside", [False, True])
def test_a_kill_while_linking_is_made_good(store: ContentStore, point: str, beside: bool) -> None:
    load(store, "old", FILM, BODY)
    assert killed_at(point, lambda: store.link_duplicate("new", FILM, SECOND, staged=beside))
    again = ContentStore(store.path)
    place = final(again, "new", FILM)
    assert not place.exists() or place.read_bytes() == BODY
    assert again.item_state("new", FILM).file in (FileState.ABSENT, FileState.UNVERIFIED)
    assert again.link_duplicate("new", FILM, SECOND, staged=beside)
    assert again.item_state("new", FILM).staged if beside else again.item_state("new", FILM).file is FileState.COMPLETE
    assert not [name for name in tree(again) if "parts" in name]


def test_a_linked_file_can_be_read_to_verify_it(store: ContentStore) -> None:
    load(store, "old", FILM, BODY)
    store.link_duplicate("new", FILM, SECOND, staged=False)
    (store.path / ".loader" / "held" / "new" / f"{FILM.name}.tgz.json").unlink()
    assert store.item_state("new", FILM).file is FileState.UNVERIFIED
    assert store.verify("new", FILM, "", SECOND, NEVER)
    assert store.item_state("new", FILM).file is FileState.COMPLETE


def test_the_state_of_a_campaign_matches_the_states_of_its_items(store: ContentStore) -> None:
    whole(store, "c", {"a": BODY, "b": OTHER})
    begin(store, "c", of("begun", BODY), BODY[:10])
    items = [of("a", BODY), of("b", BODY), of("begun", BODY), of("gone", b"x"), Item("a2", 5)]
    assert store.item_states("c", items, {}) == {item.name: store.item_state("c", item) for item in items}


# Purging.


def test_a_purged_campaign_leaves_no_files_and_others_are_preserved(store: ContentStore) -> None:
    whole(store, "c", {"a": BODY, "b": OTHER})
    whole(store, "d", {"a": OTHER})
    expected = {name for name in tree(store) if name.startswith("d/") or "/d/" in name or name.endswith("/d.json")}
    load(store, "c", of("a", OTHER), OTHER, SECOND, beside=True)
    begin(store, "c", of("begun", BODY), BODY)
    # b and d/a are two files although their content is the same: they were not linked.
    assert store.purge("c", None) == 2 * len(BODY) + 2 * len(OTHER)
    assert tree(store) == expected
    assert [report.campaign for report in store.held_campaigns()] == ["d"]
    assert not (store.path / "c").exists()
    assert [one.campaign for one in store.list_campaigns()] == ["d"]
    assert store.purge("c", None) == 0


def test_foreign_files_and_link_targets_are_preserved(store: ContentStore, tmp_path: Path) -> None:
    whole(store, "c", {"a": BODY, "b": OTHER})
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (store.path / "c" / "theirs.txt").write_text("not ours")
    (store.path / "c" / "theirs.tgz").write_text("not ours either")
    final(store, "c", of("b", OTHER)).unlink()
    final(store, "c", of("b", OTHER)).symlink_to(victim)
    store.purge("c", None)
    assert victim.read_bytes() == b"precious"
    assert sorted(path.name for path in (store.path / "c").iterdir()) == ["b.tgz", "theirs.tgz", "theirs.txt"]
    assert store.held_campaigns() == []


def test_a_folder_that_is_a_link_is_not_purged_through(store: ContentStore, tmp_path: Path) -> None:
    whole(store, "c", {"a": BODY})
    elsewhere = tmp_path / "elsewhere"
    (store.path / "c").rename(elsewhere)
    (store.path / "c").symlink_to(elsewhere)
    store.purge("c", None)
    assert (elsewhere / "a.tgz").read_bytes() == BODY


def test_some_items_go_and_the_campaign_is_no_longer_whole(store: ContentStore) -> None:
    whole(store, "c", {"a": BODY, "b": OTHER}, ends=date(2026, 12, 31))
    assert store.purge("c", ["not there"]) == 0
    assert len(store.held_campaigns()) == 1
    assert store.purge("c", ["a"]) == len(BODY)
    assert (store.item_state("c", of("a", BODY)).file, store.item_state("c", of("b", OTHER)).file) == (
        FileState.ABSENT,
        FileState.COMPLETE,
    )
    assert (store.held_campaigns(), store.installed_version("c")) == ([], None)
    assert store.list_campaigns() == [
        CampaignOnDisk("c", None, date(2026, 12, 31), False, (len(OTHER),), frozenset("b"))
    ]


@pytest.mark.parametrize("point", ["purge-begun", "purge-halfway", "purge-halfway:2"])
def test_a_purge_that_was_killed_is_made_good_by_calling_it_again(store: ContentStore, point: str) -> None:
    whole(store, "c", {"a": BODY, "b": OTHER}, ends=date(2026, 11, 30))
    assert killed_at(point, lambda: store.purge("c", None))
    again = ContentStore(store.path)
    assert (again.held_campaigns(), again.installed_version("c")) == ([], None)
    # Its days are still known, so it remains removable for space.
    assert [(one.campaign, one.ends, one.is_complete) for one in again.list_campaigns()] == [
        ("c", date(2026, 11, 30), False)
    ]
    again.purge("c", None)
    assert tree(again) == set()
    assert again.list_campaigns() == []


@pytest.mark.parametrize("point", ["purge-begun", "purge-halfway"])
def test_a_purge_of_items_that_was_killed_is_made_good(store: ContentStore, point: str) -> None:
    whole(store, "c", {"a": BODY, "b": OTHER})
    assert killed_at(point, lambda: store.purge("c", ["a"]))
    again = ContentStore(store.path)
    again.purge("c", ["a"])
    assert [name for name in tree(again) if "/a.tgz" in name] == []
    assert again.item_state("c", of("b", OTHER)).file is FileState.COMPLETE
    assert again.held_campaigns() == []


def test_removing_one_of_several_links_frees_no_space(store: ContentStore) -> None:
    whole(store, "old", {"a": BODY, "b": OTHER})
    store.link_duplicate("new", of("a", BODY), SECOND, staged=False)
    assert [(one.campaign, one.bytes) for one in store.list_campaigns()] == [("new", (0,)), ("old", (len(OTHER),))]
    assert store.purge("old", None) == len(OTHER)
    assert final(store, "new", of("a", BODY)).read_bytes() == BODY
    assert store.purge("new", None) == len(BODY)


def test_campaigns_on_disk_are_listed_with_dates_and_without_foreign_folders(store: ContentStore) -> None:
    whole(store, "c", {"a": BODY}, ends=date(2026, 12, 31))
    begin(store, "begun", FILM, BODY[:5000])
    (store.path / "theirs").mkdir()
    (store.path / "theirs" / "a.tgz").write_bytes(BODY)
    found = {one.campaign: one for one in store.list_campaigns()}
    assert set(found) == {"begun", "c"}
    assert found["c"] == CampaignOnDisk("c", None, date(2026, 12, 31), True, (len(BODY),), frozenset("a"))
    assert (found["begun"].is_complete, found["begun"].ends) == (False, None)
    assert found["begun"].content == frozenset({FILM.name})
    assert 0 < found["begun"].bytes[0] <= 5000


def test_a_truncated_record_is_ignored(store: ContentStore) -> None:
    whole(store, "c", {"a": BODY})
    (store.path / ".loader" / "campaigns" / "c.json").write_bytes(b'{"starts": 5, "ends": "soon"}')
    assert store.list_campaigns() == [CampaignOnDisk("c", None, None, False, (len(BODY),), frozenset("a"))]


def test_an_older_version_in_another_directory_is_removed_after_the_new_one_is_complete(store: ContentStore) -> None:
    whole(store, "c", {"a": BODY, "b": OTHER})
    moved = of("a", OTHER)
    store.mark_complete("c", [moved, of("b", OTHER)], SECOND)
    assert not final(store, "c", moved).exists()
    assert final(store, "c", of("b", OTHER)).exists()


def test_two_directories_of_one_disk_say_so(store: ContentStore, tmp_path: Path) -> None:
    assert store.device == ContentStore(tmp_path / "second").device
    assert store.device != ContentStore(Path("/dev/shm") / f"loader-{os.getpid()}").device
    (Path("/dev/shm") / f"loader-{os.getpid()}").rmdir()


def test_two_names_of_one_file_that_go_together_free_it_once(store: ContentStore) -> None:
    whole(store, "c", {"a": BODY})
    store.link_duplicate("c", of("b", BODY), FIRST, staged=False)
    assert [one.bytes for one in store.list_campaigns()] == [(len(BODY),)]
    assert store.purge("c", None) == len(BODY)
