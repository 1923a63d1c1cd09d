"""Which campaigns there are for this aircraft, and what each of them consists of, as the media bucket says now.

Reads manifests by ETag, so that a look at nothing new costs one small request a campaign. Touches no disk.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from loader.bucket import Bucket
from loader.contract import MANIFEST_LIMIT, Item, Manifest, check_name, content_key, fold, manifest_key, parse_manifest
from loader.errors import BadManifest, BadName, ContractError, WorldError
from loader.store import Edition

NO_EDITION: Final = Edition("")
OUT_OF_REACH: Final = frozenset({"NETWORK", "TIMEOUT", "THROTTLED"})


@dataclass(frozen=True, slots=True)
class Reading:
    """A campaign's manifest and which edition it is, or the code and sentence why there is none to be used."""

    campaign: str
    manifest: Manifest | None = None
    edition: Edition = NO_EDITION
    code: str = ""
    text: str = ""

    @property
    def out_of_reach(self) -> bool:
        """Nothing is known against the campaign; the store could not be asked."""
        return self.code in OUT_OF_REACH


@dataclass(frozen=True, slots=True)
class Look:
    """What the media bucket says: a reading for each campaign, by name. `code` and `text`: why it would not say.

    `odd`: a sentence for each prefix that is left alone.
    """

    readings: Mapping[str, Reading]
    odd: tuple[str, ...] = ()
    code: str = ""
    text: str = ""

    @property
    def reached(self) -> bool:
        """Something answered."""
        if self.code:
            return self.code not in OUT_OF_REACH
        return not self.readings or any(not reading.out_of_reach for reading in self.readings.values())

    @property
    def reason(self) -> str:
        """Why nothing answered."""
        return self.text or next((reading.text for reading in self.readings.values() if reading.out_of_reach), "")


class Lookout:
    """The campaigns of one airline, or those of them that were named. May be used by several threads."""

    def __init__(self, airline: str, named: Sequence[str], media: Bucket) -> None:
        self._airline, self._named, self._media = airline, tuple(named), media
        self._known: dict[str, tuple[str, Reading]] = {}
        self._lock = threading.Lock()

    def look(self, stop: threading.Event) -> Look:
        """Find the campaigns and read their manifests, until `stop` is set. Never raises."""
        try:
            names, odd = self._names()
        except WorldError as error:
            return Look({}, code=error.code, text=str(error))
        alike = Counter(fold(name) for name in names)
        readings: dict[str, Reading] = {}
        for name in names:
            if stop.is_set():
                break
            if alike[fold(name)] > 1:
                readings[name] = Reading(name, code="BAD_NAME", text="another campaign differs from it only in case")
                continue
            reading = self.read(name)
            if reading.code != "OBJECT_GONE" or not self._is_left_over(name):
                readings[name] = reading
        return Look(readings, tuple(odd))

    def read(self, campaign: str) -> Reading:
        """The manifest as it is now. Never raises: what is wrong is in the answer."""
        with self._lock:
            etag, before = self._known.get(campaign, ("", None))
        try:
            fetched = self._media.get(
                manifest_key(self._airline, campaign), MANIFEST_LIMIT, if_none_match=etag if before else None
            )
        except WorldError as error:
            text = "campaign.json is not there" if error.code == "OBJECT_GONE" else str(error)
            return Reading(campaign, code=error.code, text=text)
        if fetched is None and before is not None:
            return before
        if fetched is None:
            return Reading(campaign, code="INTERNAL", text="the store says that campaign.json is as it never was")
        reading = self._parse(campaign, fetched.body, fetched.cut)
        with self._lock:
            self._known[campaign] = (fetched.etag, reading)
        return reading

    def _names(self) -> tuple[list[str], list[str]]:
        """The campaigns to look at, and a sentence for each prefix that is none."""
        if self._named:
            return list(self._named), []
        good: list[str] = []
        odd: list[str] = []
        for name in self._media.prefixes(f"{self._airline}/"):
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
        return Reading(campaign, manifest, Edition(hashlib.sha256(body).hexdigest(), manifest.version))

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
