"""`trust.json`: whose signatures count for which airline, and how one version of it follows from another. Pure.

It is itself an envelope. Its *root* keys sign the next one: version N+1 counts only if the threshold of N and the
threshold of N+1 have signed it (TUF's rule for its root), so that a lost key can be replaced and a stolen one be
revoked without touching an aircraft's settings. A file holds one envelope, or a list of them, oldest first, so that
an aircraft that was away for some versions can follow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from loader.contract.names import check_name
from loader.contract.strict_json import Fields, dumps, loads
from loader.errors import BadName
from loader.signatures.dsse import (
    KEY_ID,
    PUBLIC_KEY,
    BadEnvelope,
    Envelope,
    check_signed,
    envelope_document,
    key_id,
    read_envelope,
)

TRUST_TYPE: Final = "application/vnd.ifeportal.trust+json;v=1"
TRUST_LIMIT: Final = 256 * 1024  # bytes, of one version
CHAIN_LIMIT: Final = 64  # versions in one file
FILE_LIMIT: Final = 4 * 1024 * 1024  # bytes
KEYS_LIMIT: Final = 200
AIRLINES_LIMIT: Final = 1_000


class BadKeyring(BadEnvelope):
    """A `trust.json` is refused."""


@dataclass(frozen=True, slots=True)
class Role:
    """Who may sign: ids of keys, and how many different ones of them must."""

    keys: tuple[str, ...]
    threshold: int = 1


@dataclass(frozen=True, slots=True)
class Keyring:
    """One version. `keys`: public keys (64 hexadecimal digits) by id; `root` signs the next version of it."""

    version: int
    keys: Mapping[str, str]
    root: Role
    airlines: Mapping[str, Role]
    extra: Mapping[str, object] = field(default_factory=dict)

    def public(self, role: Role) -> list[str]:
        """The public keys of a role."""
        return [self.keys[keyid] for keyid in role.keys]


@dataclass(frozen=True, slots=True)
class Provisioned:
    """A keyring together with the envelope that proves it."""

    keyring: Keyring
    envelope: Envelope


def parse_keyring(payload: bytes) -> Keyring:
    """The keyring in an envelope's payload. Raises BadKeyring with a sentence that names the place."""
    fields = Fields(loads(payload, limit=TRUST_LIMIT, error=BadKeyring), "", BadKeyring)
    version = fields.integer("version", low=1)
    if version is None:
        fields.fail("version", "is missing")
    keys = _keys(fields.pop("keys"))
    root = _role(fields.pop("root"), "root", keys)
    airlines = Fields(fields.pop("airlines"), "airlines", BadKeyring).extra
    if len(airlines) > AIRLINES_LIMIT:
        fields.fail("airlines", f"has {len(airlines):,} names; {AIRLINES_LIMIT:,} are allowed")
    fields.integer("schema")
    roles = {_name(name): _role(role, f"airlines.{name}", keys) for name, role in airlines.items()}
    return Keyring(version, keys, root, roles, fields.extra)


def _name(airline: str) -> str:
    try:
        return check_name(airline)
    except BadName as error:
        raise BadKeyring(f"airlines: {error}") from error


def _keys(value: object) -> dict[str, str]:
    listed = Fields(value, "keys", BadKeyring).extra
    if len(listed) > KEYS_LIMIT:
        raise BadKeyring(f"keys: has {len(listed):,} of them; {KEYS_LIMIT:,} are allowed")
    return {keyid: _public(keyid, key) for keyid, key in listed.items()}


def _public(keyid: str, value: object) -> str:
    place = f"keys.{keyid[:64]!a}"
    key = Fields(value, place, BadKeyring)
    if (key.pop("keytype"), key.pop("scheme")) != ("ed25519", "ed25519"):
        raise BadKeyring(f"{place}: keytype and scheme must be ed25519")
    public = Fields(key.pop("keyval"), f"{place}.keyval", BadKeyring).text("public")
    if not PUBLIC_KEY.fullmatch(public):
        raise BadKeyring(f"{place}.keyval.public: must be 64 hexadecimal digits in lower case")
    if keyid != key_id(public):
        raise BadKeyring(f"{place}: is not the id of its key, which is {key_id(public)}")
    return public


