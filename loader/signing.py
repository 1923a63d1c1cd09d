"""Who asks, and the proof of it: credentials, and Signature Version 4 for S3.

botocore knows both, but takes 0.2 s and 20 MiB to load: too much for the usual case of keys in AWS's own variables. It
is loaded only for the rest of its chain of credentials (files, roles, instance metadata). Only `loader.bucket` uses
this. Keys never appear in a text or representation.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from loader.errors import WorldError
from loader.redaction import redact

if TYPE_CHECKING:
    from botocore.credentials import Credentials

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Keys:
    """What requests are signed with; `token` goes with temporary keys."""

    access: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


class Keyring:
    """The credentials of any moment, for any number of threads: those given, else AWS's variables, else botocore's."""

    def __init__(self, given: Keys | None = None) -> None:
        self._given, self._plain = given, given
        self._chain: Credentials | None = None
        self._lock = threading.Lock()

    def keys(self) -> Keys:
        """Temporary ones are renewed by botocore before they run out. Raises WorldError CREDENTIALS."""
        if self._plain is None:
            self._plain = _from_environment()
        return _cleaned(self._plain or self._from_chain())

    def forget(self) -> bool:
        """The store says that they have expired. True if they may have been renewed where they came from."""
        with self._lock:
            self._plain, self._chain = self._given, None
        return self._given is None

    def _from_chain(self) -> Keys:
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415  late, see the module
        from botocore.session import Session  # noqa: PLC0415

        try:
            with self._lock:
                if self._chain is None:
                    self._chain = Session().get_credentials()
                if self._chain is None:
                    raise WorldError("CREDENTIALS", "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
                found = self._chain.get_frozen_credentials()
        except BotoCoreError as error:
            raise WorldError("CREDENTIALS", f"no credentials ({type(error).__name__})") from error
        return Keys(found.access_key or "", found.secret_key or "", found.token)


def _from_environment() -> Keys | None:
    access, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if not access or not secret or os.environ.get("AWS_CREDENTIAL_EXPIRATION"):
        return None
    return Keys(access, secret, os.environ.get("AWS_SESSION_TOKEN") or os.environ.get("AWS_SECURITY_TOKEN") or None)


def _cleaned(keys: Keys) -> Keys:
    """Trim white space around each part. Raises WorldError CREDENTIALS for what no header can carry."""
    access, secret, token = keys.access.strip(), keys.secret.strip(), (keys.token or "").strip()
    redact.learn(secret, token)
    for what, text in (("access key id", access), ("session token", token)):
        if not (text.isascii() and text.isprintable()):
            raise WorldError("CREDENTIALS", f"the {what} contains a character that is not printable ASCII")
    if not secret.isprintable():
        raise WorldError("CREDENTIALS", "the secret access key contains a character that is not printable")
    return Keys(access, secret, token or None)


def host_of(base: str) -> str:
    """What the Host header says for scheme and host of an endpoint: with a port only where it is not the usual one."""
    parts = urlsplit(base)
    name = parts.hostname or ""
    host = f"[{name}]" if ":" in name else name
    return host if parts.port in (None, _PORTS.get(parts.scheme)) else f"{host}:{parts.port}"


def sign(
    method: str, target: str, headers: Mapping[str, str], body: bytes, *, keys: Keys, region: str, now: datetime
) -> dict[str, str]:
    """The headers (Host among them) with what S3 wants beside: time, hash of the body, token, signature.

    `target` is path and query as they are sent: the path quoted by `wire.quote_key`, the query by `wire.quote_query`.
    """
    stamp, digest = now.strftime("%Y%m%dT%H%M%SZ"), hashlib.sha256(body).hexdigest()
    all_headers = {**headers, "X-Amz-Date": stamp, "X-Amz-Content-SHA256": digest}
    if keys.token:
        all_headers["X-Amz-Security-Token"] = keys.token
    low = {name.lower(): " ".join(value.split()) for name, value in all_headers.items()}
    path, _, query = target.partition("?")
    names = ";".join(sorted(low))
    lines = [method, path, query, *(f"{name}:{low[name]}" for name in sorted(low)), "", names, digest]
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = "\n".join((_ALGORITHM, stamp, scope, hashlib.sha256("\n".join(lines).encode()).hexdigest()))
    key = b"AWS4" + keys.secret.encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    all_headers["Authorization"] = (
        f"{_ALGORITHM} Credential={keys.access}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    )
    return all_headers
