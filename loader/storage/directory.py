"""One directory, held open by its descriptor: small, safe file operations. No symbolic link is followed.

Every name is opened relative to a descriptor with O_NOFOLLOW, so neither a link nor a renamed parent can redirect a
write. `translate_disk_errors` translates OSError into the loader's errors; texts never name a path outside.
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
    """`what` was being done to the disk. Raises WorldError NO_SPACE, READ_ONLY or IO_ERROR for any OSError."""
    try:
        yield
    except OSError as error:
        raise WorldError(
            CODE_OF_ERRNO.get(error.errno or 0, Code.IO_ERROR), f"{what}: {error.strerror or error}"
        ) from error


class Directory:
    """A directory. Methods raise OSError; names are single path components that were checked before."""

    is_present = True

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def open(cls, path: Path) -> Self:
        """The folder an operator named; it is made if missing, and may itself be reached by a link."""
        path.mkdir(parents=True, exist_ok=True)
        return cls(os.open(path, _DIRECTORY_FLAGS))

    def make_subdirectory(self, *names: str) -> Directory:
        """A folder below, made if missing. A link or file in its place raises OSError."""
        folder = self
        try:
            for name in names:
                below = folder._open_or_make(name)
                if folder is not self:
                    folder.close()
                folder = below
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
                below = Directory(os.open(name, _DIRECTORY_FLAGS | os.O_NOFOLLOW, dir_fd=folder.descriptor))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                return AbsentDirectory()
            finally:
                if folder is not self:
                    folder.close()
            folder = below
        return folder

    def open_file(self, name: str, flags: int, *, shared: bool = False) -> int:
        """A descriptor of a plain file with one name; `shared`: it may have several, and is only to be read.

        Raises OSError (ELOOP for a link, EINVAL for a stranger).
        """
        descriptor = os.open(name, flags | _FILE_FLAGS, 0o644, dir_fd=self.descriptor)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or (status.st_nlink != 1 and not shared):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a plain file of ours", name)
        return descriptor

    def stat_file(self, name: str) -> os.stat_result | None:
        """The status of a plain file, or None for nothing, a link or anything else."""
        try:
            status = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return status if stat.S_ISREG(status.st_mode) else None

    def read(self, name: str, limit: int) -> bytes | None:
        """A small file; None if it is missing, longer than `limit` or not a plain one."""
        try:
            descriptor = self.open_file(name, os.O_RDONLY)
        except OSError:
            return None
        with os.fdopen(descriptor, "rb") as stream:
            body = stream.read(limit + 1)
        return body if len(body) <= limit else None

    def write(self, name: str, body: bytes, *, durability: Durability = "name") -> None:
        """Replace a small file in one step: temporary file, rename. A reader sees the old or the new one.

        `durability`: what is to survive a power cut when this returns: the "name" (fsync of file and folder), the
        "bytes" (fsync of the file: never torn, but perhaps still the old one), or "nothing".
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
        """Rename over whatever is there."""
        os.rename(name, new, src_dir_fd=self.descriptor, dst_dir_fd=target.descriptor)

    def remove(self, name: str) -> None:
        """A name that may be missing; a link itself, never what it points to."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def remove_if_empty(self, name: str) -> None:
        """Remove a folder below if it is empty."""
        with contextlib.suppress(OSError):
            os.rmdir(name, dir_fd=self.descriptor)

    def list_names(self) -> list[str]:
        """What is in it, sorted."""
        with os.scandir(self.descriptor) as entries:
            return sorted(entry.name for entry in entries)

    def fsync(self) -> None:
        """Make names durable."""
        os.fsync(self.descriptor)

    def space(self) -> tuple[int, int]:
        """Bytes in all, and bytes that may still be taken."""
        status = os.fstatvfs(self.descriptor)
        return status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize

    def lock(self) -> bool:
        """Claim it for this process, until `close` or death. False if another one has it. Nothing is written."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Give the descriptor back."""
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
