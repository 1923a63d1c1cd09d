"""Responds to local programs from the status board, and passes on which item they request first.

Touches no socket: requests in, bytes out. Frequent responses are encoded once.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from loader.contract.names import content_name
from loader.contract.strict_json import Fields, loads
from loader.errors import BadName, Code, ContractError
from loader.local_api.http import BODY_LIMIT, HttpError, HttpRequest, build_response, encode_json, json_response
from loader.monitor.status_board import StatusBoard

PriorityRequest = Callable[[str, str | None], str | None]
ROUTES: Final[Mapping[str, str]] = MappingProxyType({"/status": "GET", "/events": "GET", "/now": "POST"})
_EXAMPLE: Final = (
    'Send {"campaign": "2026-12", "content": "movie-001"}. Without "content", the complete campaign is loaded first.'
)


class BadRequestBody(ContractError):
    """The body of `POST /now` is invalid."""

    code = Code.INTERNAL


class LocalApi:
    """The routes of the API. Thread-safe. `prioritise`: see `LocalApiServer`."""

    def __init__(self, board: StatusBoard, prioritise: PriorityRequest) -> None:
        self._board, self._request_priority = board, prioritise
        self._run_id = secrets.token_hex(4)  # for ETags: another run may have the same revisions
        self._lock = threading.Lock()
        self._status: tuple[int, bytes] = (0, b"")
        self._event: tuple[int, int, bytes] = (0, 0, b"")

    def route(self, request: HttpRequest) -> str:
        """Return the path if it exists and supports the method. Raises HttpError."""
        method = ROUTES.get(request.path)
        if method is None:
            routes = ", ".join(f"{method} {path}" for path, method in ROUTES.items())
            raise HttpError(HTTPStatus.NOT_FOUND, f"{request.path} does not exist.", f"Use one of: {routes}.")
        if request.method != method:
            raise HttpError(
                HTTPStatus.METHOD_NOT_ALLOWED,
                f"{request.path} does not support {request.method}.",
                f"Use {method}.",
                Allow=method,
            )
        if method == "POST":
            self._check_type(request)
        return request.path

    def respond(self, resource: str, request: HttpRequest, body: bytes) -> bytes:
        """Return the response to `GET /status` or `POST /now`. Raises HttpError."""
        return self._prioritise(body) if resource == "/now" else self._status_response(request)

    def event(self, since: int) -> tuple[int, bytes]:
        """Return the newest revision, and the changes since revision `since` as a server-sent event."""
        revision = self._board.revision
        with self._lock:
            if self._event[:2] != (since, revision):
                changes = self._board.changes(since)
                kind = b"status" if changes["full"] else b"change"
                revision = int(str(changes["revision"]))
                event = b"id: %d\nevent: %s\ndata: %s\n\n" % (revision, kind, encode_json(changes))
                self._event = (since, revision, event)
            return self._event[1], self._event[2]

    def _status_response(self, request: HttpRequest) -> bytes:
        revision, body = self._cached_status()
        etag = f'"{self._run_id}-{revision}"'
        known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
        status = HTTPStatus.NOT_MODIFIED if known & {etag, "*"} else HTTPStatus.OK
        return build_response(status, body, {"ETag": etag})

    def _cached_status(self) -> tuple[int, bytes]:
        revision = self._board.revision
        with self._lock:
            if self._status[0] != revision:
                status = self._board.snapshot()
                self._status = (int(str(status["revision"])), encode_json(status))
            return self._status

    @staticmethod
    def _check_type(request: HttpRequest) -> None:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise HttpError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "The Content-Type of the body is not application/json.",
                "Send Content-Type: application/json.",
            )

    def _prioritise(self, body: bytes) -> bytes:
        campaign, content = _parse_body(body)
        name = f"{campaign}/{content}" if content else campaign
        status = self._board.status_of(campaign, content)
        if status is None:
            raise HttpError(
                HTTPStatus.NOT_FOUND, f"{name} is not planned for this aircraft.", "GET /status lists what is planned."
            )
        if status == "complete":
            raise HttpError(HTTPStatus.CONFLICT, f"{name} is already complete.", "Nothing is left to load.")
        refusal = self._request_priority(campaign, content)
        if refusal is not None:
            raise HttpError(HTTPStatus.CONFLICT, refusal, "GET /status returns the state of the loader.")
        return json_response(HTTPStatus.ACCEPTED, {"campaign": campaign, "content": content, "status": status})


def _parse_body(body: bytes) -> tuple[str, str | None]:
    try:
        fields = Fields(loads(body, limit=BODY_LIMIT, error=BadRequestBody), "", BadRequestBody)
        campaign, content = fields.text("campaign"), fields.text("content")
        if not campaign:
            fields.fail("campaign", "is missing")
        return campaign, content_name(content) if content else None
    except (BadRequestBody, BadName) as error:
        raise HttpError(HTTPStatus.BAD_REQUEST, f"The request body is invalid: {error}.", _EXAMPLE) from error
