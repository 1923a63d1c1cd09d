"""File operations relative to an open directory descriptor. Symbolic links are not followed.

Every name is opened relative to a descriptor with O_NOFOLLOW, so neither a link nor a renamed parent can redirect a
write. `translate_disk_errors` turns OSError into WorldError.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, Self

from loader.errors import CODE_OF_ERRNO, Code, WorldError

Durability = Literal["name", "bytes", "nothing"]
_DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: opening a planted pipe must not wait for its other end.
_FILE_FLAGS: Final = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


@contextlib.contextmanager
def translate_disk_errors(what: str) -> Iterator[None]:
    """Raise WorldError NO_SPACE, READ_ONLY or IO_ERROR for any OSError; its text starts with `what`."""
    try:
        yield
    except OSError as error:
        raise WorldError(
            CODE_OF_ERRNO.get(error.errno or 0, Code.IO_ERROR), f"{what}: {error.strerror or error}"
        ) from error


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
        if not stat.S_ISREG(status.st_mode) or (status.st_nlink != 1 and not shared):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file with one name", name)
        return descriptor

    def stat_file(self, name: str) -> os.stat_result | None:
        """Return the status of a regular file; None if there is none of that name."""
        try:
            status = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
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
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(body)
            stream.flush()
            if durability != "nothing":
                os.fsync(descriptor)
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
        os.fsync(self.descriptor)

    def space(self) -> tuple[int, int]:
        """Return the size of the file system and the bytes available to this user."""
        status = os.fstatvfs(self.descriptor)
        return status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize

    def lock(self) -> bool:
        """Lock the directory until `close` or the end of the process. Return False if another process has the lock."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
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
