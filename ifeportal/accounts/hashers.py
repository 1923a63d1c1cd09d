"""Password hashing in bounded memory: Argon2id with OWASP's parameters, a few hashes at a time in each process.

Under ASGI every request has a thread of its own. Without a limit each of them would hash at once, and any stranger who
tries to sign in decides how many there are. Touches nothing but the threads below.
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

AT_ONCE: Final = 2  # in each process; hashes that earlier releases made take 100 MiB each, ours 19
MOST_WAITING: Final = 40  # requests; each keeps a thread, and often a connection to the database
PATIENCE: Final = 5.0  # seconds a request waits for its turn
HASHING_RETRY_AFTER: Final = 5  # seconds


class TooManyPasswords(Exception):
    """More passwords are to be hashed than this process can take on; none was looked at."""


class Hashing:
    """A few threads that hash; at most so many callers wait for them, each only so long (seconds).

    A lock around the threads of requests would not do: glibc keeps up to 38 MiB of what a thread has freed in the
    arena of that thread, and there are eight arenas for each core.
    """

    def __init__(self, at_once: int, most_waiting: int, patience: float) -> None:
        self._at_once = at_once
        self._most = at_once + most_waiting
        self._patience = patience
        self.begin()
        os.register_at_fork(after_in_child=self.begin)  # threads stay behind in the parent

    def begin(self) -> None:
        """Begin with threads of its own and nobody waiting."""
        self._threads = ThreadPoolExecutor(self._at_once, "passwords")
        self._places = threading.BoundedSemaphore(self._most)

    def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the call returns. Raises TooManyPasswords, and what the call raises. Not to be nested."""
        if not self._places.acquire(blocking=False):
            raise TooManyPasswords
        try:
            work = self._threads.submit(call, *args, **kwargs)
            done, _ = wait([work], timeout=self._patience)
            if not done and work.cancel():
                raise TooManyPasswords
            return work.result()  # one that has begun is about to end
        finally:
            self._places.release()


hashing: Final = Hashing(AT_ONCE, MOST_WAITING, PATIENCE)


class Argon2(Argon2PasswordHasher):
    """Argon2id with 19 MiB, two passes, one lane: OWASP, Password Storage Cheat Sheet.

    Hashes with other parameters are checked with theirs, and made anew when their user signs in.
    """

    time_cost = 2
    memory_cost = 19 * 1024  # KiB
    parallelism = 1

    def encode(self, password: str, salt: str) -> str:
        """Return the hash. Raises TooManyPasswords."""
        return hashing.run(super().encode, password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        """Return whether the password is the one that was hashed. Raises TooManyPasswords."""
        return hashing.run(super().verify, password, encoded)


class PBKDF2(PBKDF2PasswordHasher):
    """PBKDF2, for hashes that were brought along; `verify` and `harden_runtime` come through `encode`."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        """Return the hash. Raises TooManyPasswords."""
        return hashing.run(super().encode, password, salt, iterations)
