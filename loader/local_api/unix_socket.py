"""The Unix socket `DIR/.loader/loader.sock`: bind, connect, unlink.

All paths go through descriptors of directories, so that long paths work (a socket address is limited to 107 bytes) and
no planted link is followed. Raises OSError.
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
_BACKLOG: Final = 16  # connections waiting to be accepted


def bind_socket(folder: Directory, mode: int) -> socket.socket:
    """Bind a socket in `folder`, replacing what has its name. `mode` is set before any program can reach it."""
    new = SOCKET + ".new"
    folder.remove(new)
    server = socket.socket(socket.AF_UNIX)
    try:
        # Linux creates the file with the mode of the unbound socket: no other user can connect before chmod.
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
    folder.remove(SOCKET)


def connect_socket(directory: Path, timeout: float) -> socket.socket:
    """Connect to the loader of a content directory. `timeout`: seconds, for each operation of the socket."""
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
    """Change the mode of the socket itself. Raises OSError for a link or anything else in its place."""
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder.descriptor)
    try:
        if not stat.S_ISSOCK(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a socket")
        os.chmod(f"/proc/self/fd/{handle}", mode)  # noqa: PTH101  there is no path, only a descriptor
    finally:
        os.close(handle)
