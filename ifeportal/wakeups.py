"""Wake-ups between processes through PostgreSQL's NOTIFY, so that readers of the database see a change at once.

A wake-up may be lost, as with a pooler between portal and database, and SQLite has none: callers look again after a
short time anyway. https://www.postgresql.org/docs/current/sql-notify.html
"""

from __future__ import annotations

import time
from typing import Any, Final
from weakref import WeakSet

from django.db import connection
from django.db.models import CharField, Expression, Func, Value

CHANGES: Final = "ifeportal_changes"  # something was published in the feed
JOBS: Final = "ifeportal_jobs"  # a worker is needed
_listening: Final[WeakSet[Any]] = WeakSet()  # psycopg's connections, each for one channel


def notification(channel: str) -> Expression:
    """Return an expression that wakes the waiters when the transaction of its statement commits."""
    if connection.vendor != "postgresql":
        return Value("")
    return Func(Value(channel), Value(""), function="pg_notify", output_field=CharField())


def wake(channel: str) -> None:
    """Wake the waiters when the transaction commits."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, '')", [channel])


def wait(channel: str, seconds: float) -> None:
    """Wait for a wake-up, `seconds` at most, in a thread that waits for no other channel. Raises django.db.Error."""
    if connection.vendor != "postgresql":
        time.sleep(seconds)
        return
    connection.ensure_connection()
    with connection.wrap_database_errors:
        raw: Any = connection.connection
        if raw not in _listening:
            raw.execute(f"LISTEN {channel}")
            _listening.add(raw)
        for _ in raw.notifies(timeout=seconds, stop_after=1):
            pass
