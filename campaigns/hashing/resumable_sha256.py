"""SHA-256 that another process can resume. Pure but for OpenSSL, which it calls directly.

The state of `hashlib` cannot be saved: an item of many gigabytes would have to be hashed in one go, and again from
the start after a worker was killed. OpenSSL's own `SHA256_*` functions keep 112 bytes of state that are the same in
every version. They are looked for in the library that Python's `hashlib` uses; if they are not there, `hashlib` does
the work and nothing can be resumed.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
from functools import cache
from typing import Final

DIGEST: Final = 32  # bytes


class _Context(ctypes.Structure):
    """OpenSSL's SHA256_CTX: the words so far, the number of bits, and the bytes that do not fill a block yet."""

    _fields_ = [
        ("words", ctypes.c_uint32 * 8),
        ("low", ctypes.c_uint32),
        ("high", ctypes.c_uint32),
        ("block", ctypes.c_uint32 * 16),
        ("pending", ctypes.c_uint),
        ("length", ctypes.c_uint),
    ]


@cache
def openssl() -> ctypes.CDLL | None:
    """The library, if it has what is needed."""
    try:
        library = ctypes.CDLL(importlib.import_module("_hashlib").__file__)
        return library if all(hasattr(library, f"SHA256_{name}") for name in ("Init", "Update", "Final")) else None
    except (ImportError, AttributeError, OSError):  # built in, or without OpenSSL
        return None


class PlainSha256:
    """What `hashlib` does. `count`: bytes so far."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = hashlib.sha256()

    def update(self, block: memoryview) -> None:
        """So much more."""
        self._sum.update(block)
        self.count += len(block)

    def state(self) -> str:
        """Nothing: it cannot be."""
        return ""

    def hexdigest(self) -> str:
        """Of all bytes so far."""
        return self._sum.hexdigest()


class ResumableSha256:
    """The same by OpenSSL, from the beginning or from what was put aside."""

    def __init__(self, library: ctypes.CDLL, state: str = "") -> None:
        """Raises ValueError for what was not put aside by a machine like this one."""
        self._library = library
        self._context = _Context()
        library.SHA256_Init(ctypes.byref(self._context))
        if state:
            body = bytes.fromhex(state)
            if len(body) != ctypes.sizeof(_Context):
                raise ValueError("it is no SHA-256 that was put aside")
            self._context = _Context.from_buffer_copy(body)
            if self._context.length != DIGEST or self._context.pending != self.count % 64:
                raise ValueError("it was put aside by another kind of machine")

    @property
    def count(self) -> int:
        """Bytes so far."""
        return int(self._context.high << 29 | self._context.low >> 3)

    def update(self, block: memoryview) -> None:
        """So much more. Other threads run meanwhile."""
        given = (ctypes.c_char * len(block)).from_buffer(block)
        self._library.SHA256_Update(ctypes.byref(self._context), given, ctypes.c_size_t(len(block)))

    def state(self) -> str:
        """All there is to know to go on; 224 hexadecimal digits."""
        return bytes(self._context).hex()

    def hexdigest(self) -> str:
        """Of all bytes so far."""
        digest = (ctypes.c_ubyte * DIGEST)()
        last = _Context.from_buffer_copy(bytes(self._context))
        self._library.SHA256_Final(digest, ctypes.byref(last))
        return bytes(digest).hex()


Sha256 = PlainSha256 | ResumableSha256


def resume(state: str) -> Sha256:
    """A SHA-256 that goes on where another was put aside, or begins where that cannot be ("" is nothing put aside)."""
    library = openssl()
    if library is None:
        return PlainSha256()
    try:
        return ResumableSha256(library, state)
    except ValueError:
        return ResumableSha256(library)
