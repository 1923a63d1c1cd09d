"""The Unix socket `DIR/.loader/loader.sock`: bind, connect, unlink.

All paths go through descriptors of directories, so that long paths work (an address holds 107 bytes) and no planted
link is followed. Raises OSError.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Final

from loader.storage.directory import Directory

SOCKET: Final = "loader.sock"
_BACKLOG: Final = 16  # connections that wait to be accepted


def bind_socket(folder: Directory, mode: int) -> socket.socket:
    """A socket under its name in `folder`, in place of whatever has it; `mode` is in force before it can be reached."""
    new = SOCKET + ".new"
    folder.remove(new)
    server = socket.socket(socket.AF_UNIX)
    try:
        # Linux makes the file with the mode of the unbound socket: until chmod, nobody else can connect.
        os.fchmod(server.fileno(), 0o600)
        server.bind(_address(folder, new))
        _change_mode(folder, new, mode)
        server.listen(_BACKLOG)
        folder.move(new, folder, SOCKET)
    except BaseException:
        server.close()
        raise
    return server


def unlink_socket(folder: Directory) -> None:
    """Take the name away."""
    folder.remove(SOCKET)


def connect_socket(directory: Path, timeout: float) -> socket.socket:
    """Connect to the loader of that content directory; `timeout` in seconds, for this and all that follows."""
    descriptor = os.open(directory / ".loader", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with Directory(descriptor) as folder:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(timeout)
        try:
            client.connect(_address(folder, SOCKET))
        except BaseException:
            client.close()
            raise
    return client


def _address(folder: Directory, name: str) -> str:
    return f"/proc/self/fd/{folder.descriptor}/{name}"


def _change_mode(folder: Directory, name: str, mode: int) -> None:
    """Of the socket itself: a link in its place is refused."""
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder.descriptor)
    try:
        if not stat.S_ISSOCK(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "something else took its place")
        os.chmod(f"/proc/self/fd/{handle}", mode)  # noqa: PTH101  there is no path, only a descriptor
    finally:
        os.close(handle)
