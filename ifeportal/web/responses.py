"""Responses of pages: rendered and compressed."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.shortcuts import render
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.decorators import decorator_from_middleware


class GZipPages(GZipMiddleware):
    """Compress pages, but not streamed files.

    Under ASGI Django compresses each chunk as a separate gzip member, and browsers read only the first one.
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        return response if response.streaming else super().process_response(request, response)


compressed = decorator_from_middleware(GZipPages)


def render_page(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """Render an uncached page with the context of every page: the time, and whether it is a wallboard (`?wall=1`)."""
    page = render(request, template, {"now": timezone.now(), "wall": request.GET.get("wall") == "1", **context})
    add_never_cache_headers(page)
    return page
