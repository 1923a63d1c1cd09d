"""Finds the campaigns for this aircraft in the media bucket and reads their manifests.

Manifests are cached by ETag, so that a poll without changes costs one small request a campaign (two with the signature
policy `warn`). `loader.media.manifest_verifier` checks signed manifests; only it uses the disk.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final, Generic, TypeVar

from loader.contract.keys import content_key, manifest_key, other_content_keys, signature_key
from loader.contract.manifest import MANIFEST_LIMIT, Item, Manifest, parse_manifest
from loader.contract.names import check_name, conflict_key
from loader.errors import BadManifest, BadName, Code, ContractError, WorldError
from loader.frozen import frozen
from loader.media.manifest_verifier import ManifestVerifier
from loader.media.snapshot import ManifestResult, MediaSnapshot, UnpublishedPrefix
from loader.s3.interface import NOT_MODIFIED, Bucket, GetResult, ObjectInfo
from loader.signatures.dsse import ENVELOPE_LIMIT, BadEnvelope
from loader.signatures.signed_manifest import SignedManifest
from loader.storage.inventory import ManifestVersion

T = TypeVar("T")
DIFFERENT: Final = (
    f"{Code.BAD_SIGNATURE}: campaign.json differs from the manifest that campaign.json.dsse signs; the signed one is "
    "used"
)


@frozen
class _Cached(Generic[T]):
    """Result of parsing an object. Valid while its ETag and the version of the trusted keys stay the same."""

    etag: str
    keys_version: int
    value: T


class ManifestReader:
    """Reads the campaigns of one airline, or only the named ones. Thread-safe."""

    def __init__(
        self,
        airline: str,
        named: Sequence[str],
        media: Bucket,
        verifier: ManifestVerifier,
        was_loaded: Callable[[str], bool] = lambda campaign: False,
    ) -> None:
        """`was_loaded(campaign)`: whether an earlier run of the loader has loaded or reported any of it."""
        self._airline, self._named, self._media, self._verifier = airline, tuple(named), media, verifier
        self._was_loaded = was_loaded
        self._unsigned: dict[str, _Cached[ManifestResult]] = {}
        self._signed: dict[str, _Cached[SignedManifest | ContractError]] = {}
        self._lock = threading.Lock()

    def read_all(self, stop: threading.Event) -> MediaSnapshot:
        """Find the campaigns and read their manifests, until `stop` is set. Never raises."""
        self._verifier.refresh()
        try:
            names, ignored = self._list_campaigns()
        except WorldError as error:
            return MediaSnapshot({}, code=error.code, text=str(error))
        results: dict[str, ManifestResult] = {}
        unpublished: list[UnpublishedPrefix] = []
        for name in names:
            if stop.is_set():
                break
            result = self._read_listed(name)
            if isinstance(result, UnpublishedPrefix):
                unpublished.append(result)
            else:
                results[name] = result
        return MediaSnapshot(_refuse_conflicts(results), tuple(ignored), unpublished=tuple(unpublished))

    def _read_listed(self, campaign: str) -> ManifestResult | UnpublishedPrefix:
        result = self.read(campaign)
        return self._without_manifest(result) if result.absent and campaign not in self._named else result

    def read(self, campaign: str) -> ManifestResult:
        """Read a manifest. Never raises: the result contains the error."""
        match self._verifier.policy:
            case "enforce":
                return self._read_signed(campaign)
            case "warn":
                return self._read_with_warning(campaign)
            case _:
                return self._if_for_this_tail(self._read_unsigned(campaign))

    # The three signature policies.

    def _read_signed(self, campaign: str) -> ManifestResult:
        """Read the signed manifest from campaign.json.dsse. campaign.json is not requested."""
        signed: SignedManifest | None = None
        try:
            signed = self._read_envelope(campaign)
            manifest = self._verifier.accept(campaign, signed)
        except WorldError as error:
            return _unsigned_result(campaign, error)
        except ContractError as error:
            if error.code == Code.EXPIRED and signed and self._is_over(signed.summary):
                return ManifestResult(campaign)  # its exhibition is over, so that there is no need to sign it again
            return ManifestResult(campaign, code=error.code, text=_refusal_text(error))
        return ManifestResult(campaign, manifest, ManifestVersion(signed.digest, manifest.version))

    def _read_with_warning(self, campaign: str) -> ManifestResult:
        """Read campaign.json and check its signature. Errors are warnings until a signed manifest was accepted."""
        result = self._read_unsigned(campaign)
        if result.manifest is None:
            return result
        signed: SignedManifest | None = None
        try:
            signed = self._read_envelope(campaign)
            manifest = self._verifier.accept(campaign, signed)
        except WorldError as error:
            refused = _unsigned_result(campaign, error)
        except ContractError as error:
            refused = ManifestResult(campaign, code=error.code, text=_refusal_text(error))
        else:
            if signed.digest == result.manifest_version.digest:
                return self._if_for_this_tail(result)
            version = ManifestVersion(signed.digest, manifest.version)
            return ManifestResult(campaign, manifest, version, warning=DIFFERENT)
        result_here = self._if_for_this_tail(result)
        if result_here.manifest is None:
            return result_here
        # An expired or older signature vouches for the bytes it signs, and for no other campaign.json beside it.
        is_signed = signed is not None and signed.digest == result.manifest_version.digest
        if self._verifier.signatures_required and not is_signed:
            return refused
        return replace(result_here, warning=f"{refused.code}: {refused.text}")

    def _if_for_this_tail(self, result: ManifestResult) -> ManifestResult:
        """Return the result, without its manifest if that is for other aircraft."""
        if result.manifest is None or self._verifier.is_for_this_tail(result.manifest.tails):
            return result
        return ManifestResult(result.campaign)

    def _is_over(self, summary: Manifest) -> bool:
        return summary.campaign not in self._named and self._verifier.has_ended(summary)

    # Objects in the bucket.

    def _read_unsigned(self, campaign: str) -> ManifestResult:
        """Read campaign.json without checking a signature."""

        def parse(fetched: GetResult) -> ManifestResult:
            return self._parse(campaign, fetched.body, fetched.truncated)

        try:
            result = self._read(manifest_key(self._airline, campaign), MANIFEST_LIMIT, campaign, self._unsigned, parse)
        except WorldError as error:
            return ManifestResult(campaign, code=error.code, text=str(error))
        return result or ManifestResult(
            campaign, code=Code.OBJECT_GONE, text="campaign.json does not exist", absent=True
        )

    def _read_envelope(self, campaign: str) -> SignedManifest:
        """Read and verify campaign.json.dsse.

        Raises:
            WorldError: UNSIGNED if the object does not exist.
            ContractError: it is refused.
        """

        def verify(fetched: GetResult) -> SignedManifest | ContractError:
            try:
                if fetched.truncated:
                    raise BadEnvelope(f"it is longer than {ENVELOPE_LIMIT:,} bytes")
                return self._verifier.verify(campaign, fetched.body)
            except ContractError as error:
                return error

        key = signature_key(self._airline, campaign)
        result = self._read(key, ENVELOPE_LIMIT, campaign, self._signed, verify)
        if result is None:
            raise WorldError(Code.UNSIGNED, "campaign.json.dsse does not exist")
        if isinstance(result, ContractError):
            raise result
        return result

    def _read(
        self, key: str, limit: int, campaign: str, cache: dict[str, _Cached[T]], convert: Callable[[GetResult], T]
    ) -> T | None:
        """Return the converted object, from the cache if nothing changed; None if absent. Raises WorldError."""
        keys_version = self._verifier.keys_version
        with self._lock:
            cached = cache.get(campaign)
        usable = cached if cached and cached.keys_version == keys_version else None
        fetched = self._media.get_if_changed(key, limit, usable.etag) if usable else self._media.get(key, limit)
        self._verifier.observe_store_time(self._media.store_clock.now())
        if fetched is NOT_MODIFIED:
            return usable.value if usable else None
        if fetched is None:
            return None
        value = convert(fetched)
        with self._lock:
            cache[campaign] = _Cached(fetched.etag, keys_version, value)
        return value

    def _list_campaigns(self) -> tuple[list[str], list[str]]:
        """Return the campaigns to read, and a sentence for each ignored prefix."""
        if self._named:
            return list(self._named), []
        campaigns: list[str] = []
        ignored: list[str] = []
        for name in self._media.list_prefixes(f"{self._airline}/"):
            if name.startswith(".") and name.strip("."):
                continue  # objects of the system, not a campaign
            try:
                campaigns.append(check_name(name))
            except BadName as error:
                ignored.append(f"A prefix was ignored: {error}.")
        return sorted(campaigns), ignored

    def _without_manifest(self, result: ManifestResult) -> ManifestResult | UnpublishedPrefix:
        """Return the error of a campaign whose manifest is absent, unless the prefix is not a campaign.

        A prefix is a campaign once a manifest or its envelope was there (section 1 of the contract). A prefix without
        objects is none any more: some stores still list it.
        """
        campaign = result.campaign
        try:
            keys = self._first_keys(campaign)
            if not keys:
                return UnpublishedPrefix(campaign, "the listing names it, but no object is found below it")
            if all(key.endswith("/") for key in keys):  # each is a folder of some program's, not an object
                return UnpublishedPrefix(campaign, "it is an empty folder")
            if self._is_known(campaign) or self._has_manifest_objects(campaign):
                return result
        except WorldError as error:
            return ManifestResult(campaign, code=error.code, text=str(error))
        return UnpublishedPrefix(campaign, "it has no campaign.json yet")

    def _first_keys(self, campaign: str) -> list[str]:
        """Return the keys below a prefix, as many as a page of a listing has. Raises WorldError."""
        return [found.key for found in islice(self._media.list(f"{self._airline}/{campaign}/"), 1000)]

    def _has_manifest_objects(self, campaign: str) -> bool:
        """Return whether campaign.json or campaign.json.dsse exists: the policy may read only the other one."""
        key = manifest_key(self._airline, campaign)
        names = {key, signature_key(self._airline, campaign)}
        return any(found.key in names for found in self._media.list(key))

    def _is_known(self, campaign: str) -> bool:
        """Return whether this loader has read the campaign's manifest before, in this run or an earlier one."""
        with self._lock:
            if campaign in self._unsigned or campaign in self._signed:
                return True
        return self._verifier.has_accepted(campaign) or self._was_loaded(campaign)

    def _parse(self, campaign: str, body: bytes, truncated: bool) -> ManifestResult:
        try:
            if truncated:
                raise BadManifest(f"it is longer than {MANIFEST_LIMIT} bytes")
            manifest = parse_manifest(body, airline=self._airline, campaign=campaign)
        except ContractError as error:
            return ManifestResult(campaign, code=error.code, text=f"campaign.json is refused: {error}")
        return ManifestResult(campaign, manifest, ManifestVersion(hashlib.sha256(body).hexdigest(), manifest.version))

    # One campaign.

    def still_lists(self, campaign: str, item: Item) -> bool:
        """Read the manifest again and return whether it lists this item with the same size and hash."""
        manifest = self.read(campaign).manifest
        return manifest is not None and any(
            (other.name, other.size, other.sha256) == (item.name, item.size, item.sha256) for other in manifest.content
        )

    def object_etags(self, campaign: str, manifest: Manifest) -> dict[str, str]:
        """Return the ETag of every item's object by item name, "" if there is no object. Raises WorldError.

        Where the store lists no ETags, size and date stand for them.
        """
        prefix = f"{self._airline}/{campaign}/"
        etags = {found.key: found.etag or _version_without_etag(found) for found in self._media.list(prefix)}
        return {item.name: self._object_etag(etags, campaign, item.name) for item in manifest.content}

    def _object_etag(self, etags: Mapping[str, str], campaign: str, content: str) -> str:
        names = self._airline, campaign, content
        keys = (content_key(*names), *other_content_keys(*names))
        return next((etags[key] for key in keys if key in etags), "")


def _refuse_conflicts(results: Mapping[str, ManifestResult]) -> dict[str, ManifestResult]:
    """Replace the results of campaigns whose names differ only in case or normalisation by an error."""
    spellings = Counter(conflict_key(name) for name in results)
    text = "another campaign differs from it only in case"
    return {
        name: ManifestResult(name, code=Code.BAD_NAME, text=text) if spellings[conflict_key(name)] > 1 else result
        for name, result in results.items()
    }


def _version_without_etag(found: ObjectInfo) -> str:
    return f"{found.size}@{found.last_modified:%Y%m%dT%H%M%S.%fZ}"


def _unsigned_result(campaign: str, error: WorldError) -> ManifestResult:
    return ManifestResult(campaign, code=error.code, text=str(error), absent=error.code == Code.UNSIGNED)


def _refusal_text(error: ContractError) -> str:
    return f"campaign.json.dsse is refused: {error}"
