"""Network namespaces and TUN devices, for `benchmarks.network`. Needs Linux and root.

Touches the network namespace of the calling thread, and devices in namespaces that this module created. These
namespaces have no name. Each ends with the last process, socket or descriptor in it, so none remains.
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
    """Return a sentence that says why namespaces cannot be created here; empty if they can."""
    if os.geteuid() != 0:
        return "An emulated link needs root, because it creates network namespaces and TUN devices."
    if not TUN.exists():
        return f"An emulated link needs {TUN}, which does not exist."
    return ""


def create_namespace() -> int:
    """Move the calling thread into a new network namespace and return its descriptor. Raises OSError."""
    _check(_LIBC.unshare(_CLONE_NEWNET))
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def inside(network: str | Path) -> Iterator[None]:
    """Run the calling thread in a namespace, given as a path. Sockets created meanwhile stay there. Raises OSError."""
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
    """Move the calling thread into a namespace. Raises OSError."""
    _check(_LIBC.setns(descriptor, _CLONE_NEWNET))


def open_tun(name: str, address: str, peer: str) -> int:
    """Create a point-to-point device in the calling thread's namespace and return its descriptor. Raises OSError. Each
    read and each write is one IP packet. The device is removed when the descriptor is closed.
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
    """Set `net/<name>` of the calling thread's namespace, if the kernel has it. Raises OSError."""
    path = Path("/proc/sys/net") / name
    if path.exists():
        path.write_text(value)


def _check(answer: int) -> None:
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
