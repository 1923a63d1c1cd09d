"""Error responses of a store, mapped to the codes of `loader.errors`. Pure.

A captive portal or a broken proxy may respond in place of the store, so only exact S3 errors are trusted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from loader.errors import Code, Unsupported, WorldError
from loader.s3.http.headers import parse_http_date

# Too short to contain a signature, whatever the store writes there.
_CODE: Final = re.compile(rb"<Code>([A-Z][A-Za-z0-9._-]{0,49})</Code>")


_BY_CODE: Final[Mapping[str, Code]] = {
    "NoSuchKey": Code.OBJECT_GONE,
    "NoSuchBucket": Code.OBJECT_GONE,
    "NoSuchUpload": Code.OBJECT_GONE,
    **dict.fromkeys(("InvalidPart", "InvalidPartOrder", "EntityTooSmall"), Code.SIZE_MISMATCH),
    "PreconditionFailed": Code.OBJECT_CHANGED,
    "InvalidRange": Code.OBJECT_CHANGED,
    "RequestTimeTooSkewed": Code.CLOCK_SKEW,
    "RequestTimeout": Code.TIMEOUT,
    "ConditionalRequestConflict": Code.THROTTLED,
    "OperationAborted": Code.THROTTLED,
    "SlowDown": Code.THROTTLED,
    **dict.fromkeys(
        (
            "ExpiredToken",
            "TokenRefreshRequired",
            "InvalidToken",
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "AuthorizationHeaderMalformed",
            "PermanentRedirect",
        ),
        Code.CREDENTIALS,
    ),
}
_BY_STATUS: Final[Mapping[int, Code]] = {
    401: Code.CREDENTIALS,
    403: Code.FORBIDDEN,
    404: Code.OBJECT_GONE,
    408: Code.TIMEOUT,
    412: Code.OBJECT_CHANGED,
    416: Code.OBJECT_CHANGED,
    **dict.fromkeys((409, 429, 500, 502, 503, 504), Code.THROTTLED),
}


class NoSuchBucket(WorldError):
    """The bucket itself does not exist (OBJECT_GONE)."""


class UploadGone(WorldError):
    """The multipart upload does not exist (any more): completed, aborted or expired (OBJECT_GONE)."""


class PartsRefused(WorldError):
    """The store cannot assemble an object from these parts: list them and send the missing ones (SIZE_MISMATCH)."""


_KINDS: Final[Mapping[str, type[WorldError]]] = {
    "NotImplemented": Unsupported,
    "NoSuchBucket": NoSuchBucket,
    "NoSuchUpload": UploadGone,
    **dict.fromkeys(("InvalidPart", "InvalidPartOrder", "EntityTooSmall"), PartsRefused),
}


@dataclass(frozen=True, slots=True)
class S3ErrorResponse:
    """An error response. `s3_code` is the store's own code, or empty."""

    status: int
    s3_code: str
    headers: Mapping[str, str]

    @classmethod
    def from_response(cls, status: int, headers: Mapping[str, str], body: bytes) -> S3ErrorResponse:
        """Parse a response. `headers` are case-insensitive; `body` is the beginning of the body."""
        found = _CODE.search(body)
        return cls(status, found.group(1).decode() if found else "", headers)

    @property
    def code(self) -> Code:
        """The code in `loader.errors`. Redirects are errors: captive portals redirect, stores do not."""
        if self.s3_code in _BY_CODE:
            return _BY_CODE[self.s3_code]
        return _BY_STATUS.get(self.status, Code.NETWORK if self.status < 400 else Code.INTERNAL)

    def to_error(self, what: str, bucket: str, now: datetime) -> WorldError:
        """Return the error to raise. `what` names the request, such as "GET ACME/2026-12/campaign.json"."""
        reason = self._reason(bucket, now)
        return self._kind(self.code, f"{what}: {reason}", retry_after=self._retry_after(now))

    @property
    def _kind(self) -> type[WorldError]:
        return Unsupported if self.status == 501 else _KINDS.get(self.s3_code, WorldError)

    def _reason(self, bucket: str, now: datetime) -> str:
        shown = f"{self.status} {self.s3_code}".strip()
        if self.s3_code == "NoSuchBucket":
            return f"the bucket {bucket!r} does not exist"
        if self.s3_code == "NoSuchUpload":
            return "the upload was completed, aborted or has expired"
        if self._kind is PartsRefused:
            return f"the store does not have these parts ({shown})"
        if self.s3_code in ("AuthorizationHeaderMalformed", "PermanentRedirect"):
            return f"the bucket is not in the configured region ({shown})"
        if self.code == Code.CLOCK_SKEW:
            date = parse_http_date(self.headers.get("Date"))
            server = f"the store's says {date:%Y-%m-%d %H:%M:%S} UTC" if date else "the store rejects this time"
            return f"the local clock says {now:%Y-%m-%d %H:%M:%S} UTC, {server}"
        return {
            Code.OBJECT_GONE: "the object does not exist",
            Code.OBJECT_CHANGED: f"the object has changed ({shown})",
            Code.FORBIDDEN: f"access denied ({shown})",
            Code.CREDENTIALS: f"the store rejected the credentials ({shown})",
            Code.THROTTLED: f"the store is busy ({shown})",
        }.get(self.code, f"unexpected response {shown}")

    def _retry_after(self, now: datetime) -> float | None:
        text = (self.headers.get("Retry-After") or "").strip()
        if re.fullmatch(r"[0-9]{1,6}", text):
            return float(text)
        when = parse_http_date(text)
        return max(0.0, (when - now).total_seconds()) if when else None
