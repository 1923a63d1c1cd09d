"""Error responses: problem details below /api/, pages elsewhere; 503 when the database does not answer.

Handlers for Django (`handler400` and so on in `urls.py`). Touches nothing.
"""

from __future__ import annotations

import sys
from typing import Final

from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views import defaults

from ifeportal.accounts.hashers import HASHING_RETRY_AFTER
from ifeportal.web.problems import API_PREFIX, NOT_FOUND_DETAIL, problem

TOO_LARGE: Final = "The body is too large."
DATABASE_RETRY_AFTER: Final = 5  # seconds
# For responses that are sent before, or instead of, the middleware that sets these.
STANDALONE_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400: what was sent cannot be read, or is not for this host; 413 for a program that sent too much of it."""
    if request.path.startswith(API_PREFIX):
        if isinstance(exception, RequestDataTooBig):
            return problem(413, TOO_LARGE, request.path)
        return problem(400, "The request cannot be read.", request.path)
    return defaults.bad_request(request, exception)


def too_many_passwords(request: HttpRequest) -> HttpResponse:
    """503: so many passwords are being checked that this one was not looked at, and how long to wait (seconds)."""
    headers = {"Retry-After": str(HASHING_RETRY_AFTER), "Cache-Control": "no-store"}
    if request.path.startswith(API_PREFIX):
        return problem(503, "Too many passwords are being checked. Try again soon.", request.path, headers=headers)
    return HttpResponse(render_to_string("too_many_passwords.html"), status=503, headers=headers)


def body_too_large(path: str) -> HttpResponse:
    """413: the body is larger than any the portal takes. Complete without any middleware."""
    if path.startswith(API_PREFIX):
        return problem(413, TOO_LARGE, path, headers=STANDALONE_HEADERS)
    return HttpResponse(render_to_string("413.html"), status=413, headers=STANDALONE_HEADERS)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403: seen, but not for this user to do."""
    if request.path.startswith(API_PREFIX):
        return problem(403, "This is not for you to do.", request.path)
    return defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: not there, or not for this user to see."""
    if request.path.startswith(API_PREFIX):
        return problem(404, NOT_FOUND_DETAIL, request.path)
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """What a request gets that failed: 503 and "come again" if it was for the database, else 500."""
    if isinstance(sys.exc_info()[1], OperationalError | InterfaceError):
        return database_unavailable(request.path)
    if request.path.startswith(API_PREFIX):
        return problem(500, "Something went wrong here; it was noted.", request.path)
    return defaults.server_error(request)


def database_unavailable(path: str) -> HttpResponse:
    """That the database does not answer: 503, as JSON where a program asks. Complete without any middleware."""
    headers = {"Retry-After": str(DATABASE_RETRY_AFTER), **STANDALONE_HEADERS}
    if path.startswith(API_PREFIX) or path == "/readyz":
        detail = "The database does not answer. Try again soon."
        return problem(503, detail, path, kind="database-away", headers=headers)
    return HttpResponse(render_to_string("503.html"), status=503, headers=headers)