def _role(value: object, place: str, keys: Mapping[str, str]) -> Role:
    fields = Fields(value, place, BadKeyring)
    listed = fields.array("keys")
    ids = [keyid for keyid in listed if isinstance(keyid, str) and KEY_ID.fullmatch(keyid)]
    if len(ids) != len(listed) or len(set(ids)) != len(ids):
        fields.fail("keys", "must be ids of keys, each of them once")
    unknown = [keyid for keyid in ids if keyid not in keys]
    if unknown:
        fields.fail("keys", f"{unknown[0]} is not among the keys")
    threshold = fields.integer("threshold", low=1, high=max(1, len(ids)))
    if threshold is None or not ids:
        fields.fail("threshold" if ids else "keys", "is missing")
    return Role(tuple(ids), threshold)


def build_keyring(keyring: Keyring) -> bytes:
    """The payload; parsing it gives the same keyring. Raises BadKeyring for what could not be read back."""
    key = {"keytype": "ed25519", "scheme": "ed25519"}
    known: dict[str, object] = {
        "schema": 1,
        "version": keyring.version,
        "root": _role_document(keyring.root),
        "airlines": {name: _role_document(role) for name, role in keyring.airlines.items()},
        "keys": {keyid: {**key, "keyval": {"public": public}} for keyid, public in keyring.keys.items()},
    }
    payload = dumps({**known, **{name: value for name, value in keyring.extra.items() if name not in known}})
    parse_keyring(payload)
    return payload


def _role_document(role: Role) -> dict[str, object]:
    return {"keys": list(role.keys), "threshold": role.threshold}


def parse_chain(body: bytes) -> list[Provisioned]:
    """The versions in a file, oldest first. Nothing is proven yet. Raises BadEnvelope."""
    document = loads(body, limit=FILE_LIMIT, error=BadKeyring)
    listed = document if isinstance(document, list) else [document]
    if not 1 <= len(listed) <= CHAIN_LIMIT:
        raise BadKeyring(f"it holds {len(listed):,} versions; 1 to {CHAIN_LIMIT} are allowed")
    return [provisioned(one) for one in listed]


def provisioned(document: object) -> Provisioned:
    """One version from JSON that was read already. Nothing is proven yet. Raises BadEnvelope."""
    envelope = read_envelope(document, kind=TRUST_TYPE, limit=TRUST_LIMIT)
    return Provisioned(parse_keyring(envelope.payload), envelope)


def build_chain(chain: Sequence[Provisioned]) -> bytes:
    """The body of the file: one envelope, or the list of them."""
    documents = [envelope_document(one.envelope) for one in chain]
    return dumps(documents[0] if len(documents) == 1 else documents)


def check_self(new: Provisioned) -> None:
    """Raise BadEnvelope unless a version is signed by the threshold of its own root keys."""
    keyring = new.keyring
    check_signed(new.envelope, keyring.public(keyring.root), keyring.root.threshold)


def check_next(held: Keyring, new: Provisioned) -> None:
    """Raise BadEnvelope unless `new` may follow `held`."""
    if new.keyring.version != held.version + 1:
        raise BadKeyring(f"version {new.keyring.version} does not follow version {held.version}")
    check_signed(new.envelope, held.public(held.root), held.root.threshold)
    check_self(new)


def follow(held: Provisioned | None, chain: Sequence[Provisioned]) -> tuple[Provisioned | None, str]:
    """The newest version that may be trusted, given the one trusted so far, and a sentence on what may not be."""
    newest = held
    for new in chain:
        try:
            if newest is None:
                check_self(new)
            elif new.keyring.version < newest.keyring.version:
                continue
            elif new.keyring.version == newest.keyring.version:
                if new.envelope.payload != newest.envelope.payload:
                    raise BadKeyring("it is not the one known by that number")
                continue
            else:
                check_next(newest.keyring, new)
        except BadEnvelope as error:
            return newest, f"version {new.keyring.version} of the trusted keys is refused: {error}"
        newest = new
    if newest and chain and chain[-1].keyring.version < newest.keyring.version:
        return newest, f"the file of trusted keys is out of date: version {newest.keyring.version} is in force"
    return newest, ""


def lost_keys(old: Keyring, new: Keyring, airline: str) -> bool:
    """Whether a key that could sign for the airline no longer can."""
    before, after = old.airlines.get(airline), new.airlines.get(airline)
    return before is not None and not set(before.keys) <= set(after.keys if after else ())
