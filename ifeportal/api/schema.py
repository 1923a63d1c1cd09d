"""OpenAPI schema common to all operations: problems (RFC 9457), entity tags, the revision. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ifeportal.web.problems import MEDIA_TYPE, PROBLEM_TYPES, TYPE_PREFIX

PROBLEM_SCHEMA: Final = {
    "type": "object",
    "description": "Problem details as in RFC 9457.",
    "properties": {
        "type": {
            "type": "string",
            "description": "about:blank where the status says it all, else one of: "
            + ", ".join(TYPE_PREFIX + word for word in PROBLEM_TYPES),
        },
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence."},
        "instance": {"type": "string", "description": "What was asked for."},
        "errors": {
            "type": "object",
            "description": "For each parameter that was wrong, the sentences that say why.",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
    },
    "required": ["type", "title", "status", "detail", "instance"],
}
COMMON_ERRORS: Final = {
    "401": "No credentials, or ones that are not valid.",
    "406": "Another form than those offered was asked for.",
    "429": "Too many requests; `Retry-After` says when to come back.",
    "503": "The database does not answer; `Retry-After` says when to come back.",
}
WRITE_ERRORS: Final = {
    "400": "The body cannot be read, or a value is not offered: `errors` says which.",
    "403": "Seen, but not for you to change; or a cookie without its CSRF token.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
}
LIST_ERRORS: Final = {
    "400": "A parameter has a value that is not offered: `errors` says which.",
    "404": "There is no such page.",
}
ERRORS_KEY: Final = "x-errors"  # {status: sentence} of one operation, until `document_errors` takes it out
DETAIL_ERRORS: Final = {"404": "Not there, or not for you to see."}
IF_NONE_MATCH: Final = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` of what you have: 304 if that is still what there is.",
    "schema": {"type": "string"},
}
ETAG_HEADERS: Final = {
    "ETag": {"description": "Of these very rows; for `If-None-Match`.", "schema": {"type": "string"}},
    "X-Revision": {
        "description": "The revision of the feed before the rows were read: for `since` of /api/v1/changes/.",
        "schema": {"type": "integer"},
    },
}


def with_errors(errors: Mapping[str, str]) -> dict[str, Any]:
    """Return the extension by which `extend_schema` is given what one operation answers besides: {status: sentence}."""
    return {ERRORS_KEY: dict(errors)}


def document_errors(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Add to the schema what every operation can answer (a hook of drf-spectacular)."""
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
        responses["304"] = {"description": "You have it already.", "headers": ETAG_HEADERS}
    told = (
        COMMON_ERRORS | (DETAIL_ERRORS if "{id}" in path else {}) | (LIST_ERRORS if paged and method == "get" else {})
    )
    told |= operation.pop(ERRORS_KEY, {})
    if method != "get":
        told |= WRITE_ERRORS
    for status, text in sorted(told.items()):
        responses.setdefault(status, _problem_response(text))


def _problem_response(text: str) -> dict[str, Any]:
    return {"description": text, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
