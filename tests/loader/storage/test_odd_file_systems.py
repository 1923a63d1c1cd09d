"""File systems as they are: names they refuse, no hard links, no link counts, no locks, no inodes, small files only."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loader.contract.heartbeat import Heartbeat, build_heartbeat, parse_heartbeat
from loader.contract.manifest import Item
from loader.errors import Code, WorldError
from loader.storage import directory
from loader.storage.content_store import ContentStore
from loader.storage.directory import Directory, NotOneFile, translate_disk_errors
from loader.storage.inventory import FileState, ManifestVersion

BODY = os.urandom(100_000)
FIRST = ManifestVersion("a" * 64, 1)


def item(name: str) -> Item:
    return Item(name, len(BODY), hashlib.sha256(BODY).hexdigest())


def load(store: ContentStore, campaign: str, wanted: Item) -> None:
    with store.open_partial(campaign, wanted, FIRST) as part:
        part.resume(threading.Event())
        part.restart("etag")
        at = 0
        while at < len(BODY):
            buffer = part.write_buffer(1.0)
            count = min(len(buffer), len(BODY) - at)
            buffer[:count] = BODY[at : at + count]
            part.append(buffer[:count])
            at += count
        store.install(campaign, part, FIRST, staged=False)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ContentStore]:
    directory._unsupported.clear()
    store = ContentStore(tmp_path / "content")
    yield store
    store.close()


class Refusal:
    """Makes a system call fail for the names or descriptors that `applies` accepts. `hits` counts the failures."""

    def __init__(self, call: Callable[..., Any], number: int, applies: Callable[..., bool]) -> None:
        self.call, self.number, self.applies, self.hits = call, number, applies, 0

    def __call__(self, *given: Any, **named: Any) -> Any:
        if self.applies(*given, **named):
            self.hits += 1
            raise OSError(self.number, os.strerror(self.number), given[0] if isinstance(given[0], str) else None)
        return self.call(*given, **named)


@pytest.mark.parametrize(
    ("name", "number", "reason"),
    [
        ("Alien: Part 1", errno.EINVAL, "the file system refuses the character : in a name"),
        ("Who?", errno.EINVAL, "the file system refuses the character ? in a name"),
        ('a"b', errno.EINVAL, 'the file system refuses the character " in a name'),
        ("Zürich", errno.EILSEQ, "the file system refuses the character ü in a name"),
        ("n" * 180, errno.ENAMETOOLONG, "the file system has no room for such a long name (189 bytes)"),
    ],
)
def test_a_name_that_the_file_system_refuses_fails_with_the_reason(
    store: ContentStore, monkeypatch: pytest.MonkeyPatch, name: str, number: int, reason: str
) -> None:
    refusal = Refusal(os.open, number, lambda path, flags, *rest, **named: name in str(path) and flags & os.O_CREAT)
    monkeypatch.setattr(os, "open", refusal)
    with pytest.raises(WorldError) as failed:
        load(store, "c", item(name))
    assert refusal.hits == 1
    assert (failed.value.code, str(failed.value)) == (Code.BAD_NAME, f"{name}.tgz.part: {reason}")
    assert failed.value.permanent
    load(store, "c", item("plain"))


def test_a_campaign_that_the_file_system_refuses_is_named_too(
    store: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = Refusal(os.mkdir, errno.EINVAL, lambda path, *rest, **named: ":" in str(path))
    monkeypatch.setattr(os, "mkdir", refusal)
    with pytest.raises(WorldError, match=r"^12: December/a\.tgz: the file system refuses the character : in a name$"):
        load(store, "12: December", item("a"))
    assert refusal.hits == 1


def test_a_name_that_cannot_even_be_looked_up_is_absent(store: ContentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    load(store, "c", item("plain"))
    refusal = Refusal(os.stat, errno.EINVAL, lambda path, **named: "?" in str(path))
    monkeypatch.setattr(os, "stat", refusal)
    found = store.item_states("c", [item("Who?"), item("plain")], {})
    assert refusal.hits > 0
    assert {name: state.file for name, state in found.items()} == {
        "Who?": FileState.ABSENT,
        "plain": FileState.COMPLETE,
    }


@pytest.mark.parametrize("name", ["CON", "nul.tgz", "lpt1.tgz.part"])
def test_a_name_reserved_on_windows_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(WorldError, match="reserved on Windows"), translate_disk_errors("x"):
        raise OSError(errno.EINVAL, "Invalid argument", name)


def test_a_file_that_is_not_ours_is_no_refused_name() -> None:
    with pytest.raises(WorldError) as failed, translate_disk_errors("x"):
        raise NotOneFile(errno.EINVAL, "not a regular file with one name", "a: b")
    assert failed.value.code is Code.IO_ERROR


def test_a_character_missing_from_the_locale_is_reported_with_advice() -> None:
    with (
        pytest.raises(WorldError, match=r"ascii has no character '\\u65e5'; set LC_ALL=C\.UTF-8") as failed,
        translate_disk_errors("x"),
    ):
        "日本".encode("ascii")
    assert failed.value.code is Code.BAD_NAME


class NoNames:
    """The status of a file as a FUSE file system reports it: 0 names, and the same number for all files."""

    def __init__(self, status: os.stat_result) -> None:
        self._status = status
        self.st_nlink = self.st_ino = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._status, name)


def test_a_file_system_without_link_counts_can_be_used(store: ContentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stat", "fstat"):
        call = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, call=call, **named: NoNames(call(*given, **named)))
    load(store, "c", item("a"))
    load(store, "c", item("b"))
    assert store.item_state("c", item("a")).file is FileState.COMPLETE
    with store.open_partial("c", item("half"), FIRST) as part:
        part.restart("etag")
        buffer = part.write_buffer(1.0)
        buffer[:1000] = BODY[:1000]
        part.append(buffer[:1000])
        part.save()
    assert store.item_state("c", item("half")).bytes_done == 1000  # it is resumed
    (campaign,) = store.list_campaigns()
    assert campaign.bytes[0] > 200_000
    assert store.purge("c", None) > 200_000


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK])
def test_the_same_content_is_loaded_again_without_hard_links(
    store: ContentStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    load(store, "c", item("a"))
    refusal = Refusal(os.link, number, lambda *given, **named: True)
    monkeypatch.setattr(os, "link", refusal)
    assert store.item_state("c", item("b")).linkable
    assert not store.link_duplicate("c", item("b"), FIRST, staged=False)
    assert refusal.hits == 1
    assert not store.item_state("c", item("b")).linkable  # it is not tried in circles
    load(store, "c", item("b"))


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_directory_that_cannot_be_locked_is_used_with_a_warning(
    store: ContentStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    monkeypatch.setattr(fcntl, "flock", Refusal(fcntl.flock, number, lambda *given: True))
    assert store.lock()
    assert store.lock()
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == [
        "The file system of the content directory cannot lock a directory"
    ]


def test_a_limit_of_4_gib_is_reported_before_the_first_byte(
    store: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = Item("large", 5 * 2**30)
    refusal = Refusal(os.lseek, errno.EINVAL, lambda descriptor, offset, whence: offset >= 2**32)
    monkeypatch.setattr(os, "lseek", refusal)
    with store.open_partial("c", large, FIRST) as part, pytest.raises(WorldError) as failed:
        part.restart("etag")
    assert refusal.hits == 1
    assert failed.value.code is Code.IO_ERROR
    assert "FAT32: 4 GiB" in str(failed.value)


class Statvfs:
    def __init__(self, status: os.statvfs_result, files: int, left: int) -> None:
        self._status = status
        self.f_files, self.f_favail = files, left

    def __getattr__(self, name: str) -> Any:
        return getattr(self._status, name)


@pytest.mark.parametrize(("files", "left", "lacks"), [(100, 0, True), (100, 3, True), (100, 4, False), (0, 0, False)])
def test_a_lack_of_inodes_is_known_and_reported(
    store: ContentStore, monkeypatch: pytest.MonkeyPatch, files: int, left: int, lacks: bool
) -> None:
    call = os.fstatvfs
    monkeypatch.setattr(os, "fstatvfs", lambda descriptor: Statvfs(call(descriptor), files, left))
    assert store.lacks_inodes is lacks
    assert ("inodes are left" in store.why_full(5)) is lacks
    assert ("the reserve is 5 bytes" in store.why_full(5)) is not lacks
    beat = parse_heartbeat(build_heartbeat(Heartbeat(stores=(store.space(),))))
    assert beat.stores[0].extra == ({"files_free": left} if files else {})


def test_a_directory_whose_path_is_not_utf8_can_be_reported(tmp_path: Path) -> None:
    store = ContentStore(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")))
    assert parse_heartbeat(build_heartbeat(Heartbeat(stores=(store.space(),)))).stores[0].path.endswith(r"/\xff")
    load(store, "c", item("a"))
    store.close()


def test_foreign_names_that_are_not_utf8_do_no_harm(store: ContentStore) -> None:
    load(store, "c", item("a"))
    for where in ("", "c", ".loader/held", ".loader/parts", ".loader/held/c"):
        (store.path / where / os.fsdecode(b"\xff\xfe")).mkdir()
    assert [campaign.campaign for campaign in store.list_campaigns()] == ["c"]
    assert store.item_names("c") >= {"a"}
    assert store.item_state("c", item("a")).file is FileState.COMPLETE


def test_the_space_of_a_real_file_system_is_read(tmp_path: Path) -> None:
    with Directory.open(tmp_path) as real:
        space = real.space()
    assert space.total > space.free > 0
    assert space.files_free is None or space.files_free > 0
