"""OpenAPI schema common to all operations: problems (RFC 9457), entity tags, the revision. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from drf_spectacular.utils import extend_schema, extend_schema_view

from ifeportal.web.problems import MEDIA_TYPE, PROBLEM_TYPES, TYPE_PREFIX

V = TypeVar("V")

PROBLEM_SCHEMA: Final = {
    "type": "object",
    "description": "Problem details as in RFC 9457.",
    "properties": {
        "type": {
            "type": "string",
            "description": "about:blank if the status is explanation enough, otherwise one of: "
            + ", ".join(TYPE_PREFIX + word for word in PROBLEM_TYPES),
        },
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What went wrong, for people."},
        "instance": {"type": "string", "description": "The path of the request."},
        "errors": {
            "type": "object",
            "description": "By invalid parameter or field: what is wrong with it.",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
        "code": {"type": "string", "description": "Why the request was refused, for programs."},
        "upload": {"type": "string", "format": "uuid", "description": "The other upload, of a name under way."},
        "missing": {
            "type": "array",
            "items": {"type": "integer"},
            "description": "Numbers of the parts that the store does not have.",
        },
    },
    "required": ["type", "title", "status", "detail", "instance"],
}
COMMON_ERRORS: Final = {
    "401": "Credentials are missing or invalid.",
    "406": "No available media type matches `Accept`.",
    "429": "Too many requests. Retry after the seconds in `Retry-After`.",
    "503": "The database is not responding. Retry after the seconds in `Retry-After`.",
}
WRITE_ERRORS: Final = {
    "400": "The body cannot be parsed, or a value is invalid: see `errors`.",
    "403": "You may see this but not change it, or the CSRF token is missing.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
}
LIST_ERRORS: Final = {
    "400": "A parameter is invalid: see `errors`.",
    "404": "The page does not exist.",
}
ERRORS_KEY: Final = "x-errors"  # {status: sentence} of one operation; `document_errors` removes it
DETAIL_ERRORS: Final = {"404": "It does not exist, or you cannot see it."}
IF_NONE_MATCH: Final = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` of your copy. The response is 304 if it is still current.",
    "schema": {"type": "string"},
}
ETAG_HEADERS: Final = {
    "ETag": {
        "description": "Changes when any of these rows does. Send it as `If-None-Match`.",
        "schema": {"type": "string"},
    },
    "X-Revision": {
        "description": "The revision of the feed before the rows were read. Send it as `since` to /api/v1/changes/.",
        "schema": {"type": "integer"},
    },
}


def with_summaries(tag: str, list_summary: str, retrieve_summary: str) -> Callable[[type[V]], type[V]]:
    """Return a decorator of viewsets that sets the tag and the summaries of the list and of one row."""
    return extend_schema_view(
        list=extend_schema(summary=list_summary, tags=[tag]),
        retrieve=extend_schema(summary=retrieve_summary, tags=[tag]),
    )


def with_errors(errors: Mapping[str, str]) -> dict[str, Any]:
    """Return the `extensions` of `extend_schema` for errors of one operation: {status: sentence}."""
    return {ERRORS_KEY: dict(errors)}


def document_errors(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Add the errors that operations have in common to the schema. A postprocessing hook of drf-spectacular."""
    result.setdefault("components", {}).setdefault("schemas", {})["Problem"] = PROBLEM_SCHEMA
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            _document(path, method, operation)
    return result


def _document(path: str, method: str, operation: dict[str, Any]) -> None:
    parameters = operation.setdefault("parameters", [])
    paged = any(parameter["name"] == "page" for parameter in parameters)
    responses = operation["responses"]
    if method == "get" and (paged or "{id}" in path):
        parameters.append(IF_NONE_MATCH)
        responses["200"]["headers"] = ETAG_HEADERS
        responses["304"] = {"description": "Your copy is still current.", "headers": ETAG_HEADERS}
    errors = (
        COMMON_ERRORS | (DETAIL_ERRORS if "{id}" in path else {}) | (LIST_ERRORS if paged and method == "get" else {})
    )
    errors |= operation.pop(ERRORS_KEY, {})
    if method != "get":
        errors |= WRITE_ERRORS
    for status, text in sorted(errors.items()):
        responses.setdefault(status, _problem_response(text))


def _problem_response(text: str) -> dict[str, Any]:
    return {"description": text, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
