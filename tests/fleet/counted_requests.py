"""Right totals at each request of a test client, for tests that write rows by hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from django.db import connection
from django.test import Client

from fleet.stats.totals import recount
from ifeportal.models import Airline

READING: Final = re.compile(r"\s*(SELECT|SAVEPOINT|RELEASE)\b", re.IGNORECASE)
COUNTED: Final = re.compile(r'^\s*ROLLBACK|"fleet_|"campaigns_|"ifeportal_airline"', re.IGNORECASE)


class Changes:
    """Whether a statement has changed rows that the totals depend on since they were counted."""

    def __init__(self) -> None:
        self.any = True  # of a fixture

    def note(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        """Wrap the execution of each statement of the connection."""
        text = sql if isinstance(sql, str) else str(sql)
        self.any = self.any or bool(not READING.match(text) and COUNTED.search(text))
        return execute(sql, params, many, context)


@pytest.fixture(autouse=True)
def counted_before_requests(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have totals counted before a request of a test client if rows have changed.

    Counting takes twice as long as a request. Its queries are in no count of queries. Writes of other threads are not
    noticed.
    """
    send, changes = Client.request, Changes()

    def count_and_send(client: Client, **request: Any) -> Any:
        if changes.any:
            _count()
            changes.any = False
        return send(client, **request)

    monkeypatch.setattr(Client, "request", count_and_send)
    with connection.execute_wrapper(changes.note):
        yield


def _count() -> None:
    is_logged, connection.force_debug_cursor = connection.force_debug_cursor, False
    for airline in Airline.objects.order_by("pk").values_list("pk", flat=True):
        recount(airline)
    connection.force_debug_cursor = is_logged
