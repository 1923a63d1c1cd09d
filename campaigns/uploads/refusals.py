"""Why a request about an upload is refused: the codes of the API, and the exceptions that carry them. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class Refusal(StrEnum):
    """The word for a refusal in the API. All are conflicts (409), except TOO_LARGE (413)."""

    NAME_EXISTS = "NAME_EXISTS"
    NAME_UNDER_WAY = "NAME_UNDER_WAY"
    PUBLISHED = "PUBLISHED"
    QUOTA = "QUOTA"
    TOO_LARGE = "TOO_LARGE"
    PARTS_MISSING = "PARTS_MISSING"
    ENDED = "ENDED"
    FROM_URL = "FROM_URL"
    BUSY = "BUSY"


class RequestRefused(Exception):
    """The request cannot be done now; `str()` says why and what to do. `details` are further fields of the answer."""

    def __init__(self, code: Refusal, sentence: str, **details: Any) -> None:
        super().__init__(sentence)
        self.code, self.details = code, details


class InvalidField(Exception):
    """A field of the request has a value that does not fit the rows; `str()` says why."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


class NotBegun(Exception):
    """The store has not accepted the upload yet, because it was away. A worker tries again."""
