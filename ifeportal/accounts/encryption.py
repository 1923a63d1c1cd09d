"""Encryption of secrets in the database: authenticator apps and recovery codes. No I/O.

Fernet (AES-128-CBC with HMAC-SHA-256) with a key derived from `SECRET_KEY` by HKDF (RFC 5869). Values encrypted under a
key of `SECRET_KEY_FALLBACKS` are read too; so are values in clear, which earlier releases wrote.
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

PREFIX: Final = "fernet:"  # no base32 secret, no hexadecimal seed and no code of digits begins so
PURPOSE: Final = b"ifeportal second factors"
UNREADABLE: Final = "Your second factors cannot be read here. Ask operations to reset them, or use a passkey."


class Undecipherable(ValidationError):
    """No key of ours has encrypted the value. A form shows the sentence; the code in it counts as wrong."""


def encrypt(text: str) -> str:
    """Return the text encrypted under `SECRET_KEY`."""
    return PREFIX + _cipher().encrypt(text.encode()).decode("ascii")


def decrypt(stored: str) -> str:
    """Return the text of a stored value, encrypted or in clear. Raises Undecipherable."""
    if not stored.startswith(PREFIX):
        return stored
    try:
        return _cipher().decrypt(stored.removeprefix(PREFIX)).decode()
    except InvalidToken as error:
        raise Undecipherable(UNREADABLE) from error


def is_current(stored: str) -> bool:
    """Return whether the value is encrypted under `SECRET_KEY` itself, not under a fallback."""
    if not stored.startswith(PREFIX):
        return False
    try:
        _fernet(settings.SECRET_KEY).decrypt(stored.removeprefix(PREFIX))
    except InvalidToken:
        return False
    return True


def reencrypt(stored: str) -> str:
    """Return the value encrypted under `SECRET_KEY`, as it is where it already was. Raises Undecipherable."""
    return stored if is_current(stored) else encrypt(decrypt(stored))


def convert(data: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Return the data of an authenticator with each secret in it changed; a passkey has none."""
    found: dict[str, Any] = {name: change(data[name]) for name in ("secret", "seed") if name in data}
    if data.get("migrated_codes") is not None:
        found["migrated_codes"] = [change(code) for code in data["migrated_codes"]]
    return data | found


def _cipher() -> MultiFernet:
    return MultiFernet([_fernet(key) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])


@lru_cache(maxsize=16)
def _fernet(secret_key: str) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(secret_key.encode())
    return Fernet(base64.urlsafe_b64encode(derived))
