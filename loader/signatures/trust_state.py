"""Trust state that a loader stores: keys, versions, trusted time; with a checksum. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import field, replace
from datetime import datetime
from typing import Final

from loader.contract.strict_json import Fields, format_utc
from loader.frozen import frozen
from loader.signatures.dsse import BadEnvelope, envelope_to_json
from loader.signatures.signed_manifest import SignedManifest
from loader.signatures.trusted_keys import TrustedKeys, TrustedKeysVersion, revokes_key, trusted_keys_from_json

TRUST_STATE_LIMIT: Final = 16 * 1024 * 1024  # bytes; enough for more than 10,000 campaigns with the longest names


@frozen
class AcceptedVersions:
    """What was accepted for one airline.

    `signed`: a signed manifest was accepted, so unsigned ones are refused from then on. `versions`: the highest version
    of each campaign, and of each tail's queue by its key below the airline. `reset_by_rotation`: versions from before a
    change of keys do not count.
    """

    signed: bool = False
    versions: Mapping[str, int] = field(default_factory=dict)
    reset_by_rotation: bool = False


@frozen
class TrustState:
    """The complete state. `serial` grows with every change. `time`: the newest trusted time (aware, UTC)."""

    serial: int = 0
    time: datetime | None = None
    keys: TrustedKeysVersion | None = None
    airlines: Mapping[str, AcceptedVersions] = field(default_factory=dict)

    def accepted_of(self, airline: str) -> AcceptedVersions:
        return self.airlines.get(airline, AcceptedVersions())

    def with_accepted(self, airline: str, signed: SignedManifest, campaign: str) -> TrustState:
        """Return the state with this manifest accepted; the same object if nothing changes."""
        before, version = self.accepted_of(airline), signed.summary.version or 0
        highest = max(version, before.versions.get(campaign, 0))
        after = replace(before, signed=True, versions={**before.versions, campaign: highest})
        return self if after == before else replace(self, airlines={**self.airlines, airline: after})

    def with_accepted_queue(self, airline: str, name: str, version: int) -> TrustState:
        """Return the state with this version of the queue `name` accepted; the same object if nothing changes."""
        before = self.accepted_of(airline)
        if version <= before.versions.get(name, -1):
            return self
        after = replace(before, versions={**before.versions, name: version})
        return replace(self, airlines={**self.airlines, airline: after})

    def with_keys(self, keys: TrustedKeysVersion) -> TrustState:
        """Return the state with newer keys. If an airline lost a key, the versions that it may have signed are reset.

        This is TUF's recovery from a stolen key that signed a very high version (fast-forward attack).
        """
        old = self.keys.trusted_keys if self.keys else None
        airlines = {
            name: _reset_if_revoked(accepted, old, keys.trusted_keys, name) for name, accepted in self.airlines.items()
        }
        return replace(self, keys=keys, airlines=airlines)


def _reset_if_revoked(
    accepted: AcceptedVersions, old: TrustedKeys | None, new: TrustedKeys, airline: str
) -> AcceptedVersions:
    lost = old is not None and revokes_key(old, new, airline)
    return replace(accepted, versions={}, reset_by_rotation=True) if lost else accepted


def dump_state(state: TrustState) -> dict[str, object]:
    """Return the state as JSON with a checksum, so that a partly written state is detected."""
    document: dict[str, object] = {
        "serial": state.serial,
        "time": format_utc(state.time) if state.time else None,
        "keys": envelope_to_json(state.keys.envelope) if state.keys else None,
        "airlines": {
            name: {
                "signed": accepted.signed,
                "rotated": accepted.reset_by_rotation,
                "versions": dict(accepted.versions),
            }
            for name, accepted in state.airlines.items()
        },
    }
    return {**document, "sum": _checksum(document)}


def load_state(document: Mapping[str, object]) -> TrustState:
    """Return the state from JSON; an empty document is an empty state. Raises BadEnvelope if it is damaged."""
    if not document:
        return TrustState()
    written = {name: value for name, value in document.items() if name not in ("sum", "schema")}
    if document.get("sum") != _checksum(written):
        raise BadEnvelope("it is damaged")
    fields = Fields(written, "", BadEnvelope)
    serial, time, keys = fields.integer("serial") or 0, fields.datetime_with_offset("time"), fields.pop("keys")
    airlines = Fields(fields.pop("airlines"), "airlines", BadEnvelope).extra
    accepted = {name: _accepted_versions(entry, f"airlines.{name}") for name, entry in airlines.items()}
    return TrustState(serial, time, None if keys is None else trusted_keys_from_json(keys), accepted)


def _accepted_versions(value: object, path: str) -> AcceptedVersions:
    fields = Fields(value, path, BadEnvelope)
    versions = Fields(fields.pop("versions"), f"{path}.versions", BadEnvelope)
    numbers = {name: versions.integer(name) or 0 for name in list(versions.extra)}
    return AcceptedVersions(fields.boolean("signed", False), numbers, fields.boolean("rotated", False))


def _checksum(document: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
