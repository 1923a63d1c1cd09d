"""Signs requests with AWS Signature Version 4. Pure; keys never appear in texts or representations.

botocore does the same but takes 0.2 s and 20 MiB to import.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from loader.s3.auth.credentials import S3Credentials

_ALGORITHM: Final = "AWS4-HMAC-SHA256"


def sign_request(
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes | str,
    *,
    credentials: S3Credentials,
    region: str,
    now: datetime,
) -> dict[str, str]:
    """Return `headers`, which include Host, with time, hash of the body, token and signature added.

    `body`: the body, or its SHA-256 in hexadecimal. `target`: path and query as sent, quoted by
    `loader.s3.http.urls.quote_key` and `quote_query`.
    """
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    digest = body if isinstance(body, str) else hashlib.sha256(body).hexdigest()
    all_headers = {**headers, "X-Amz-Date": stamp, "X-Amz-Content-SHA256": digest}
    if credentials.token:
        all_headers["X-Amz-Security-Token"] = credentials.token
    low = {name.lower(): " ".join(value.split()) for name, value in all_headers.items()}
    path, _, query = target.partition("?")
    names = ";".join(sorted(low))
    lines = [method, path, query, *(f"{name}:{low[name]}" for name in sorted(low)), "", names, digest]
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = "\n".join((_ALGORITHM, stamp, scope, hashlib.sha256("\n".join(lines).encode()).hexdigest()))
    key = b"AWS4" + credentials.secret.encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    all_headers["Authorization"] = (
        f"{_ALGORITHM} Credential={credentials.access}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    )
    return all_headers
