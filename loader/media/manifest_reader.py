"""Which campaigns there are for this aircraft, and what each of them consists of, as the media bucket says now.

Reads manifests by ETag, so that a look at nothing new costs one small request a campaign (two while signatures are only
warned about). Whether a signed one may be used is `loader.media.manifest_verifier`'s to say. Touches no disk but
through that.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from loader.contract.keys import content_key, manifest_key, signature_key
from loader.contract.manifest import MANIFEST_LIMIT, Item, Manifest, parse_manifest
from loader.contract.names import check_name, conflict_key
from loader.errors import BadManifest, BadName, ContractError, WorldError
from loader.media.manifest_verifier import Trust
from loader.media.snapshot import Look, Reading
from loader.s3.interface import Bucket, GetResult
from loader.signatures.dsse import ENVELOPE_LIMIT, BadEnvelope
from loader.signatures.signed_manifest import SignedManifest
from loader.storage.inventory import ManifestVersion

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Kept(Generic[T]):
    """What was made of an object, for as long as its ETag (and the keys it was judged by) stay the same."""

    etag: str
    generation: int
    value: T


class Lookout:
    """The campaigns of one airline, or those of them that were named. May be used by several threads."""

    def __init__(self, airline: str, named: Sequence[str], media: Bucket, trust: Trust) -> None:
        self._airline, self._named, self._media, self._trust = airline, tuple(named), media, trust
        self._plain: dict[str, _Kept[Reading]] = {}
        self._signed: dict[str, _Kept[SignedManifest | ContractError]] = {}
        self._lock = threading.Lock()

    def look(self, stop: threading.Event) -> Look:
        """Find the campaigns and read their manifests, until `stop` is set. Never raises."""
        self._trust.refresh()
        try:
            names, odd = self._names()
        except WorldError as error:
            return Look({}, code=error.code, text=str(error))
        alike = Counter(conflict_key(name) for name in names)
        readings: dict[str, Reading] = {}
        for name in names:
            if stop.is_set():
                break
            if alike[conflict_key(name)] > 1:
                readings[name] = Reading(name, code="BAD_NAME", text="another campaign differs from it only in case")
                continue
            reading = self.read(name)
            if not reading.absent or not self._is_left_over(name):
                readings[name] = reading
        return Look(readings, tuple(odd))

    def read(self, campaign: str) -> Reading:
        """The manifest as it is now. Never raises: what is wrong is in the answer."""
        match self._trust.policy:
            case "enforce":
                return self._only_signed(campaign)
            case "warn":
                return self._warned(campaign)
            case _:
                return self._for_us(self._as_it_lies(campaign))

    # The three policies.

    def _only_signed(self, campaign: str) -> Reading:
        """What was signed; campaign.json itself is not even asked for."""
        signed: SignedManifest | None = None
        try:
            signed = self._envelope(campaign)
            manifest = self._trust.admit(campaign, signed)
        except WorldError as error:
            return _unsigned(campaign, error)
        except ContractError as error:
            if error.code == "EXPIRED" and signed and self._is_over(signed.summary):
                return Reading(campaign)  # there is nothing left to be loaded of it, so nobody need sign it again
            return Reading(campaign, code=error.code, text=_refusal(error))
        return Reading(campaign, manifest, ManifestVersion(signed.digest, manifest.version))

    def _warned(self, campaign: str) -> Reading:
        """campaign.json as it lies, with what is wrong about its signature; refused once signed ones were accepted."""
        reading = self._as_it_lies(campaign)
        if reading.manifest is None:
            return reading
        try:
            signed = self._envelope(campaign)
            self._trust.admit(campaign, signed)
        except WorldError as error:
            refused = _unsigned(campaign, error)
        except ContractError as error:
            refused = Reading(campaign, code=error.code, text=_refusal(error))
        else:
            same = signed.digest == reading.edition.digest
            text = "BAD_SIGNATURE: campaign.json and what campaign.json.dsse signs are not the same"
            return self._for_us(reading if same else replace(reading, doubt=text))
        ours = self._for_us(reading)
        if ours.manifest is None:
            return ours
        if self._trust.sticky and refused.code not in ("ROLLBACK", "EXPIRED", "BAD_MANIFEST", "BAD_NAME"):
            return refused
        return replace(ours, doubt=f"{refused.code}: {refused.text}")

    def _for_us(self, reading: Reading) -> Reading:
        """Without its manifest if that is for other aircraft."""
        if reading.manifest is None or self._trust.for_us(reading.manifest.tails):
            return reading
        return Reading(reading.campaign)

    def _is_over(self, head: Manifest) -> bool:
        return head.campaign not in self._named and self._trust.ended(head)

    # What lies in the bucket.

    def _as_it_lies(self, campaign: str) -> Reading:
        """campaign.json, whoever wrote it."""

        def parsed(fetched: GetResult) -> Reading:
            return self._parse(campaign, fetched.body, fetched.truncated)

        try:
            return self._read(manifest_key(self._airline, campaign), MANIFEST_LIMIT, campaign, self._plain, parsed)
        except WorldError as error:
            absent = error.code == "OBJECT_GONE"
            text = "campaign.json is not there" if absent else str(error)
            return Reading(campaign, code=error.code, text=text, absent=absent)

    def _envelope(self, campaign: str) -> SignedManifest:
        """What campaign.json.dsse holds. Raises WorldError, ContractError."""

        def verified(fetched: GetResult) -> SignedManifest | ContractError:
            self._trust.saw(fetched.server_time)
            try:
                if fetched.truncated:
                    raise BadEnvelope(f"it is longer than {ENVELOPE_LIMIT:,} bytes")
                return self._trust.verify(campaign, fetched.body)
            except ContractError as error:
                return error

        key = signature_key(self._airline, campaign)
        found = self._read(key, ENVELOPE_LIMIT, campaign, self._signed, verified)
        if isinstance(found, ContractError):
            raise found
        return found

    def _read(
        self, key: str, limit: int, campaign: str, kept: dict[str, _Kept[T]], make: Callable[[GetResult], T]
    ) -> T:
        """What `make` makes of an object, made anew only where something changed. Raises WorldError."""
        generation = self._trust.generation
        with self._lock:
            before = kept.get(campaign)
        if before and before.generation != generation:
            before = None
        fetched = self._media.get(key, limit, if_none_match=before.etag if before else None)
        if fetched is None:
            if before is None:
                raise WorldError("INTERNAL", f"the store says that {key.rpartition('/')[2]} is as it never was")
            return before.value
        value = make(fetched)
        with self._lock:
            kept[campaign] = _Kept(fetched.etag, generation, value)
        return value

    def _names(self) -> tuple[list[str], list[str]]:
        """The campaigns to look at, and a sentence for each prefix that is none."""
        if self._named:
            return list(self._named), []
        good: list[str] = []
        odd: list[str] = []
        for name in self._media.list_prefixes(f"{self._airline}/"):
            if name.startswith(".") and name.strip("."):
                continue  # ours, but no campaign
            try:
                good.append(check_name(name))
            except BadName as error:
                odd.append(f"A prefix is left alone: {error}.")
        return sorted(good), odd

    def _is_left_over(self, campaign: str) -> bool:
        """A prefix without objects: some stores go on naming it. One that was asked for by name is none."""
        if campaign in self._named:
            return False
        try:
            return not any(True for _ in self._media.list(f"{self._airline}/{campaign}/"))
        except WorldError:
            return False

    def _parse(self, campaign: str, body: bytes, cut: bool) -> Reading:
        try:
            if cut:
                raise BadManifest(f"it is longer than {MANIFEST_LIMIT} bytes")
            manifest = parse_manifest(body, airline=self._airline, campaign=campaign)
        except ContractError as error:
            return Reading(campaign, code=error.code, text=f"campaign.json is refused: {error}")
        return Reading(campaign, manifest, ManifestVersion(hashlib.sha256(body).hexdigest(), manifest.version))

    # Of one campaign.

    def lists(self, campaign: str, item: Item) -> bool:
        """Whether the manifest, read again, lists this item with the same size and hash."""
        manifest = self.read(campaign).manifest
        return manifest is not None and any(
            (other.name, other.size, other.sha256) == (item.name, item.size, item.sha256) for other in manifest.content
        )

    def object_etags(self, campaign: str, manifest: Manifest) -> dict[str, str]:
        """The ETag of every item's object by the item's name, "" where there is none. Raises WorldError."""
        prefix = f"{self._airline}/{campaign}/"
        etags = {found.key: found.etag for found in self._media.list(prefix)}
        return {item.name: etags.get(content_key(self._airline, campaign, item.name), "") for item in manifest.content}


def _unsigned(campaign: str, error: WorldError) -> Reading:
    if error.code != "OBJECT_GONE":
        return Reading(campaign, code=error.code, text=str(error))
    return Reading(campaign, code="UNSIGNED", text="campaign.json.dsse is not there", absent=True)


def _refusal(error: ContractError) -> str:
    return f"campaign.json.dsse is refused: {error}"
