"""Encryption of secrets in the database: authenticator apps and recovery codes. No I/O.

Fernet (AES-128-CBC with HMAC-SHA-256) with a key derived from `SECRET_KEY` by HKDF (RFC 5869). Values encrypted with a
key of `SECRET_KEY_FALLBACKS` can be read, and so can plaintext values, which earlier releases wrote.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.core.exceptions import ValidationError

PREFIX: Final = "fernet:"  # no base32 secret, hexadecimal seed or numeric code starts with this
PURPOSE: Final = b"ifeportal second factors"
UNREADABLE: Final = "Your second factors cannot be read. Use a passkey, or ask operations to reset your second factors."


class Undecipherable(ValidationError):
    """No configured key encrypted the value. The form shows the message; the submitted code counts as wrong."""


def encrypt(text: str) -> str:
    """Return the text encrypted with `SECRET_KEY`."""
    return PREFIX + _cipher().encrypt(text.encode()).decode("ascii")


def decrypt(stored: str) -> str:
    """Return the text of a stored value, encrypted or plaintext. Raises Undecipherable."""
    if not stored.startswith(PREFIX):
        return stored
    try:
        return _cipher().decrypt(stored.removeprefix(PREFIX)).decode()
    except InvalidToken as error:
        raise Undecipherable(UNREADABLE) from error


def is_current(stored: str) -> bool:
    """Return whether the value is encrypted with `SECRET_KEY` itself, not with a fallback."""
    if not stored.startswith(PREFIX):
        return False
    try:
        _fernet(settings.SECRET_KEY).decrypt(stored.removeprefix(PREFIX))
    except InvalidToken:
        return False
    return True


def reencrypt(stored: str) -> str:
    """Return the value encrypted with `SECRET_KEY`; unchanged if it already is. Raises Undecipherable."""
    return stored if is_current(stored) else encrypt(decrypt(stored))


def convert(data: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Return the data of an authenticator with `change` applied to each secret; a passkey has none."""
    changed: dict[str, Any] = {name: change(data[name]) for name in ("secret", "seed") if name in data}
    if data.get("migrated_codes") is not None:
        changed["migrated_codes"] = [change(code) for code in data["migrated_codes"]]
    return data | changed


def _cipher() -> MultiFernet:
    return MultiFernet([_fernet(key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])


@lru_cache(maxsize=16)
def _fernet(secret_key: str) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(secret_key.encode())
    return Fernet(base64.urlsafe_b64encode(derived))
