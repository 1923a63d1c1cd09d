"""SHA-256 that another process can resume. Pure, except that it calls OpenSSL directly.

The state of `hashlib` cannot be saved: an item of many gigabytes would have to be hashed in one run, and from the
start after a worker was killed. OpenSSL's low-level `SHA256_*` functions have a state of 112 bytes, the same in every
version. They are taken from the library that Python's `hashlib` uses. Without them `hashlib` does the work, and
nothing can be resumed.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
from functools import cache
from typing import Final

DIGEST: Final = 32  # bytes


class _Context(ctypes.Structure):
    """OpenSSL's SHA256_CTX: the hash so far, the number of bits, and the bytes of an incomplete block."""

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
    """Return OpenSSL if it has the functions; else None."""
    try:
        library = ctypes.CDLL(importlib.import_module("_hashlib").__file__)
        return library if all(hasattr(library, f"SHA256_{name}") for name in ("Init", "Update", "Final")) else None
    except (ImportError, AttributeError, OSError):  # hashlib is built in, or built without OpenSSL
        return None


class PlainSha256:
    """SHA-256 by `hashlib`; cannot be resumed. `count`: bytes hashed."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = hashlib.sha256()

    def update(self, block: memoryview) -> None:
        self._sum.update(block)
        self.count += len(block)

    def state(self) -> str:
        """Return "": this hash cannot be saved."""
        return ""

    def hexdigest(self) -> str:
        return self._sum.hexdigest()


class ResumableSha256:
    """SHA-256 by OpenSSL, from the start or from a saved state."""

    def __init__(self, library: ctypes.CDLL, state: str = "") -> None:
        """Raise ValueError for a state that a machine of this kind did not save."""
        self._library = library
        self._context = _Context()
        library.SHA256_Init(ctypes.byref(self._context))
        if state:
            body = bytes.fromhex(state)
            if len(body) != ctypes.sizeof(_Context):
                raise ValueError("not a saved SHA-256 state")
            self._context = _Context.from_buffer_copy(body)
            if self._context.length != DIGEST or self._context.pending != self.count % 64:
                raise ValueError("saved by a machine of another kind")

    @property
    def count(self) -> int:
        """Bytes hashed."""
        return int(self._context.high << 29 | self._context.low >> 3)

    def update(self, block: memoryview) -> None:
        # ctypes releases the GIL during the call.
        data = (ctypes.c_char * len(block)).from_buffer(block)
        self._library.SHA256_Update(ctypes.byref(self._context), data, ctypes.c_size_t(len(block)))

    def state(self) -> str:
        """Return the state to resume from: 224 hexadecimal digits."""
        return bytes(self._context).hex()

    def hexdigest(self) -> str:
        digest = (ctypes.c_ubyte * DIGEST)()
        copy = _Context.from_buffer_copy(bytes(self._context))
        self._library.SHA256_Final(digest, ctypes.byref(copy))
        return bytes(digest).hex()


Sha256 = PlainSha256 | ResumableSha256


def resume(state: str) -> Sha256:
    """Return a SHA-256 that continues from a saved state; a new one if the state is empty or unusable."""
    library = openssl()
    if library is None:
        return PlainSha256()
    try:
        return ResumableSha256(library, state)
    except ValueError:
        return ResumableSha256(library)
