"""Database errors by what they concern: one statement and its values, or the database as a whole."""

from __future__ import annotations

import sqlite3
from typing import Final

from django.db import InterfaceError, OperationalError, connection

# PostgreSQL: connection, resources (disk, memory, connections), shutdown, system and internal errors, read-only server.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_SERVER_STATES: Final = ("08", "53", "57P", "58", "F0", "XX", "25006")
_FILE_ERRORS: Final = frozenset(
    {
        *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR),
        *(sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB),
    }
)


def is_database_unavailable(error: Exception) -> bool:
    """Return whether other statements would fail as well: not so with a deadlock, a timeout or an invalid value."""
    if isinstance(error, InterfaceError):
        return True
    if not isinstance(error, OperationalError):
        return False
    state = getattr(error.__cause__, "sqlstate", None)
    if state:
        return bool(state.startswith(_SERVER_STATES))
    code = getattr(error.__cause__, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _FILE_ERRORS
    return not connection.is_usable()
