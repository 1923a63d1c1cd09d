"""Credentials for signing: the given ones, else AWS's variables, else the rest of botocore's chain.

botocore is imported only for that chain (files, roles, instance metadata). Keys never appear in texts or
representations.
"""

from __future__ import annotations

import os
import threading
from dataclasses import field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from loader.errors import Code, WorldError
from loader.frozen import frozen
from loader.s3.auth.redaction import redact
from loader.s3.auth.values import check_access_key, check_secret, check_token, clean_setting

if TYPE_CHECKING:
    from botocore.credentials import Credentials


@frozen
class S3Credentials:
    """An access key pair; `token` belongs to temporary keys, `expires_at` is their end in UTC, if known."""

    access: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None


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
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  late, see the module
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
                # botocore has no public name for it; keys of a file or a variable have no end.
                expires_at = getattr(self._chain, "_expiry_time", None)
        except (BotoCoreError, ClientError, OSError) as error:
            # Not chained: the error of a parser quotes a line of the file of credentials.
            raise WorldError(Code.CREDENTIALS, f"no credentials ({type(error).__name__})") from None
        return S3Credentials(found.access_key or "", found.secret_key or "", found.token, expires_at)


def _from_environment() -> S3Credentials | None:
    access, secret = os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("AWS_SECRET_ACCESS_KEY")
    if not access or not secret or os.environ.get("AWS_CREDENTIAL_EXPIRATION"):
        return None
    return S3Credentials(
        access, secret, os.environ.get("AWS_SESSION_TOKEN") or os.environ.get("AWS_SECURITY_TOKEN") or None
    )


def _cleaned(keys: S3Credentials) -> S3Credentials:
    """Clean each part as a setting. Raises WorldError (CREDENTIALS) for characters a header cannot contain."""
    access, secret, token = clean_setting(keys.access), clean_setting(keys.secret), clean_setting(keys.token or "")
    redact.learn(secret, token)
    for what, text, check in (
        ("access key id", access, check_access_key),
        ("secret access key", secret, check_secret),
        ("session token", token, check_token),
    ):
        try:
            check(text)
        except ValueError as error:
            raise WorldError(Code.CREDENTIALS, f"the {what} {error}") from None
    return replace(keys, access=access, secret=secret, token=token or None)
