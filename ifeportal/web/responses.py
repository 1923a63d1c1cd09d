"""Responses of pages: rendered, compressed, or as a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.shortcuts import render
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.decorators import decorator_from_middleware

from ifeportal.tables.columns import Table
from ifeportal.tables.export import export


class GZipPages(GZipMiddleware):
    """Compresses pages, but no files that are sent in pieces.

    Under ASGI Django makes an archive of each piece, and browsers read the first one alone.
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """The answer, compressed if it is whole and the browser takes that."""
        return response if response.streaming else super().process_response(request, response)


compressed = decorator_from_middleware(GZipPages)


def render_page(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """The page with what every page has: when it was made, and whether it hangs on a wall (`?wall=1`). Not kept."""
    page = render(request, template, {"now": timezone.now(), "wall": request.GET.get("wall") == "1", **context})
    add_never_cache_headers(page)
    return page


def export_response(request: HttpRequest, tables: Mapping[str, Callable[[], Table]]) -> HttpResponseBase | None:
    """The file that the address asks for of a page with these tables: `export` says what kind, `table` which one.

    Without a known `table` it is the first of them; None where no file is asked for.
    """
    if "export" not in request.GET:
        return None
    first = next(iter(tables))
    return export(request, tables.get(request.GET.get("table", first), tables[first])())
