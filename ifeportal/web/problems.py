"""API errors as problem details (RFC 9457). No I/O.

`type` is about:blank where the status is enough, else one of `PROBLEM_TYPES`; `instance` is the requested address;
`errors` lists the faults by parameter.
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
# What the status alone does not say: the word of the type, and its title.
PROBLEM_TYPES: Final[Mapping[str, str]] = {
    "bad-parameter": "A parameter has a value that is not offered",
    "bad-value": "A value cannot be used",
    "start-anew": "Changes since then are no longer known",
    "too-many-requests": "Too many requests",
    "too-many-listeners": "Too many open connections",
    "database-away": "The database does not answer",
}
NOT_FOUND_DETAIL: Final = "There is no such thing, or it is not for you to see."


def problem(
    status: int,
    detail: str,
    path: str,
    *,
    kind: str = "",
    errors: Mapping[str, Sequence[str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """A problem as the answer to a request for `path`; `kind` is a key of `PROBLEM_TYPES`."""
    told: dict[str, Any] = {
        "type": TYPE_PREFIX + kind if kind else ABOUT_BLANK,
        "title": PROBLEM_TYPES[kind] if kind else HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": quote(path, errors="replace"),
    }
    if errors:
        told["errors"] = errors
    return JsonResponse(told, status=status, content_type=MEDIA_TYPE, headers=dict(headers or {}))


def exception_handler(error: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """What REST framework answers with; None for an error that is not of the request."""
    path: str = context["request"].path
    if isinstance(error, Http404):
        return problem(404, NOT_FOUND_DETAIL, path)
    if isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied(*error.args)
    if not isinstance(error, exceptions.APIException):
        return None
    if isinstance(error, exceptions.ValidationError):
        errors = _by_parameter(error.detail)
        return problem(
            400, "; ".join(f"{name}: {said[0]}" for name, said in errors.items()), path, **_parameter_problem(errors)
        )
    kind = "too-many-requests" if isinstance(error, exceptions.Throttled) else ""
    return problem(error.status_code, str(error.detail), path, kind=kind, headers=_headers(error))


def _parameter_problem(errors: dict[str, list[str]]) -> dict[str, Any]:
    return {"kind": "bad-parameter", "errors": errors}


def _by_parameter(detail: Any) -> dict[str, list[str]]:
    """The sentences of a ValidationError by parameter; those that name none stand under "request"."""
    if not isinstance(detail, Mapping):
        return {"request": [str(said) for said in (detail if isinstance(detail, list) else [detail])]}
    return {
        "request" if name == "non_field_errors" else str(name): [str(word) for word in _flatten(said)]
        for name, said in detail.items()
    }


def _flatten(said: Any) -> list[Any]:
    if isinstance(said, Mapping):
        return [word for part in said.values() for word in _flatten(part)]
    return [word for part in said for word in _flatten(part)] if isinstance(said, list) else [said]


def _headers(error: exceptions.APIException) -> dict[str, str]:
    """How to sign in (401), when to come back (429)."""
    found: dict[str, str] = {}
    if challenge := getattr(error, "auth_header", None):
        found["WWW-Authenticate"] = challenge
    if wait := getattr(error, "wait", None):
        found["Retry-After"] = f"{wait:.0f}"
    return found
