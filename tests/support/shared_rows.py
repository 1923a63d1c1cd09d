"""Rows that all tests of a module share: created once, in a transaction that is rolled back after the last of them.

The transaction of each test is a savepoint inside it, so that a test undoes only what it changed itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction
from pytest_django import DjangoDbBlocker


@contextmanager
def shared_rows(blocker: DjangoDbBlocker) -> Iterator[None]:
    """Open the transaction. The caller is a fixture of scope `module` or `class` that also needs `django_db_setup`."""
    block = transaction.atomic()
    block._from_testcase = True  # type: ignore[attr-defined]  # lets the tests run durable transactions
    with blocker.unblock():
        block.__enter__()
        try:
            yield
        finally:
            transaction.set_rollback(True)
            block.__exit__(None, None, None)
