"""Private keys that sign manifests: Ed25519, in PEM files that only their owner can read. Touches files only.

A private key is written to its own file only, never to a log, a setting or an exception.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from loader.signatures.dsse import PUBLIC_KEY

Passphrase = Callable[[], bytes]
_PEM_LIMIT: Final = 64 * 1024
_GROUP_AND_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_BEGIN: Final = re.compile(rb"-----BEGIN ([A-Z ]+)-----")


class BadKeyError(ValueError):
    """A key file cannot be used; `str()` is a sentence that contains nothing of the key."""


def public_hex(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """Return the public key as 64 hexadecimal digits."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return public.public_bytes_raw().hex()


def new_key(path: Path, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    """Create a key, and write it to `path` (mode 0600) and its public key to `path`.pub. Never overwrites a file.

    Raises:
        BadKeyError: a file exists or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    encryption: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _write_new(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), 0o600)
    _write_new(path.with_name(path.name + ".pub"), public, 0o644)
    return key


def _write_new(path: Path, body: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(body)
            stream.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise BadKeyError(f"{path.name} cannot be written: {error.strerror}") from error


def load_key(path: Path, passphrase: Passphrase) -> Ed25519PrivateKey:
    """Return the private key in a file that only its owner can read. `passphrase` is called for an encrypted key.

    Raises:
        BadKeyError: the file is missing, readable by others or not Ed25519, or the passphrase is wrong.
    """
    body = _read(path, private=True)
    encrypted = b"ENCRYPTED PRIVATE KEY" in body
    password = passphrase() if encrypted else None
    try:
        key = load_pem_private_key(body, password)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # not chained: its text may quote the file
        why = (
            "the passphrase is wrong, or the file is damaged"
            if encrypted
            else "it is not a PEM file with a private key"
        )
        raise BadKeyError(f"{path.name} cannot be used: {why}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadKeyError(f"{path.name} is not an Ed25519 key")
    return key


def load_public(text: str) -> str:
    """Return a public key, given as 64 hexadecimal digits or as the path of its PEM file. Raises BadKeyError."""
    if PUBLIC_KEY.fullmatch(text):
        return text
    path = Path(text)
    body = _read(path, private=False)
    header = _BEGIN.search(body)
    if header is None or header[1] != b"PUBLIC KEY":
        raise BadKeyError(
            f"{path.name} is not a PEM file with a public key; `trust_keys new` writes KEY.pub for each key"
        )
    try:
        key = load_pem_public_key(body)
    except (ValueError, UnsupportedAlgorithm):
        raise BadKeyError(f"{path.name} is damaged") from None
    if not isinstance(key, Ed25519PublicKey):
        raise BadKeyError(f"{path.name} is not an Ed25519 key")
    return public_hex(key)


def read_passphrase(path: Path) -> bytes:
    """Return the first line of a file that only its owner can read. Raises BadKeyError."""
    line = _read(path, private=True).split(b"\n", 1)[0].rstrip(b"\r")
    if not line:
        raise BadKeyError(f"{path.name} is empty")
    return line


def _read(path: Path, *, private: bool) -> bytes:
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if private and mode & _GROUP_AND_OTHERS:
                raise BadKeyError(
                    f"{path.name} is readable by other users (mode {stat.S_IMODE(mode):04o}): run chmod 600 on it"
                )
            return stream.read(_PEM_LIMIT)
    except OSError as error:
        raise BadKeyError(f"{path.name} cannot be read: {error.strerror}") from error
