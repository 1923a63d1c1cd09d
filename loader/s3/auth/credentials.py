"""Credentials for signing: the given ones, else AWS's variables, else the rest of botocore's chain.

botocore is imported only for that chain (files, roles, instance metadata). Keys never appear in texts or
representations.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loader.errors import Code, WorldError
from loader.s3.auth.redaction import redact

if TYPE_CHECKING:
    from botocore.credentials import Credentials


@dataclass(frozen=True, slots=True)
class S3Credentials:
    """An access key pair; `token` belongs to temporary keys."""

    access: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


class CredentialProvider:
    """Provides the current credentials to any number of threads."""

    def __init__(self, given: S3Credentials | None = None) -> None:
        self._given, self._cached = given, given
        self._chain: Credentials | None = None
        self._lock = threading.Lock()

    def current(self) -> S3Credentials:
        """Return the credentials, renewed by botocore before they expire. Raises WorldError (CREDENTIALS)."""
        if self._cached is None:
            self._cached = _from_environment()
        return _cleaned(self._cached or self._from_chain())

    def invalidate(self) -> bool:
        """Discard expired credentials. Return whether their source may have newer ones."""
        with self._lock:
            self._cached, self._chain = self._given, None
        return self._given is None

    def _from_chain(self) -> S3Credentials:
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415  late, see the module
        from botocore.session import Session  # noqa: PLC0415

        try:
            with self._lock:
                if self._chain is None:
                    self._chain = Session().get_credentials()
                if self._chain is None:
                    raise WorldError(
                        Code.CREDENTIALS, "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                    )
                found = self._chain.get_frozen_credentials()
        except BotoCoreError as error:
            raise WorldError(Code.CREDENTIALS, f"no credentials ({type(error).__name__})") from error
        return S3Credentials(found.access_key or "", found.secret_key or "", found.token)


def _from_environment() -> S3Credentials | None:
    access, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if not access or not secret or os.environ.get("AWS_CREDENTIAL_EXPIRATION"):
        return None
    return S3Credentials(
        access, secret, os.environ.get("AWS_SESSION_TOKEN") or os.environ.get("AWS_SECURITY_TOKEN") or None
    )


def _cleaned(keys: S3Credentials) -> S3Credentials:
    """Trim white space around each part. Raises WorldError (CREDENTIALS) for characters a header cannot contain."""
    access, secret, token = keys.access.strip(), keys.secret.strip(), (keys.token or "").strip()
    redact.learn(secret, token)
    for what, text in (("access key id", access), ("session token", token)):
        if not (text.isascii() and text.isprintable()):
            raise WorldError(Code.CREDENTIALS, f"the {what} contains a character that is not printable ASCII")
    if not secret.isprintable():
        raise WorldError(Code.CREDENTIALS, "the secret access key contains a character that is not printable")
    return S3Credentials(access, secret, token or None)
