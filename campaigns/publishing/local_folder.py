"""Finds and hashes the `.tgz` files of a local folder. Only reads.

Every file that cannot be published is reported at once, and so is every file that is skipped.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from campaigns.hashing import crc32
from campaigns.hashing.etags import file_etag
from campaigns.publishing.errors import PublishError
from campaigns.publishing.progress import OnProgress, PublishProgress
from ifeportal.storage.conditional_writes import OnNotice
from loader.contract.manifest import ITEMS_LIMIT
from loader.contract.names import TGZ, conflict_key, content_name
from loader.contract.units import MIB
from loader.errors import BadName
from loader.s3.part_plan import plan_parts


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to publish. `stamp` (size, mtime, inode) changes when the file does."""

    name: str
    path: Path
    size: int
    stamp: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class HashedFile:
    """A file with its SHA-256, its CRC-32 and the ETag that the object will have after the upload."""

    file: LocalFile
    sha256: str
    crc32: str
    etag: str


def find_files(folder: Path, notice: OnNotice) -> list[LocalFile]:
    """Return the files to publish, sorted by name.

    Raises:
        PublishError: the folder cannot be read or has no such file, or names are invalid, with a reason for each.
    """
    try:
        paths = [path for path in sorted(folder.iterdir()) if _is_content(path, notice)]
    except OSError as exc:
        raise PublishError(f"the folder {str(folder)!a} cannot be read: {exc.strerror}") from exc
    if not paths:
        raise PublishError(f"there is no {TGZ} file in {str(folder)!a}")
    if len(paths) > ITEMS_LIMIT:
        raise PublishError(f"the folder has {len(paths):,} {TGZ} files; the limit is {ITEMS_LIMIT:,}")
    names = {path: _name(path, notice) for path in paths}
    reasons = [*_illegal(names.items()), *_conflicts(names.items())]
    if reasons:
        raise PublishError(*reasons)
    return [_file(name.removesuffix(TGZ), path) for path, name in names.items()]


def hash_file(file: LocalFile, report: OnProgress) -> HashedFile:
    """Hash a file in one pass.

    Raises:
        PublishError: the file cannot be read, or changed meanwhile.
    """
    report(PublishProgress("hashing", file.name, 0, file.size))
    try:
        with file.path.open("rb") as stream:
            sha256, checksum, etag = _digests(stream, file, report)
    except OSError as exc:
        raise PublishError(f"{_display_name(file.path)} cannot be read: {exc.strerror}") from exc
    require_unchanged(file)
    return HashedFile(file, sha256, checksum, etag)


def _digests(stream: BinaryIO, file: LocalFile, report: OnProgress) -> tuple[str, str, str]:
    # Reads no more than the size the file had when it was found: it may grow meanwhile.
    sha256, checksum, parts = hashlib.sha256(), crc32.EMPTY, []
    for part in plan_parts(file.size):
        md5, left = hashlib.md5(usedforsecurity=False), part.size
        while left and (block := stream.read(min(MIB, left))):
            left -= len(block)
            sha256.update(block)
            checksum = crc32.update(checksum, block)
            md5.update(block)
            report(PublishProgress("hashing", file.name, len(block), file.size))
        parts.append(md5.digest())
    return sha256.hexdigest(), checksum, file_etag(parts, file.size)


def _is_content(path: Path, notice: OnNotice) -> bool:
    if path.name.startswith("."):
        why = "hidden file"
    elif path.is_dir():
        why = "folder"
    elif path.suffix.lower() != TGZ:
        why = f"the name does not end in {TGZ}"
    else:
        return True
    notice(f"skipped {_display_name(path)} ({why})")
    return False


def _name(path: Path, notice: OnNotice) -> str:
    # Some systems (macOS) decompose letters in file names; the contract asks for composed names in keys.
    name = unicodedata.normalize("NFC", path.name)
    if name != path.name:
        notice(f"the name is published in Unicode normalisation form C (NFC): {_display_name(path)}")
    if path.suffix != TGZ:
        notice(f"the ending is published as {TGZ}: {_display_name(path)}")
    return name.removesuffix(path.suffix) + TGZ


def _illegal(names: Iterable[tuple[Path, str]]) -> list[str]:
    reasons = []
    for path, name in names:
        if not path.is_file():  # a broken link, a pipe: skipped, its item would silently leave the campaign
            reasons.append(f"{_display_name(path)} is not a regular file")
        try:
            content_name(name)
        except BadName as exc:
            reasons.append(f"{_display_name(path)}: {exc}")
    return reasons


def _conflicts(names: Iterable[tuple[Path, str]]) -> list[str]:
    first: dict[str, Path] = {}
    reasons = []
    for path, name in names:
        other = first.setdefault(conflict_key(name), path)
        if other is not path:
            reasons.append(
                f"{_display_name(path)} and {_display_name(other)} differ only in case or normalisation: rename one"
            )
    return reasons


def _file(name: str, path: Path) -> LocalFile:
    try:
        stat = path.stat()
    except OSError as exc:
        raise PublishError(f"{_display_name(path)} cannot be read: {exc.strerror}") from exc
    return LocalFile(name, path, stat.st_size, _stamp(stat))


def _stamp(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def require_unchanged(file: LocalFile) -> None:
    """Raise PublishError if the file changed since it was found."""
    try:
        same = _stamp(file.path.stat()) == file.stamp
    except OSError:
        same = False
    if not same:
        why = f"{_display_name(file.path)} changed while it was published: publish again when the file is complete"
        raise PublishError(why, retryable=True)


def _display_name(path: Path) -> str:
    return path.name if path.name.isprintable() else ascii(path.name)
