"""What a loader remembers of signed manifests: keys, versions, trusted time. Pure; with a checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from loader.contract.strict_json import Fields, format_utc
from loader.signatures.dsse import BadEnvelope, envelope_document
from loader.signatures.signed_manifest import Signed
from loader.signatures.trusted_keys import Keyring, Provisioned, lost_keys, provisioned

NOTE_LIMIT: Final = 16 * 1024 * 1024  # bytes: more than 10,000 campaigns with the longest names need


@dataclass(frozen=True, slots=True)
class Accepted:
    """What was accepted of one airline. `signed`: something was, so the unsigned is refused from now on.

    `versions`: the highest one of each campaign. `rotated`: versions from before a change of keys do not count.
    """

    signed: bool = False
    versions: Mapping[str, int] = field(default_factory=dict)
    rotated: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """All that is remembered from run to run. `serial` grows with every change; `time`: the newest trusted one."""

    serial: int = 0
    time: datetime | None = None
    keys: Provisioned | None = None
    airlines: Mapping[str, Accepted] = field(default_factory=dict)

    def of(self, airline: str) -> Accepted:
        """What was accepted of an airline."""
        return self.airlines.get(airline, Accepted())

    def with_accepted(self, airline: str, signed: Signed, campaign: str) -> Known:
        """With this manifest; the same if that is nothing new."""
        before, version = self.of(airline), signed.head.version or 0
        highest = max(version, before.versions.get(campaign, 0))
        after = replace(before, signed=True, versions={**before.versions, campaign: highest})
        return self if after == before else replace(self, airlines={**self.airlines, airline: after})

    def with_keys(self, keys: Provisioned) -> Known:
        """With newer keys. Where one was taken from an airline, versions it may have signed are forgotten.

        That is TUF's way back from a stolen key that signed version 1,000,000,000.
        """
        old = self.keys.keyring if self.keys else None
        airlines = {name: _kept(accepted, old, keys.keyring, name) for name, accepted in self.airlines.items()}
        return replace(self, keys=keys, airlines=airlines)


def _kept(accepted: Accepted, old: Keyring | None, new: Keyring, airline: str) -> Accepted:
    lost = old is not None and lost_keys(old, new, airline)
    return replace(accepted, versions={}, rotated=True) if lost else accepted


def note_of(known: Known) -> dict[str, object]:
    """What is written down, with a digest over it: half a note must not be taken for a whole one."""
    note: dict[str, object] = {
        "serial": known.serial,
        "time": format_utc(known.time) if known.time else None,
        "keys": envelope_document(known.keys.envelope) if known.keys else None,
        "airlines": {
            name: {"signed": one.signed, "rotated": one.rotated, "versions": dict(one.versions)}
            for name, one in known.airlines.items()
        },
    }
    return {**note, "sum": _sum(note)}


def read_note(note: Mapping[str, object]) -> Known:
    """What was written down; of an empty note, nothing. Raises BadEnvelope if it is not as it was written."""
    if not note:
        return Known()
    written = {name: value for name, value in note.items() if name not in ("sum", "schema")}
    if note.get("sum") != _sum(written):
        raise BadEnvelope("it is torn")
    fields = Fields(written, "", BadEnvelope)
    serial, time, keys = fields.integer("serial") or 0, fields.datetime_with_offset("time"), fields.pop("keys")
    airlines = Fields(fields.pop("airlines"), "airlines", BadEnvelope).extra
    accepted = {name: _accepted(one, f"airlines.{name}") for name, one in airlines.items()}
    return Known(serial, time, None if keys is None else provisioned(keys), accepted)


def _accepted(value: object, place: str) -> Accepted:
    fields = Fields(value, place, BadEnvelope)
    versions = Fields(fields.pop("versions"), f"{place}.versions", BadEnvelope)
    numbers = {name: versions.integer(name) or 0 for name in list(versions.extra)}
    return Accepted(fields.boolean("signed", False), numbers, fields.boolean("rotated", False))


def _sum(note: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(note, sort_keys=True).encode()).hexdigest()
