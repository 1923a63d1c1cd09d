"""Table rows as a CSV or JSON download; a CSV cell never begins a spreadsheet formula.

Touches only the rows it is given, in chunks. Columns have the API's field names and units: bytes, bytes per second,
seconds; times in ISO 8601 with Z.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date, datetime
from itertools import islice
from typing import Any, Final

from asgiref.sync import sync_to_async
from defusedcsv import csv
from django.core.handlers.asgi import ASGIRequest
from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from django.utils.http import content_disposition_header

from ifeportal import formatting
from ifeportal.tables.columns import Table

ROW_LIMIT: Final = 100_000  # rows of one file
CHUNK_SIZE: Final = 500
CONTENT_TYPES: Final = {"csv": "text/csv; charset=utf-8", "json": "application/json"}
BYTE_ORDER_MARK: Final = "\N{BYTE ORDER MARK}"  # Excel reads a CSV file without it in the encoding of the country
FORMULA_SIGNS: Final = tuple("=+-@|%")
INVISIBLE_CATEGORIES: Final = ("Cc", "Cf")  # of Unicode: control characters, and format characters such as the BOM


def export(request: HttpRequest, table: Table) -> StreamingHttpResponse | None:
    """Return the file that `?export=csv` or `?export=json` requests; None if the query string requests none."""
    kind = request.GET.get("export", "")
    if kind not in CONTENT_TYPES:
        return None
    return export_as(request, table, kind, f"{table.name} {timezone.now():%Y-%m-%d %H%M}Z.{kind}")


def export_as(request: HttpRequest, table: Table, kind: str, filename: str) -> StreamingHttpResponse:
    """Return the table as a download; `kind` is csv or json."""
    texts = _csv(table) if kind == "csv" else _json(table, timezone.now())
    # Under ASGI Django reads a synchronous iterator to its end before it sends the first byte.
    content = _as_async(texts) if isinstance(request, ASGIRequest) else texts
    response = StreamingHttpResponse(content, content_type=CONTENT_TYPES[kind])
    response["Content-Disposition"] = content_disposition_header(True, filename)
    response["Cache-Control"] = "no-store"
    return response


def to_json_value(value: object) -> object:
    """Return the value for JSON: a time in UTC with Z, a date as 2026-12-01, anything else unchanged."""
    if isinstance(value, datetime):
        return formatting.iso(value)
    return value.isoformat() if isinstance(value, date) else value


def to_csv_value(value: object) -> object:
    """Return the value for CSV: empty if unknown, true or false, and text that begins no formula."""
    value = to_json_value(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        value = json.dumps(value)
    # defusedcsv itself escapes text whose first character is a sign.
    if isinstance(value, str) and not value.startswith(FORMULA_SIGNS) and _begins_formula(value):
        return f"'{value}"
    return value


def _begins_formula(text: str) -> bool:
    """Whether a spreadsheet may see a sign first: some drop invisible characters, some accept full-width signs."""
    if text[:1].isascii() and text[:1].isalnum():
        return False
    seen = next(
        (sign for sign in text if not sign.isspace() and unicodedata.category(sign) not in INVISIBLE_CATEGORIES), ""
    )
    return unicodedata.normalize("NFKC", seen).startswith(FORMULA_SIGNS)


class _Echo:
    """A file for a CSV writer; `write` returns each line."""

    def write(self, text: str) -> str:
        return text


def _csv(table: Table) -> Iterator[str]:
    writer = csv.writer(_Echo())
    rows, keys, values = _iter_rows(table), *_exported(table)
    yield f"{BYTE_ORDER_MARK}{writer.writerow(keys)}"
    for chunk in _chunks(rows):
        yield "".join(writer.writerow([to_csv_value(value(row)) for value in values]) for row in chunk)
    if _has_more(rows):
        yield writer.writerow([f"Truncated: there are more than {ROW_LIMIT:,} rows."])


def _json(table: Table, now: datetime) -> Iterator[str]:
    rows, count = _iter_rows(table), 0
    keys, values = _exported(table)
    head = {
        "table": table.name,
        "as_of": to_json_value(now),
        "columns": [{"key": column.key, "title": column.title} for column in table.exported],
    }
    yield f'{json.dumps(head)[:-1]}, "rows": ['
    for chunk in _chunks(rows):
        objects = ({key: to_json_value(value(row)) for key, value in zip(keys, values, strict=True)} for row in chunk)
        yield (",\n" if count else "\n") + ",\n".join(map(json.dumps, objects))
        count += len(chunk)
    yield f'\n], "count": {count}, "cut": {json.dumps(_has_more(rows))}}}\n'


def _exported(table: Table) -> tuple[list[str], list[Callable[[Any], object]]]:
    """Return the keys of the exported columns and their `value` functions."""
    pairs = [(column.key, column.value) for column in table.exported if column.value is not None]
    return [key for key, _ in pairs], [value for _, value in pairs]


def _iter_rows(table: Table) -> Iterator[Any]:
    """Return the rows as `value` of the columns takes them; a query set is read in chunks."""
    rows = table.rows.iterator(CHUNK_SIZE) if isinstance(table.rows, QuerySet) else iter(table.rows)
    return map(table.serialize, rows) if table.serialize else rows


def _chunks(rows: Iterator[Any]) -> Iterator[list[Any]]:
    """Yield the rows in chunks, at most ROW_LIMIT in all."""
    within = islice(rows, ROW_LIMIT)
    while chunk := list(islice(within, CHUNK_SIZE)):
        yield chunk


def _has_more(rows: Iterator[Any]) -> bool:
    return any(True for _ in rows)


async def _as_async(texts: Iterator[str]) -> AsyncIterator[str]:
    """Yield the texts in an event loop; each is built in the thread of the request."""
    while (text := await _next_text(texts)) is not None:
        yield text


@sync_to_async
def _next_text(texts: Iterator[str]) -> str | None:
    return next(texts, None)
