"""Error responses of a store, mapped to the codes of `loader.errors`. Pure.

A captive portal or a broken proxy may respond in place of the store, so only exact S3 errors are trusted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from loader.errors import Code, Unsupported, WorldError
from loader.frozen import frozen
from loader.s3.http.failures import TLS_EXPECTED
from loader.s3.http.headers import parse_http_date

# Too short to contain a signature, for any value that the store writes there.
_CODE: Final = re.compile(rb"<Code>([A-Z][A-Za-z0-9._-]{0,49})</Code>")
_REGION: Final = re.compile(rb"<Region>([a-z0-9][a-z0-9-]{0,39})</Region>")
_REGION_HEADER: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")

_ARCHIVED: Final = ("InvalidObjectState", "ObjectNotInActiveTierError", "BlobArchived", "BlobBeingRehydrated")
_OTHER_REGION: Final = ("AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException")
# Alibaba, Tencent and Volcano Engine: the bucket must be part of the host name.
_PATH_STYLE_REFUSED: Final = (
    "SecondLevelDomainForbidden",
    "PathStyleDomainForbidden",
    "VirtualHostDomainRequired",
    "InvalidPathAccess",
)
# The lists of botocore's retry handler, and those of MinIO, Azure and Backblaze.
_BUSY: Final = (
    "SlowDown",
    "SlowDownRead",
    "SlowDownWrite",
    "InternalError",
    "InternalServerError",
    "ServiceUnavailable",
    "ServerBusy",
    "Busy",
    "TooManyRequests",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "LimitExceededException",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "PriorRequestNotComplete",
    "TransactionInProgressException",
    "ConditionalRequestConflict",
    "OperationAborted",
)
_DID_NOTHING: Final = ("ConditionalRequestConflict", "OperationAborted", "SlowDown", "SlowDownWrite", "TooManyRequests")
_DAMAGED: Final = ("IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch")
_UNSUPPORTED: Final = (501, 505)
# As nginx, Apache and Go write it.
_TLS_PORT: Final = re.compile(
    rb"HTTP request (?:was sent )?to (?:an )?HTTPS (?:port|server)|plain HTTP to an SSL", re.I
)

_BY_CODE: Final[Mapping[str, Code]] = {
    "NoSuchKey": Code.OBJECT_GONE,
    "NoSuchBucket": Code.OBJECT_GONE,
    "NoSuchUpload": Code.OBJECT_GONE,
    **dict.fromkeys(("InvalidPart", "InvalidPartOrder", "EntityTooSmall"), Code.SIZE_MISMATCH),
    "PreconditionFailed": Code.OBJECT_CHANGED,
    "InvalidRange": Code.OBJECT_CHANGED,
    "RequestTimeTooSkewed": Code.CLOCK_SKEW,
    **dict.fromkeys(("RequestTimeout", "RequestTimeoutException"), Code.TIMEOUT),
    **dict.fromkeys(_BUSY, Code.THROTTLED),
    **dict.fromkeys(_DAMAGED, Code.NETWORK),
    **dict.fromkeys(_ARCHIVED, Code.ARCHIVED),
    **dict.fromkeys((*_OTHER_REGION, *_PATH_STYLE_REFUSED), Code.WRONG_ENDPOINT),
    **dict.fromkeys(
        ("ExpiredToken", "TokenRefreshRequired", "InvalidToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"),
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
    **dict.fromkeys((409, 421, 425, 429), Code.THROTTLED),
    **dict.fromkeys(_UNSUPPORTED, Code.INTERNAL),
    511: Code.NETWORK,  # a captive portal (RFC 6585, 6)
}
_STORE_STATUSES: Final = (409, 429, 500, 502, 503, 504)  # others are from a proxy, such as Cloudflare's 520 to 530


class NoSuchBucket(WorldError):
    """The bucket itself does not exist (OBJECT_GONE)."""


class Busy(WorldError):
    """The store refused the request for now and did nothing: also a conditional write can be repeated (THROTTLED)."""


class UploadGone(WorldError):
    """The multipart upload does not exist (any more): completed, aborted or expired (OBJECT_GONE)."""


class PartsRefused(WorldError):
    """The store cannot assemble an object from these parts: list them and send the missing ones (SIZE_MISMATCH)."""


class InvalidRequest(WorldError):
    """The store refuses the request as such, for example because it lacks a checksum (INTERNAL)."""


class WrongChecksum(WorldError):
    """The bytes that arrived do not have the checksum that was sent (NETWORK)."""


_KINDS: Final[Mapping[str, type[WorldError]]] = {
    "NotImplemented": Unsupported,
    "NoSuchBucket": NoSuchBucket,
    "NoSuchUpload": UploadGone,
    "InvalidRequest": InvalidRequest,
    "BadDigest": WrongChecksum,
    **dict.fromkeys(_DID_NOTHING, Busy),
    **dict.fromkeys(("InvalidPart", "InvalidPartOrder", "EntityTooSmall"), PartsRefused),
}


@frozen
class S3ErrorResponse:
    """An error response. `s3_code` is the store's own code, `region` the bucket's; empty if the store sent none.

    `tls_expected`: sent by a port for https.
    """

    status: int
    s3_code: str
    headers: Mapping[str, str]
    region: str = ""
    tls_expected: bool = False

    @classmethod
    def from_response(cls, status: int, headers: Mapping[str, str], body: bytes) -> S3ErrorResponse:
        """Parse a response. `headers` are case-insensitive; `body` is the beginning of the body."""
        found, region = _CODE.search(body), _REGION.search(body)
        named = headers.get("x-amz-bucket-region") or ""
        if region is not None:
            named = region.group(1).decode()
        return cls(
            status,
            found.group(1).decode() if found else "",
            headers,
            named if _REGION_HEADER.fullmatch(named) else "",
            tls_expected=status == 400 and not found and _TLS_PORT.search(body) is not None,
        )

    @property
    def code(self) -> Code:
        """The code in `loader.errors`. Redirects are errors: captive portals redirect, stores do not.

        Unknown statuses from 500 on are from proxies in front of the store, and pass.
        """
        if self.s3_code in _BY_CODE:
            return _BY_CODE[self.s3_code]
        if self.tls_expected:
            return Code.NETWORK
        if self.status == 301 and self.region:  # to a HEAD, without a body
            return Code.WRONG_ENDPOINT
        if self.status in _BY_STATUS:
            return _BY_STATUS[self.status]
        return Code.NETWORK if self.status < 400 else Code.INTERNAL if self.status < 500 else Code.THROTTLED

    def to_error(self, what: str, bucket: str, now: datetime) -> WorldError:
        """Return the error to raise. `what` names the request, such as "GET ACME/2026-12/campaign.json"."""
        reason = self._reason(bucket, now)
        return self._kind(self.code, f"{what}: {reason}", retry_after=self._retry_after(now))

    @property
    def _kind(self) -> type[WorldError]:
        if self.status in _UNSUPPORTED:
            return Unsupported
        return _KINDS.get(self.s3_code, Busy if self.status == 429 else WorldError)

    def _reason(self, bucket: str, now: datetime) -> str:
        shown = f"{self.status} {self.s3_code}".strip()
        if self.tls_expected:
            return f"{TLS_EXPECTED} ({shown})"
        if self.s3_code == "NoSuchBucket":
            return f"the bucket {bucket!r} does not exist"
        if self.s3_code == "NoSuchUpload":
            return "the upload was completed, aborted or has expired"
        if self._kind is PartsRefused:
            return f"the store does not have these parts ({shown})"
        if self.code == Code.CLOCK_SKEW:
            date = parse_http_date(self.headers.get("Date"))
            server = f"the store's says {date:%Y-%m-%d %H:%M:%S} UTC" if date else "the store rejects this time"
            return f"the local clock says {now:%Y-%m-%d %H:%M:%S} UTC, {server}"
        if self.code == Code.THROTTLED and self.status not in _STORE_STATUSES and not self.s3_code:
            return f"the store, or a proxy in front of it, cannot answer for now ({shown})"
        if self.s3_code in _PATH_STYLE_REFUSED:
            return f"the store requires the bucket in the host name ({shown}); set AWS_S3_ADDRESSING_STYLE=virtual"
        return {
            Code.WRONG_ENDPOINT: self._region_reason(shown),
            Code.ARCHIVED: f"the object is archived ({shown}); restore it first",
            Code.OBJECT_GONE: "the object does not exist",
            Code.OBJECT_CHANGED: f"the object has changed ({shown})",
            Code.FORBIDDEN: f"access denied ({shown})",
            Code.CREDENTIALS: f"the store rejected the credentials ({shown})",
            Code.THROTTLED: f"the store is busy ({shown})",
        }.get(self.code, f"unexpected response {shown}")

    def _region_reason(self, shown: str) -> str:
        advice = f"set AWS_REGION={self.region}" if self.region else "set AWS_REGION to the bucket's region"
        return f"the bucket is not in the configured region ({shown}); {advice}"

    def _retry_after(self, now: datetime) -> float | None:
        text = (self.headers.get("Retry-After") or "").strip()
        if re.fullmatch(r"[0-9]{1,6}", text):
            return float(text)
        when = parse_http_date(text)
        return max(0.0, (when - now).total_seconds()) if when else None
