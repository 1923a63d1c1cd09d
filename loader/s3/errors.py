"""Error responses of a store, mapped to the codes of `loader.errors`. Pure.

A captive portal or a broken proxy may answer in place of the store, so only what looks exactly like S3 is believed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from loader.errors import Code, Unsupported, WorldError
from loader.s3.http.headers import parse_http_date

# Too short for a signature, whatever a store puts there.
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
    """The store does not know the multipart upload: completed, aborted or expired (OBJECT_GONE)."""


class PartsRefused(WorldError):
    """The store cannot make an object of these parts: list them, send what is missing (SIZE_MISMATCH)."""


_KINDS: Final[Mapping[str, type[WorldError]]] = {
    "NotImplemented": Unsupported,
    "NoSuchBucket": NoSuchBucket,
    "NoSuchUpload": UploadGone,
    **dict.fromkeys(("InvalidPart", "InvalidPartOrder", "EntityTooSmall"), PartsRefused),
}


@dataclass(frozen=True, slots=True)
class S3ErrorResponse:
    """An answer that is not the one hoped for: `s3_code` is the store's own code for it, or empty."""

    status: int
    s3_code: str
    headers: Mapping[str, str]

    @classmethod
    def from_response(cls, status: int, headers: Mapping[str, str], body: bytes) -> S3ErrorResponse:
        """`headers` may be looked up in any case; `body` is the beginning of the answer."""
        found = _CODE.search(body)
        return cls(status, found.group(1).decode() if found else "", headers)

    @property
    def code(self) -> Code:
        """Our code for it. A redirect is not followed: stores answer themselves, captive portals redirect."""
        if self.s3_code in _BY_CODE:
            return _BY_CODE[self.s3_code]
        return _BY_STATUS.get(self.status, Code.NETWORK if self.status < 400 else Code.INTERNAL)

    def to_error(self, what: str, bucket: str, now: datetime) -> WorldError:
        """The error to raise; `what` names the request, e.g. "GET ACME/2026-12/campaign.json"."""
        reason = self._reason(bucket, now)
        return self._kind(self.code, f"{what}: {reason}", retry_after=self._retry_after(now))

    @property
    def _kind(self) -> type[WorldError]:
        return Unsupported if self.status == 501 else _KINDS.get(self.s3_code, WorldError)

    def _reason(self, bucket: str, now: datetime) -> str:
        said = f"{self.status} {self.s3_code}".strip()
        if self.s3_code == "NoSuchBucket":
            return f"there is no bucket {bucket!r}"
        if self.s3_code == "NoSuchUpload":
            return "the upload was completed, aborted or has expired"
        if self._kind is PartsRefused:
            return f"the store does not have these parts ({said})"
        if self.s3_code in ("AuthorizationHeaderMalformed", "PermanentRedirect"):
            return f"the bucket is in another region than the one set ({said})"
        if self.code == Code.CLOCK_SKEW:
            theirs = parse_http_date(self.headers.get("Date"))
            server = f"{theirs:%Y-%m-%d %H:%M:%S} UTC" if theirs else "something else"
            return f"the clock here says {now:%Y-%m-%d %H:%M:%S} UTC, the store's {server}"
        return {
            Code.OBJECT_GONE: "there is no such object",
            Code.OBJECT_CHANGED: f"the object is not the one asked for any more ({said})",
            Code.FORBIDDEN: f"access denied ({said})",
            Code.CREDENTIALS: f"the credentials are not accepted ({said})",
            Code.THROTTLED: f"the store is busy ({said})",
        }.get(self.code, f"unexpected answer {said}")

    def _retry_after(self, now: datetime) -> float | None:
        text = (self.headers.get("Retry-After") or "").strip()
        if re.fullmatch(r"[0-9]{1,6}", text):
            return float(text)
        when = parse_http_date(text)
        return max(0.0, (when - now).total_seconds()) if when else None
