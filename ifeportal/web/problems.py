"""API errors as problem details (RFC 9457). No I/O.

`type` is about:blank if the status says enough, else one of `PROBLEM_TYPES`. `instance` is the requested path. `errors`
lists the errors by parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse, JsonResponse
from rest_framework import exceptions

MEDIA_TYPE: Final = "application/problem+json"
API_PREFIX: Final = "/api/"
ABOUT_BLANK: Final = "about:blank"
TYPE_PREFIX: Final = "urn:problem-type:ifeportal:"
# Problem types that say more than the status: {last part of `type`: title}.
PROBLEM_TYPES: Final[Mapping[str, str]] = {
    "bad-parameter": "A parameter has an invalid value",
    "bad-value": "A value contains a character that is not allowed",
    "start-anew": "The changes since that revision are no longer available",
    "too-many-requests": "Too many requests",
    "too-many-listeners": "Too many open connections",
    "database-away": "The database is not responding",
    "query-timeout": "The query took too long",
}
NOT_FOUND_DETAIL: Final = "Not found, or you do not have access to it."


def problem(
    status: int,
    detail: str,
    path: str,
    *,
    kind: str = "",
    errors: Mapping[str, Sequence[str]] | None = None,
    headers: Mapping[str, str] | None = None,
    extensions: Mapping[str, Any] | None = None,
) -> HttpResponse:
    """Return the problem response to a request for `path`; `kind` is a key of `PROBLEM_TYPES`.

    `extensions` are further members of the body, for programs.
    """
    body: dict[str, Any] = {
        **(extensions or {}),
        "type": TYPE_PREFIX + kind if kind else ABOUT_BLANK,
        "title": PROBLEM_TYPES[kind] if kind else HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": quote(path, errors="replace"),
    }
    if errors:
        body["errors"] = errors
    return JsonResponse(body, status=status, content_type=MEDIA_TYPE, headers=dict(headers or {}))


def exception_handler(error: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """Return the problem response to an exception in a REST framework view; None if it is not a client error."""
    path: str = context["request"].path
    if isinstance(error, Http404):
        return problem(404, NOT_FOUND_DETAIL, path)
    if isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied(*error.args)
    if not isinstance(error, exceptions.APIException):
        return None
    if isinstance(error, exceptions.ValidationError):
        errors = _by_parameter(error.detail)
        detail = "; ".join(f"{name}: {sentences[0]}" for name, sentences in errors.items())
        return problem(400, detail, path, kind="bad-parameter", errors=errors)
    kind = "too-many-requests" if isinstance(error, exceptions.Throttled) else ""
    extensions = getattr(error, "extensions", None)
    return problem(
        error.status_code, str(error.detail), path, kind=kind, headers=_headers(error), extensions=extensions
    )


def _by_parameter(detail: Any) -> dict[str, list[str]]:
    """Return the sentences of a ValidationError by parameter; "request" for those without a parameter."""
    if not isinstance(detail, Mapping):
        return {"request": [str(sentence) for sentence in (detail if isinstance(detail, list) else [detail])]}
    return {
        "request" if name == "non_field_errors" else str(name): [str(sentence) for sentence in _flatten(sentences)]
        for name, sentences in detail.items()
    }


def _flatten(detail: Any) -> list[Any]:
    if isinstance(detail, Mapping):
        return [sentence for part in detail.values() for sentence in _flatten(part)]
    return [sentence for part in detail for sentence in _flatten(part)] if isinstance(detail, list) else [detail]


def _headers(error: exceptions.APIException) -> dict[str, str]:
    headers: dict[str, str] = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = f"{wait:.0f}"
    return headers
