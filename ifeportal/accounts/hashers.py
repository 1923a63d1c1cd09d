"""Password hashing in bounded memory: Argon2id with OWASP's parameters, a few hashes at a time in each process.

Under ASGI every request has its own thread. Without a limit, anonymous sign-in attempts would decide how many hashes
are computed at the same time, and so how much memory the process takes. Touches only its own threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Final, ParamSpec, TypeVar

from django.contrib.auth.hashers import Argon2PasswordHasher, PBKDF2PasswordHasher

P = ParamSpec("P")
T = TypeVar("T")

MAX_CONCURRENT: Final = 2  # hashes per process; one takes 19 MiB, or 100 MiB if an earlier release made it
MAX_WAITING: Final = 40  # requests; each occupies a thread and often a database connection
WAIT_TIMEOUT: Final = 5.0  # seconds a request waits for its turn
HASHING_RETRY_AFTER: Final = 5  # seconds


class TooManyPasswords(Exception):
    """The queue of passwords to hash is full, or the wait timed out. The password was not checked."""


class Hashing:
    """Threads that hash, with a bounded queue. A call that does not start within `timeout` seconds fails.

    A lock around the threads of requests would not bound memory: glibc retains up to 38 MiB of freed memory in the
    arena of a thread, and there are eight arenas per core.
    """

    def __init__(self, max_concurrent: int, max_waiting: int, timeout: float) -> None:
        self._max_concurrent = max_concurrent
        self._max_calls = max_concurrent + max_waiting
        self._timeout = timeout
        self.reset()
        os.register_at_fork(after_in_child=self.reset)  # a fork copies no threads

    def reset(self) -> None:
        """Create new threads and an empty queue."""
        self._threads = ThreadPoolExecutor(self._max_concurrent, "passwords")
        self._slots = threading.BoundedSemaphore(self._max_calls)

    def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of the call. Raises TooManyPasswords and the call's own exceptions.

        Do not nest: a call that waits for another one can deadlock.
        """
        if not self._slots.acquire(blocking=False):
            raise TooManyPasswords
        try:
            work = self._threads.submit(call, *args, **kwargs)
            done, _ = wait([work], timeout=self._timeout)
            if not done and work.cancel():
                raise TooManyPasswords
            return work.result()  # a running hash ends soon and cannot be cancelled
        finally:
            self._slots.release()


hashing: Final = Hashing(MAX_CONCURRENT, MAX_WAITING, WAIT_TIMEOUT)


class Argon2(Argon2PasswordHasher):
    """Argon2id with 19 MiB, two passes, one lane (OWASP, Password Storage Cheat Sheet).

    A hash with other parameters is verified with those, and replaced when its user signs in.
    """

    time_cost = 2
    memory_cost = 19 * 1024  # KiB
    parallelism = 1

    def encode(self, password: str, salt: str) -> str:
        """Return the hash. Raises TooManyPasswords."""
        return hashing.run(super().encode, password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        """Return whether the password matches the hash. Raises TooManyPasswords."""
        return hashing.run(super().verify, password, encoded)


class PBKDF2(PBKDF2PasswordHasher):
    """PBKDF2, for imported hashes. `verify` and `harden_runtime` call `encode`."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        """Return the hash. Raises TooManyPasswords."""
        return hashing.run(super().encode, password, salt, iterations)
