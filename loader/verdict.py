"""Whether a signed manifest may be used here and now, and what is to be remembered of it. Pure: no clock, no disk.

In this order: the envelope and its signatures (`loader.envelope`), strict JSON, the place it was signed for, its
version against the highest one accepted before, its expiry against trusted time, then names, sizes and hashes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from loader.contract.manifest import MANIFEST_LIMIT, Manifest, read_manifest
from loader.contract.strict_json import Fields, loads, moment_text
from loader.envelope import BadEnvelope, envelope_document
from loader.errors import BadManifest, ContractError
from loader.keyring import Keyring, Provisioned, lost_keys, provisioned

REFUSALS: Final = frozenset({"UNSIGNED", "BAD_SIGNATURE", "ROLLBACK", "EXPIRED"})
NOTE_LIMIT: Final = 16 * 1024 * 1024  # bytes: more than 10,000 campaigns with the longest names need


@dataclass(frozen=True, slots=True)
class Place:
    """Where a manifest is read: it must have been signed for just this."""

    airline: str
    campaign: str
    tail: str


@dataclass(frozen=True, slots=True)
class Signed:
    """A manifest whose signatures are right and that was made for this place.

    `digest`: SHA-256 of the signed bytes. `head`: all but its content. `rest`: the whole of it, or why it is refused.
    """

    digest: str
    head: Manifest
    rest: Manifest | ContractError


def read_signed(payload: bytes, place: Place) -> Signed:
    """What a payload with enough signatures says.

    Raises:
        BadManifest: it breaks the contract.
        BadEnvelope: it was signed for another place, or says too little to tell.
    """
    document = loads(payload, limit=MANIFEST_LIMIT, error=BadManifest)
    if not isinstance(document, dict):
        raise BadEnvelope("it does not say which airline and campaign it was signed for")
    for name, here in (("airline", place.airline), ("campaign", place.campaign)):
        if document.get(name) != here:
            said = document.get(name)
            raise BadEnvelope(f"it was not signed for this place: {name} is {str(said)[:80]!a}, not {here!a}")
    head = read_manifest({**document, "content": []}, airline=place.airline, campaign=place.campaign)
    if head.tails is not None and place.tail not in head.tails:
        raise BadEnvelope(f"it was not signed for this aircraft: {place.tail!a} is not among its tails")
    if head.version is None:
        raise BadEnvelope("it was signed without a version, so an older one could not be told from it")
    return Signed(hashlib.sha256(payload).hexdigest(), head, _rest(document, place))


def _rest(document: object, place: Place) -> Manifest | ContractError:
    try:
        manifest = read_manifest(document, airline=place.airline, campaign=place.campaign)
    except BadManifest as error:
        return error
    return uncovered(manifest) or manifest


def uncovered(manifest: Manifest) -> BadEnvelope | None:
    """What is wrong if an item has no hash: the signature would cover nothing of it."""
    bare = next((item.name for item in manifest.content if item.sha256 is None), None)
    return BadEnvelope(f"{bare!a} has no sha256, so no signature covers it") if bare is not None else None


def admit(signed: Signed, floor: int | None, now: datetime) -> Manifest:
    """The manifest, if it may be used. `floor`: the highest version accepted before; `now`: trusted time.

    Raises:
        ContractError: ROLLBACK, EXPIRED, or what is wrong with its content.
    """
    head = signed.head
    if floor is not None and (head.version or 0) < floor:
        raise ContractError(f"version {head.version} is below version {floor}, accepted before", code="ROLLBACK")
    if head.expires is not None and head.expires <= now:
        since, at = moment_text(head.expires), moment_text(now.replace(microsecond=0))
        raise ContractError(f"it expired at {since}; it is {at} at least", code="EXPIRED")
    if isinstance(signed.rest, ContractError):
        raise signed.rest
    return signed.rest


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
        "time": moment_text(known.time) if known.time else None,
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
    serial, time, keys = fields.integer("serial") or 0, fields.moment("time"), fields.take("keys")
    airlines = Fields(fields.take("airlines"), "airlines", BadEnvelope).extra
    accepted = {name: _accepted(one, f"airlines.{name}") for name, one in airlines.items()}
    return Known(serial, time, None if keys is None else provisioned(keys), accepted)


def _accepted(value: object, place: str) -> Accepted:
    fields = Fields(value, place, BadEnvelope)
    versions = Fields(fields.take("versions"), f"{place}.versions", BadEnvelope)
    numbers = {name: versions.integer(name) or 0 for name in list(versions.extra)}
    return Accepted(fields.boolean("signed", False), numbers, fields.boolean("rotated", False))


def _sum(note: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(note, sort_keys=True).encode()).hexdigest()
