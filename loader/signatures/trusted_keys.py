"""`trust.json`: the keys that may sign for each airline, and the rules by which a version replaces another. Pure.

The file is an envelope. Its *root* keys sign the next version: version N+1 is valid only if the thresholds of N and of
N+1 have signed it (the rule of TUF's root role). A lost key can be replaced, and a stolen one revoked, without changing
an aircraft's settings. A file has one envelope, or a list of them, oldest first, so that an aircraft that missed some
versions can catch up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Final

from loader.contract.names import check_name
from loader.contract.strict_json import Fields, dumps, loads, with_extra
from loader.errors import BadName
from loader.frozen import frozen
from loader.signatures.dsse import (
    KEY_ID,
    PUBLIC_KEY,
    BadEnvelope,
    Envelope,
    envelope_from_json,
    envelope_to_json,
    key_id,
    require_signatures,
)

TRUST_TYPE: Final = "application/vnd.ifeportal.trust+json;v=1"
TRUST_LIMIT: Final = 256 * 1024  # bytes, of one version
CHAIN_LIMIT: Final = 64  # versions in one file
FILE_LIMIT: Final = 4 * 1024 * 1024  # bytes
KEYS_LIMIT: Final = 200
AIRLINES_LIMIT: Final = 1_000


class BadTrustedKeys(BadEnvelope):
    """A `trust.json` is refused."""


@frozen
class SigningRole:
    """Ids of the keys that may sign, and the number of different ones that must."""

    keys: tuple[str, ...]
    threshold: int = 1


@frozen
class TrustedKeys:
    """One version. `keys`: public keys (64 hexadecimal digits) by id. `root`: signs the next version."""

    version: int
    keys: Mapping[str, str]
    root: SigningRole
    airlines: Mapping[str, SigningRole]
    extra: Mapping[str, object] = field(default_factory=dict)

    def public_keys(self, role: SigningRole) -> list[str]:
        return [self.keys[keyid] for keyid in role.keys]


@frozen
class TrustedKeysVersion:
    """Trusted keys together with their signed envelope."""

    trusted_keys: TrustedKeys
    envelope: Envelope


def parse_trusted_keys(payload: bytes) -> TrustedKeys:
    """Parse an envelope's payload. Raises BadTrustedKeys with a sentence that names the position."""
    fields = Fields(loads(payload, limit=TRUST_LIMIT, error=BadTrustedKeys), "", BadTrustedKeys)
    version = fields.integer("version", low=1)
    if version is None:
        fields.fail("version", "is missing")
    keys = _keys(fields.pop("keys"))
    root = _role(fields.pop("root"), "root", keys)
    airlines = Fields(fields.pop("airlines"), "airlines", BadTrustedKeys).extra
    if len(airlines) > AIRLINES_LIMIT:
        fields.fail("airlines", f"has {len(airlines):,} names; {AIRLINES_LIMIT:,} are allowed")
    fields.integer("schema")
    roles = {_name(name): _role(role, f"airlines.{name}", keys) for name, role in airlines.items()}
    return TrustedKeys(version, keys, root, roles, fields.extra)


def _name(airline: str) -> str:
    try:
        return check_name(airline)
    except BadName as error:
        raise BadTrustedKeys(f"airlines: {error}") from error


def _keys(value: object) -> dict[str, str]:
    entries = Fields(value, "keys", BadTrustedKeys).extra
    if len(entries) > KEYS_LIMIT:
        raise BadTrustedKeys(f"keys: has {len(entries):,} of them; {KEYS_LIMIT:,} are allowed")
    return {keyid: _public_key(keyid, key) for keyid, key in entries.items()}


def _public_key(keyid: str, value: object) -> str:
    path = f"keys.{keyid[:64]!a}"
    key = Fields(value, path, BadTrustedKeys)
    if (key.pop("keytype"), key.pop("scheme")) != ("ed25519", "ed25519"):
        raise BadTrustedKeys(f"{path}: keytype and scheme must be ed25519")
    public = Fields(key.pop("keyval"), f"{path}.keyval", BadTrustedKeys).text("public")
    if not PUBLIC_KEY.fullmatch(public):
        raise BadTrustedKeys(f"{path}.keyval.public: must be 64 hexadecimal digits in lower case")
    if keyid != key_id(public):
        raise BadTrustedKeys(f"{path}: is not the id of its key, which is {key_id(public)}")
    return public


