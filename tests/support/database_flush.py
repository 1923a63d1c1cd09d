"""Empties PostgreSQL after a test that commits, in place of Django's flush.

Django truncates every table and creates content types and permissions again, which takes half a second on a busy
machine. TRUNCATE also locks out readers, so a server of the test that still reads several tables causes a deadlock.
Here only tables with rows are emptied, by DELETE, and content types and permissions stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from django.db import OperationalError, connection, transaction
from django.test import TransactionTestCase

_KEPT: Final = {"django_content_type", "auth_permission"}  # written by migrate, and by no test
_ATTEMPTS: Final = 5  # processes of the test may still write; one of two in a deadlock has to try again


@contextmanager
def quick_flush() -> Iterator[None]:
    """Flush PostgreSQL this way for as long as the block lasts."""
    flush_of_django = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]

    def flush(test: TransactionTestCase) -> None:
        if connection.vendor != "postgresql" or test.available_apps is not None:
            flush_of_django(test)
            return
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                delete_all_rows()
                return
            except OperationalError:
                if attempt == _ATTEMPTS:
                    raise

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", flush)
        yield


def delete_all_rows() -> None:
    """Delete the rows of all tables in one transaction; foreign keys are checked at its end."""
    quote = connection.ops.quote_name
    tables = sorted(set(connection.introspection.django_table_names(only_existing=True, include_views=False)) - _KEPT)
    filled = " UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT FROM {quote(name)})" for name in tables)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(filled)
        if names := [name for (name,) in cursor.fetchall()]:
            cursor.execute("; ".join(f"DELETE FROM {quote(name)}" for name in names))
