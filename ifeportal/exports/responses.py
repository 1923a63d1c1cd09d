"""The answer to `?export=` on a page: the file, or for a large one an offer to have it written by a job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from django.core import signing
from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from ifeportal.exports.downloads import TooManyDownloads, counted
from ifeportal.exports.models import LIFETIME
from ifeportal.exports.requests import FileRequest
from ifeportal.tables.columns import Table
from ifeportal.tables.export import CONTENT_TYPES, export_as
from ifeportal.web.errors import too_many_at_once
from ifeportal.web.responses import render_page

DIRECT_ROWS: Final = 5_000  # of a file that is sent at once
SALT: Final = "ifeportal.exports"


def export(request: HttpRequest, table: Table) -> HttpResponseBase | None:
    """Return what `?export=csv` or `?export=json` requests; None if the query string requests no file.

    A file with more than DIRECT_ROWS rows is offered on a page, whose form requests it.
    """
    kind = request.GET.get("export", "")
    if kind not in CONTENT_TYPES:
        return None
    name = f"{table.name} {timezone.now():%Y-%m-%d %H%M}Z.{kind}"
    if isinstance(request, FileRequest):
        return export_as(request, request.counted(table), kind, name)
    small = _small(table)
    return direct(request, small, kind, name) if small is not None else _offer(request, name)


def export_response(request: HttpRequest, tables: Mapping[str, Callable[[], Table]]) -> HttpResponseBase | None:
    """Return a table of the page as a file: `?export=` is the format, `?table=` the table, by default the first one.

    Return None if the request does not ask for a file.
    """
    if "export" not in request.GET:
        return None
    first = next(iter(tables))
    return export(request, tables.get(request.GET.get("table", first), tables[first])())


def direct(request: HttpRequest, table: Table, kind: str, name: str) -> HttpResponseBase:
    """Return the file at once; 429 if the user already has as many downloads as allowed."""

    def build() -> StreamingHttpResponse:
        return export_as(request, table, kind, name)

    try:
        return counted(request, build)
    except TooManyDownloads as error:
        return too_many_at_once(request.path, str(error))


def signed_address(request: HttpRequest, name: str) -> str:
    """Return the address of this export, signed, so that a job opens no other one."""
    address = {"user": request.user.pk, "path": request.path, "query": request.META["QUERY_STRING"], "name": name}
    return signing.dumps(address, salt=SALT, compress=True)


def read_address(text: str, user: int | None) -> Mapping[str, Any] | None:
    """Return the signed address; None if it was not made for this user within the last hours."""
    try:
        found: Mapping[str, Any] = signing.loads(text, salt=SALT, max_age=LIFETIME)
    except signing.BadSignature:
        return None
    return found if found["user"] == user else None


def _small(table: Table) -> Table | None:
    """Return the table if it has at most DIRECT_ROWS rows, else None. Rows that can be read once only are read."""
    rows = table.rows
    if isinstance(rows, QuerySet):
        return None if rows[DIRECT_ROWS : DIRECT_ROWS + 1].exists() else table
    if isinstance(rows, Iterator):
        rows = list(islice(rows, DIRECT_ROWS + 1))
    found = list(islice(rows, DIRECT_ROWS + 1))
    return None if len(found) > DIRECT_ROWS else table.with_rows(found)


def _offer(request: HttpRequest, name: str) -> HttpResponseBase:
    context = {"name": name, "address": signed_address(request, name), "limit": DIRECT_ROWS}
    return render_page(request, "exports/offer.html", context)
