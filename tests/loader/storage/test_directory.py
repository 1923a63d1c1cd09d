"""Directories that are there, and those that are not: both are read in the same way, and no link is followed."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader.storage.directory import Directory


def test_a_directory_that_is_there_lists_reads_and_removes(tmp_path: Path) -> None:
    with Directory.open(tmp_path) as root, root.make_subdirectory("a", "b") as made:
        made.write("file", b"content")
        with root.open_if_present("a", "b") as found:
            assert found.is_present
            assert found.list_names() == ["file"]
            assert found.read("file", 100) == b"content"
            found.remove("file")
        assert made.list_names() == []


@pytest.mark.parametrize("kind", ["missing", "file", "link", "below a file", "below what is missing"])
def test_anything_else_reads_as_an_empty_directory(tmp_path: Path, kind: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").write_bytes(b"not ours")
    if kind in ("file", "below a file"):
        (tmp_path / "a").write_bytes(b"")
    elif kind == "link":
        (tmp_path / "a").symlink_to("elsewhere")
    names = ("a", "b") if kind.startswith("below") else ("a",)
    with Directory.open(tmp_path) as root, root.open_if_present(*names) as absent:
        assert not absent.is_present
        assert absent.list_names() == []
        assert absent.stat_file("file") is None
        assert absent.read("file", 100) is None
        assert not absent.open_if_present("c").is_present
        absent.remove("file")
        absent.remove_if_empty("c")
        absent.fsync()
        with pytest.raises(FileNotFoundError):
            absent.write("file", b"content")
    assert (tmp_path / "elsewhere/file").read_bytes() == b"not ours"


def test_a_closed_directory_is_an_error_and_not_an_empty_one(tmp_path: Path) -> None:
    root = Directory.open(tmp_path)
    root.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        root.list_names()