def _role(value: object, path: str, keys: Mapping[str, str]) -> SigningRole:
    fields = Fields(value, path, BadTrustedKeys)
    entries = fields.array("keys")
    ids = [keyid for keyid in entries if isinstance(keyid, str) and KEY_ID.fullmatch(keyid)]
    if len(ids) != len(entries) or len(set(ids)) != len(ids):
        fields.fail("keys", "must be ids of keys, each of them once")
    unknown = [keyid for keyid in ids if keyid not in keys]
    if unknown:
        fields.fail("keys", f"{unknown[0]} is not among the keys")
    threshold = fields.integer("threshold", low=1, high=max(1, len(ids)))
    if threshold is None or not ids:
        fields.fail("threshold" if ids else "keys", "is missing")
    return SigningRole(tuple(ids), threshold)


def build_trusted_keys(trusted_keys: TrustedKeys) -> bytes:
    """Return the payload; parsing it gives the same keys. Raises BadTrustedKeys if it could not be parsed."""
    key = {"keytype": "ed25519", "scheme": "ed25519"}
    known: dict[str, object] = {
        "schema": 1,
        "version": trusted_keys.version,
        "root": _role_to_json(trusted_keys.root),
        "airlines": {name: _role_to_json(role) for name, role in trusted_keys.airlines.items()},
        "keys": {keyid: {**key, "keyval": {"public": public}} for keyid, public in trusted_keys.keys.items()},
    }
    payload = dumps(with_extra(known, trusted_keys.extra))
    parse_trusted_keys(payload)
    return payload


def _role_to_json(role: SigningRole) -> dict[str, object]:
    return {"keys": list(role.keys), "threshold": role.threshold}


def parse_chain(body: bytes) -> list[TrustedKeysVersion]:
    """Parse the versions in a file, oldest first. Verifies no signature. Raises BadEnvelope."""
    document = loads(body, limit=FILE_LIMIT, error=BadTrustedKeys)
    documents = document if isinstance(document, list) else [document]
    if not 1 <= len(documents) <= CHAIN_LIMIT:
        raise BadTrustedKeys(f"it holds {len(documents):,} versions; 1 to {CHAIN_LIMIT} are allowed")
    return [trusted_keys_from_json(each) for each in documents]


def trusted_keys_from_json(document: object) -> TrustedKeysVersion:
    """Parse one version from parsed JSON. Verifies no signature. Raises BadEnvelope."""
    envelope = envelope_from_json(document, kind=TRUST_TYPE, limit=TRUST_LIMIT)
    return TrustedKeysVersion(parse_trusted_keys(envelope.payload), envelope)


def build_chain(chain: Sequence[TrustedKeysVersion]) -> bytes:
    """Return the body of the file: one envelope, or a list of them."""
    documents = [envelope_to_json(version.envelope) for version in chain]
    return dumps(documents[0] if len(documents) == 1 else documents)


def require_self_signed(new: TrustedKeysVersion) -> None:
    """Raise BadEnvelope unless the threshold of its own root keys has signed a version."""
    keyring = new.trusted_keys
    require_signatures(new.envelope, keyring.public_keys(keyring.root), keyring.root.threshold)


def require_successor(current: TrustedKeys, new: TrustedKeysVersion) -> None:
    """Raise BadEnvelope unless `new` may replace `current`."""
    if new.trusted_keys.version != current.version + 1:
        raise BadTrustedKeys(f"version {new.trusted_keys.version} does not follow version {current.version}")
    require_signatures(new.envelope, current.public_keys(current.root), current.root.threshold)
    require_self_signed(new)


def newest_trusted(
    current: TrustedKeysVersion | None, chain: Sequence[TrustedKeysVersion]
) -> tuple[TrustedKeysVersion | None, str]:
    """Return the newest valid version, given the current one, and a sentence about the first invalid version."""
    newest = current
    for new in chain:
        try:
            if newest is None:
                require_self_signed(new)
            elif new.trusted_keys.version < newest.trusted_keys.version:
                continue
            elif new.trusted_keys.version == newest.trusted_keys.version:
                if new.envelope.payload != newest.envelope.payload:
                    raise BadTrustedKeys("it differs from the known version of that number")
                continue
            else:
                require_successor(newest.trusted_keys, new)
        except BadEnvelope as error:
            return newest, f"version {new.trusted_keys.version} of the trusted keys is refused: {error}"
        newest = new
    if newest and chain and chain[-1].trusted_keys.version < newest.trusted_keys.version:
        return newest, f"the file of trusted keys is out of date: version {newest.trusted_keys.version} is current"
    return newest, ""


def revokes_key(old: TrustedKeys, new: TrustedKeys, airline: str) -> bool:
    """Return whether a key that could sign for the airline no longer can."""
    before, after = old.airlines.get(airline), new.airlines.get(airline)
    return before is not None and not set(before.keys) <= set(after.keys if after else ())
