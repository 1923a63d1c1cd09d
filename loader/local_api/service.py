"""Answers local programs from the status board, and passes on which item they want first.

Touches no socket: requests in, bytes out. Frequent answers are encoded once.
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
_EXAMPLE: Final = 'Send {"campaign": "2026-12", "content": "movie-001"}; without content all of the campaign is meant.'


class BadRequestBody(ContractError):
    """The body of a `/now` is not what it should be."""

    code = Code.INTERNAL


class LocalApi:
    """May be used by several threads. `ask`: see `LocalApiServer`."""

    def __init__(self, board: StatusBoard, ask: PriorityRequest) -> None:
        self._board, self._ask = board, ask
        self._run_id = secrets.token_hex(4)  # revisions of an earlier run mean nothing in this one
        self._lock = threading.Lock()
        self._status: tuple[int, bytes] = (0, b"")
        self._event: tuple[int, int, bytes] = (0, 0, b"")

    def route(self, request: HttpRequest) -> str:
        """The path, if there is such a thing and it takes this method. Raises Refusal."""
        method = ROUTES.get(request.path)
        if method is None:
            there = ", ".join(f"{method} {path}" for path, method in ROUTES.items())
            raise HttpError(HTTPStatus.NOT_FOUND, "There is nothing of this name here.", f"Ask for one of: {there}.")
        if request.method != method:
            raise HttpError(
                HTTPStatus.METHOD_NOT_ALLOWED,
                f"{request.path} does not take {request.method}.",
                f"Use {method}.",
                Allow=method,
            )
        if method == "POST":
            self._check_type(request)
        return request.path

    def respond(self, resource: str, request: HttpRequest, body: bytes) -> bytes:
        """To a `/status` or a `/now`. Raises Refusal."""
        return self._prioritise(body) if resource == "/now" else self._status_response(request)

    def event(self, since: int) -> tuple[int, bytes]:
        """What changed since that revision, as a server-sent event, and the revision it brings one to."""
        revision = self._board.revision
        with self._lock:
            if self._event[:2] != (since, revision):
                told = self._board.changes(since)
                kind = b"status" if told["full"] else b"change"
                revision = int(str(told["revision"]))
                event = b"id: %d\nevent: %s\ndata: %s\n\n" % (revision, kind, encode_json(told))
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
                told = self._board.snapshot()
                self._status = (int(str(told["revision"])), encode_json(told))
            return self._status

    # Somebody wants something first.

    @staticmethod
    def _check_type(request: HttpRequest) -> None:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise HttpError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "The body is not said to be JSON.",
                "Send Content-Type: application/json.",
            )

    def _prioritise(self, body: bytes) -> bytes:
        campaign, content = _parse_body(body)
        name = f"{campaign}/{content}" if content else campaign
        status = self._board.status_of(campaign, content)
        if status is None:
            raise HttpError(
                HTTPStatus.NOT_FOUND, f"{name} is not in the plan of this aircraft.", "GET /status names what is."
            )
        if status == "complete":
            raise HttpError(HTTPStatus.CONFLICT, f"{name} is whole already.", "Use it.")
        why = self._ask(campaign, content)
        if why is not None:
            raise HttpError(HTTPStatus.CONFLICT, why, "GET /status says what the loader is about.")
        return json_response(HTTPStatus.ACCEPTED, {"campaign": campaign, "content": content, "status": status})


def _parse_body(body: bytes) -> tuple[str, str | None]:
    try:
        fields = Fields(loads(body, limit=BODY_LIMIT, error=BadRequestBody), "", BadRequestBody)
        campaign, content = fields.text("campaign"), fields.text("content")
        if not campaign:
            fields.fail("campaign", "is missing")
        return campaign, content_name(content) if content else None
    except (BadRequestBody, BadName) as error:
        raise HttpError(HTTPStatus.BAD_REQUEST, f"The body is refused: {error}.", _EXAMPLE) from error
