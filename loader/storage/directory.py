"""File operations relative to an open directory descriptor. Symbolic links are not followed.

Every name is opened relative to a descriptor with O_NOFOLLOW, so neither a link nor a renamed parent can redirect a
write. `translate_disk_errors` turns OSError into WorldError.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple, Self

from loader.errors import CODE_OF_ERRNO, Code, WorldError

log = logging.getLogger("loader")
Durability = Literal["name", "bytes", "nothing"]
_DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: opening a planted pipe must not wait for its other end.
_FILE_FLAGS: Final = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
# Some file systems refuse a name that they could not store also when it is only looked up.
_NAME_REFUSED: Final = frozenset({errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG})
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP}) | _NAME_REFUSED
_UNSUPPORTED: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})
_NO_LOCKS: Final = _UNSUPPORTED | {errno.ENOLCK}
_CHARACTERS_OF_WINDOWS: Final = '\\:*?"<>|'
_DEVICES_OF_WINDOWS: Final = re.compile(r"(CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(\..*)?", re.I)

FILES_OF_AN_ITEM: Final = 4  # while it is loaded: its bytes, their state, and the next version of each record
_unsupported: set[tuple[int, str]] = set()  # what file systems (by number) cannot do, as far as logged


class NotOneFile(OSError):
    """The name belongs to something other than a regular file with this name only."""


class DiskSpace(NamedTuple):
    """Bytes of a file system, and the number of files that can still be created; None without such a limit."""

    total: int
    free: int
    files_free: int | None

    @property
    def lacks_inodes(self) -> bool:
        return self.files_free is not None and self.files_free < FILES_OF_AN_ITEM


@contextlib.contextmanager
def translate_disk_errors(what: str) -> Iterator[None]:
    """Raise WorldError for any OSError: NO_SPACE, READ_ONLY, IO_ERROR, or BAD_NAME for a name that cannot be stored.

    Its text starts with `what`.
    """
    try:
        yield
    except OSError as error:
        if reason := _refused_name(error):
            raise WorldError(Code.BAD_NAME, f"{what}: {reason}") from error
        code = CODE_OF_ERRNO.get(error.errno or 0, Code.IO_ERROR)
        raise WorldError(code, f"{what}: {_reason(error)}") from error
    except UnicodeEncodeError as error:
        text = f"the locale's encoding {error.encoding} has no character {error.object[error.start]!a}"
        raise WorldError(Code.BAD_NAME, f"{what}: {text}; set LC_ALL=C.UTF-8") from error


def _reason(error: OSError) -> str:
    if error.errno == errno.EFBIG:
        return (
            "the file is larger than the file system or the process allows (FAT32: 4 GiB); use another file system, "
            "or split the item"
        )
    return error.strerror or str(error)


def _refused_name(error: OSError) -> str:
    """Return why a file system refuses a name; empty if the error has another cause."""
    names = [name for name in (error.filename, error.filename2) if isinstance(name, str)]
    if error.errno not in _NAME_REFUSED or isinstance(error, NotOneFile) or not names:
        return ""
    if error.errno == errno.ENAMETOOLONG:
        return (
            f"the file system has no room for such a long name ({max(len(os.fsencode(name)) for name in names)} bytes)"
        )
    for name in names:
        if found := next((one for one in name if one in _CHARACTERS_OF_WINDOWS), None):
            return f"the file system refuses the character {found} in a name"
        if error.errno == errno.EILSEQ and (found := next((one for one in name if not one.isascii()), None)):
            return f"the file system refuses the character {found} in a name"
        if _DEVICES_OF_WINDOWS.fullmatch(name):
            return f"the file system refuses the name {name}, which is reserved on Windows"
    return ""


def sync(descriptor: int, call: Callable[[int], None] | None = None) -> None:
    """Sync a file or directory with `call` (default: fsync). If the file system cannot, warn once and go on."""
    try:
        (call or os.fsync)(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        consequence = "after a power cut, the newest files may be missing and are then loaded again"
        kind = "directories" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "files"
        _warn_once(descriptor, f"sync {kind}", error, consequence)


def _warn_once(descriptor: int, what: str, error: OSError, consequence: str) -> None:
    key = (os.fstat(descriptor).st_dev, what)
    if key not in _unsupported:
        _unsupported.add(key)
        text = "The file system of the content directory cannot %s (%s): %s. Loading continues."
        log.warning(text, what, error.strerror, consequence)


class Directory:
    """An open directory. Methods raise OSError. The caller has checked that names are single path components."""

    is_present = True

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a directory that an operator configured; create it if missing. The path may contain links."""
        path.mkdir(parents=True, exist_ok=True)
        return cls(os.open(path, _DIRECTORY_FLAGS))

    def make_subdirectory(self, *names: str) -> Directory:
        """Open a subdirectory; create it if missing. Raises OSError for a link or a file of that name."""
        folder = self
        try:
            for name in names:
                child = folder._open_or_make(name)
                if folder is not self:
                    folder.close()
                folder = child
        except BaseException:
            if folder is not self:
                folder.close()
            raise
        return folder

    def _open_or_make(self, name: str) -> Directory:
        try:
            return Directory(os.open(name, _DIRECTORY_FLAGS | os.O_NOFOLLOW, dir_fd=self.descriptor))
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=self.descriptor)
                self.fsync()
        return Directory(os.open(name, _DIRECTORY_FLAGS | os.O_NOFOLLOW, dir_fd=self.descriptor))

    def open_if_present(self, *names: str) -> Directory:
        """Return the subdirectory, or an `AbsentDirectory` if it is missing, a symbolic link or a file."""
        folder: Directory = self
        for name in names:
            try:
                child = Directory(os.open(name, _DIRECTORY_FLAGS | os.O_NOFOLLOW, dir_fd=folder.descriptor))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                return AbsentDirectory()
            finally:
                if folder is not self:
                    folder.close()
            folder = child
        return folder

    def open_file(self, name: str, flags: int, *, shared: bool = False) -> int:
        """Open a regular file that has only this name, or `shared`, for reading, one that has several.

        Raises OSError: ELOOP for a symbolic link, EINVAL for anything else that is not such a file.
        """
        descriptor = os.open(name, flags | _FILE_FLAGS, 0o644, dir_fd=self.descriptor)
        status = os.fstat(descriptor)
        # Some FUSE file systems report 0 names for every file.
        if not stat.S_ISREG(status.st_mode) or (status.st_nlink > 1 and not shared):
            os.close(descriptor)
            raise NotOneFile(errno.EINVAL, "not a regular file with one name", name)
        return descriptor

    def stat_file(self, name: str) -> os.stat_result | None:
        """Return the status of a regular file; None if there is none of that name."""
        try:
            status = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.ENOENT and error.errno not in _NAME_REFUSED:
                raise
            return None
        return status if stat.S_ISREG(status.st_mode) else None

    def read(self, name: str, limit: int) -> bytes | None:
        """Return the contents of a file; None if it is missing, unreadable, or longer than `limit` bytes."""
        try:
            descriptor = self.open_file(name, os.O_RDONLY)
        except OSError:
            return None
        with os.fdopen(descriptor, "rb") as stream:
            body = stream.read(limit + 1)
        return body if len(body) <= limit else None

    def write(self, name: str, body: bytes, *, durability: Durability = "name") -> None:
        """Replace a file atomically, through a temporary file and a rename.

        `durability` is what survives a power cut once this has returned. "name": the new file (fsync of file and
        directory). "bytes": the new or the old file, but never a torn one (fsync of the file). "nothing": no fsync.
        """
        temporary = name + ".new"
        try:
            descriptor = self.open_file(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            self.remove(temporary)
            descriptor = self.open_file(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            written = 0
            while written < len(body):
                written += os.write(descriptor, memoryview(body)[written:])
            if durability != "nothing":
                sync(descriptor)
        finally:
            os.close(descriptor)
        self.move(temporary, self, name)
        if durability == "name":
            self.fsync()

    def move(self, name: str, target: Directory, new: str) -> None:
        """Rename, replacing an existing file."""
        os.rename(name, new, src_dir_fd=self.descriptor, dst_dir_fd=target.descriptor)

    def remove(self, name: str) -> None:
        """Remove a file if it exists; of a symbolic link, the link itself."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def remove_if_empty(self, name: str) -> None:
        """Remove a subdirectory if it exists and is empty."""
        with contextlib.suppress(OSError):
            os.rmdir(name, dir_fd=self.descriptor)

    def list_names(self) -> list[str]:
        """Return the sorted names of all entries."""
        if self.descriptor < 0:
            # os.scandir(-1) does not fail, but lists the working directory.
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        with os.scandir(self.descriptor) as entries:
            return sorted(entry.name for entry in entries)

    def fsync(self) -> None:
        """Make names that were created, renamed or removed durable."""
        sync(self.descriptor)

    def space(self) -> DiskSpace:
        """Return the space of the file system, as far as it is available to this user."""
        status = os.fstatvfs(self.descriptor)
        files_free = status.f_favail if status.f_files else None  # btrfs and FAT, for example, have no limit
        return DiskSpace(status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize, files_free)

    def lock(self) -> bool:
        """Lock the directory until `close` or the end of the process. Return False if another process has the lock."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            consequence = "a second loader that is started for it by mistake is not noticed"
            _warn_once(self.descriptor, "lock a directory", error, consequence)
        return True

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AbsentDirectory(Directory):
    """A directory that does not exist: it reads as empty, and there is nothing to remove from it."""

    is_present = False

    def __init__(self) -> None:
        super().__init__(-1)

    def open_if_present(self, *names: str) -> Directory:
        return self

    def open_file(self, name: str, flags: int, *, shared: bool = False) -> int:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)

    def stat_file(self, name: str) -> None:
        return None

    def remove(self, name: str) -> None:
        pass

    def remove_if_empty(self, name: str) -> None:
        pass

    def list_names(self) -> list[str]:
        return []

    def fsync(self) -> None:
        pass
