"""The request with which a job opens the page that exports a table, as its user. Touches nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, QueryDict

from ifeportal.models import User
from ifeportal.tables.columns import Table
from ifeportal.tables.export import CHUNK_SIZE, ROW_LIMIT


class FileRequest(HttpRequest):
    """A GET of a page's export by a job. `rows` counts the rows that were read, of `total` if it is known."""

    def __init__(self, user: User, path: str, query: str) -> None:
        super().__init__()
        self.method, self.user = "GET", user
        self.path = self.path_info = path
        self.GET = QueryDict(query)
        self.META["QUERY_STRING"] = query
        self.rows = 0
        self.total: int | None = None

    def counted(self, table: Table) -> Table:
        """Return the table with rows that are counted as they are read."""
        rows: Iterable[Any] = table.rows
        if isinstance(rows, QuerySet):
            self.total = min(rows.count(), ROW_LIMIT)
            rows = rows.iterator(CHUNK_SIZE)
        return table.with_rows(self._counting(rows))

    def _counting(self, rows: Iterable[Any]) -> Iterator[Any]:
        for row in rows:
            self.rows = min(self.rows + 1, ROW_LIMIT)
            yield row
