"""Private keys that sign manifests: Ed25519 in PEM files that only their owner can read. Touches files only.

A private key is only ever written to its own file, never to a log, a setting or an exception.
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
    """A file of a key cannot be used; `str()` is a sentence without anything of the key."""


def public_hex(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """The public key: 64 hexadecimal digits."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return public.public_bytes_raw().hex()


def new_key(path: Path, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    """Make a key, write it to `path` (mode 0600, never over another file) and its public half to `path`.pub.

    Raises:
        BadKeyError: a file is there already, or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    how: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _write_new(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how), 0o600)
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
    """The private key in a file that only its owner can read. `passphrase` is asked only for an encrypted one.

    Raises:
        BadKeyError: it is missing, open to others, not Ed25519, or the passphrase is wrong.
    """
    body = _read(path, private=True)
    locked = b"ENCRYPTED PRIVATE KEY" in body
    password = passphrase() if locked else None
    try:
        key = load_pem_private_key(body, password)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # its text may quote the file
        why = "its passphrase is not this one, or it is damaged" if locked else "it is no PEM file of a private key"
        raise BadKeyError(f"{path.name} cannot be used: {why}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadKeyError(f"{path.name} is not an Ed25519 key")
    return key


def load_public(text: str) -> str:
    """A public key, given as 64 hexadecimal digits or as the path of its PEM file. Raises BadKeyError."""
    if PUBLIC_KEY.fullmatch(text):
        return text
    path = Path(text)
    body = _read(path, private=False)
    found = _BEGIN.search(body)
    if found is None or found[1] != b"PUBLIC KEY":
        raise BadKeyError(f"{path.name} is no PEM file of a public key; `trust_keys new` writes one beside each key")
    try:
        key = load_pem_public_key(body)
    except (ValueError, UnsupportedAlgorithm):
        raise BadKeyError(f"{path.name} is damaged") from None
    if not isinstance(key, Ed25519PublicKey):
        raise BadKeyError(f"{path.name} is not an Ed25519 key")
    return public_hex(key)


def read_passphrase(path: Path) -> bytes:
    """The first line of a file that only its owner can read. Raises BadKeyError."""
    line = _read(path, private=True).split(b"\n", 1)[0].rstrip(b"\r")
    if not line:
        raise BadKeyError(f"{path.name} is empty")
    return line


def _read(path: Path, *, private: bool) -> bytes:
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if private and mode & _GROUP_AND_OTHERS:
                raise BadKeyError(f"{path.name} can be read by others (mode {stat.S_IMODE(mode):04o}): chmod 600 it")
            return stream.read(_PEM_LIMIT)
    except OSError as error:
        raise BadKeyError(f"{path.name} cannot be read: {error.strerror}") from error
