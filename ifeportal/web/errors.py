"""Error responses: problem details below /api/, pages elsewhere; 503 when the database does not respond.

Contains the handlers that `urls.py` names (`handler400` and so on). Touches nothing.
"""

from __future__ import annotations

import sys
from typing import Final

from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.template.loader import render_to_string
from django.views import defaults

from ifeportal.accounts.hashers import HASHING_RETRY_AFTER
from ifeportal.tables.search import SearchTooLong
from ifeportal.web.database_limits import is_cancelled_query
from ifeportal.web.problems import API_PREFIX, NOT_FOUND_DETAIL, problem

TOO_LARGE: Final = "The request body is too large."
DATABASE_RETRY_AFTER: Final = 5  # seconds
QUERY_TIMED_OUT: Final = (
    "The database did not finish the query in time. Narrow the search or the filter, or ask for fewer rows."
)
TOO_MANY_AT_ONCE: Final = "You have too many requests running at the same time. Wait for them, then try again."
BUSY_RETRY_AFTER: Final = 5  # seconds
# For responses that are sent before, or instead of, the middleware that sets these.
STANDALONE_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400 for a malformed request or a wrong host; 413 in the API for too large a body."""
    if request.path.startswith(API_PREFIX):
        if isinstance(exception, RequestDataTooBig):
            return problem(413, TOO_LARGE, request.path)
        return problem(400, "The request is malformed.", request.path)
    if isinstance(exception, SearchTooLong):
        return HttpResponseBadRequest(render_to_string("search_too_long.html", {"sentence": exception}, request))
    return defaults.bad_request(request, exception)


def too_many_passwords(request: HttpRequest) -> HttpResponse:
    """503 with Retry-After: the password was not checked, because too many others are being checked."""
    headers = {"Retry-After": str(HASHING_RETRY_AFTER), "Cache-Control": "no-store"}
    if request.path.startswith(API_PREFIX):
        detail = "Too many passwords are being checked. Try again in a few seconds."
        return problem(503, detail, request.path, headers=headers)
    return HttpResponse(render_to_string("too_many_passwords.html"), status=503, headers=headers)


def body_too_large(path: str) -> HttpResponse:
    """413: the body is larger than BODY_LIMIT. Complete without any middleware."""
    if path.startswith(API_PREFIX):
        return problem(413, TOO_LARGE, path, headers=STANDALONE_HEADERS)
    return HttpResponse(render_to_string("413.html"), status=413, headers=STANDALONE_HEADERS)


def too_many_at_once(path: str, sentence: str = TOO_MANY_AT_ONCE) -> HttpResponse:
    """429 with Retry-After: the user has too many requests running. Complete without any middleware."""
    headers = {"Retry-After": str(BUSY_RETRY_AFTER), **STANDALONE_HEADERS}
    if path.startswith(API_PREFIX):
        return problem(429, sentence, path, kind="too-many-requests", headers=headers)
    page = render_to_string("too_many_at_once.html", {"sentence": sentence})
    return HttpResponse(page, status=429, headers=headers)


def query_timed_out(path: str) -> HttpResponse:
    """503 with Retry-After: the database cancelled a query of this request."""
    headers = {"Retry-After": str(DATABASE_RETRY_AFTER), **STANDALONE_HEADERS}
    if path.startswith(API_PREFIX):
        return problem(503, QUERY_TIMED_OUT, path, kind="query-timeout", headers=headers)
    page = render_to_string("query_timed_out.html", {"sentence": QUERY_TIMED_OUT})
    return HttpResponse(page, status=503, headers=headers)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403: the user may see the object but not do this."""
    if request.path.startswith(API_PREFIX):
        return problem(403, "You do not have permission to do this.", request.path)
    return defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: the object does not exist, or the user may not see it."""
    if request.path.startswith(API_PREFIX):
        return problem(404, NOT_FOUND_DETAIL, request.path)
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """503 with Retry-After for a database outage or a cancelled query, else 500."""
    error = sys.exc_info()[1]
    if is_cancelled_query(error):
        return query_timed_out(request.path)
    if isinstance(error, OperationalError | InterfaceError):
        return database_unavailable(request.path)
    if request.path.startswith(API_PREFIX):
        return problem(500, "An unexpected error occurred and was logged.", request.path)
    return defaults.server_error(request)


def database_unavailable(path: str) -> HttpResponse:
    """503: the database does not respond; JSON for the API and /readyz. Complete without any middleware."""
    headers = {"Retry-After": str(DATABASE_RETRY_AFTER), **STANDALONE_HEADERS}
    if path.startswith(API_PREFIX) or path == "/readyz":
        detail = "The database is not responding. Try again in a few seconds."
        return problem(503, detail, path, kind="database-away", headers=headers)
    return HttpResponse(render_to_string("503.html"), status=503, headers=headers)
