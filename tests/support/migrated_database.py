"""Migrations run once per test run on PostgreSQL: the first worker offers a copy of its database to the others.

Each of them would need five seconds for the same migrations. The worker that made the copy drops it at its end.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from django.db.backends.base.base import BaseDatabaseWrapper

_SUFFIX: Final = "migrated"


class MigratedDatabase:
    """The copy. `folder` is the same for all workers of a run; a file in it has the name of the copy."""

    def __init__(self, folder: Path, connection: BaseDatabaseWrapper) -> None:
        self._lock = folder / "migrated-database.lock"
        self._offer = folder / "migrated-database"
        self._connection = connection
        self._own: str | None = None

    def create(self, create_test_db: Any, options: dict[str, Any]) -> str:
        """Create the database of this worker by `create_test_db`, as a copy if there is one to copy."""
        with exclusive(self._lock):
            offered = self._offer.exists()
            if offered:
                self._connection.settings_dict["TEST"].update(TEMPLATE=self._offer.read_text(), MIGRATE=False)
            name: str = create_test_db(**options)
            if not offered:
                self._connection.creation.clone_test_db(_SUFFIX, verbosity=0)
                self._own = f"{name}_{_SUFFIX}"
                self._offer.write_text(self._own)
        return name

    def drop(self) -> None:
        """Drop the copy if this worker made it; a worker that starts later runs the migrations."""
        if self._own:
            with exclusive(self._lock):
                self._offer.unlink()
                self._connection.creation._destroy_test_db(self._own, verbosity=0)  # type: ignore[attr-defined]


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Wait for the lock of this file and have it for as long as the block lasts; it ends with the process, too."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def migrated_once(folder: Path, connection: BaseDatabaseWrapper) -> Iterator[MigratedDatabase]:
    """Have Django create this connection's test database this way for as long as the block lasts."""
    migrated = MigratedDatabase(folder, connection)
    create_test_db = connection.creation.create_test_db
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection.creation, "create_test_db", lambda **options: migrated.create(create_test_db, options))
        yield migrated
