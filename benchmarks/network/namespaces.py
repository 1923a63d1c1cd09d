"""Network namespaces and TUN devices of one's own: what `benchmarks.lossy` is built of. Linux, root.

Touches the network namespace of the calling thread, and devices in namespaces that it made itself. Such a namespace has
no name; it ends with the last process, socket or descriptor in it, so nothing can be left behind.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

TUN: Final = Path("/dev/net/tun")
_CLONE_NEWNET: Final = 0x40000000
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN, _IFF_NO_PI, _IFF_UP = 0x0001, 0x1000, 0x0001
_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFDSTADDR = 0x8914, 0x8916, 0x8918
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def unavailable_reason() -> str:
    """A sentence that says why namespaces cannot be made here; empty if they can."""
    if os.geteuid() != 0:
        return "A link of one's own needs root: it makes network namespaces and TUN devices."
    if not TUN.exists():
        return f"A link of one's own needs {TUN}, and there is none."
    return ""


def create_namespace() -> int:
    """Let the calling thread live in a new network namespace. Its descriptor. Raises OSError."""
    _check(_LIBC.unshare(_CLONE_NEWNET))
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def inside(network: str | Path) -> Iterator[None]:
    """The calling thread lives in a namespace, given as a path; sockets made meanwhile stay there. Raises OSError."""
    home, there = (os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in ("/proc/thread-self/ns/net", network))
    try:
        enter_namespace(there)
        try:
            yield
        finally:
            enter_namespace(home)
    finally:
        os.close(there)
        os.close(home)


def enter_namespace(descriptor: int) -> None:
    """Let the calling thread live in a namespace. Raises OSError."""
    _check(_LIBC.setns(descriptor, _CLONE_NEWNET))


def open_tun(name: str, address: str, peer: str) -> int:
    """A point-to-point device in the calling thread's namespace, up; each read and write is one IP packet.

    It vanishes when the descriptor is closed. Raises OSError.
    """
    device = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for request, text in ((_SIOCSIFADDR, address), (_SIOCSIFDSTADDR, peer)):
            structure = struct.pack("16sHH4s8x", name.encode(), socket.AF_INET, 0, socket.inet_aton(text))
            fcntl.ioctl(control, request, structure)
        for device_name in (name, "lo"):
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH", device_name.encode(), _IFF_UP))
    return device


def set_network_option(name: str, value: str) -> None:
    """Set `net/<name>` of the calling thread's namespace, where the kernel has it. Raises OSError."""
    path = Path("/proc/sys/net") / name
    if path.exists():
        path.write_text(value)


def _check(answer: int) -> None:
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
