"""Compares a listing of an airline's media prefix with the stored manifests. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from campaigns.models import ManifestState
from ifeportal.storage.object_versions import is_confirmed, is_dated, is_same_version
from loader.contract.keys import manifest_key, parse_media_key
from loader.contract.names import conflict_key
from loader.errors import BadName, Code
from loader.s3.interface import ObjectInfo

CAMPAIGNS_LIMIT: Final = 10_000
PROBLEMS_LIMIT: Final = 1_000


@dataclass(frozen=True, slots=True)
class ListingProblem:
    """An object or listing of a bucket that cannot be used; `code` names the problem, `detail` is a sentence."""

    bucket: Literal["media", "status"]
    key: str
    code: str
    detail: str
    etag: str = ""


@dataclass
class MediaListing:
    """A listing by kind: manifests, signatures, and invalid keys. `campaigns`: prefixes with either of the first two.

    A prefix that never had a manifest is not a campaign: it is being uploaded, or is an empty folder.
    """

    airline: str
    objects: int = 0
    campaigns: set[str] = field(default_factory=set)
    manifests: dict[str, ObjectInfo] = field(default_factory=dict)
    signed: set[str] = field(default_factory=set)
    problems: list[ListingProblem] = field(default_factory=list)
    invalid_keys: int = 0

    def add(self, found: ObjectInfo) -> None:
        """Add an object of the listing."""
        self.objects += 1
        try:
            key = parse_media_key(found.key)
        except BadName as exc:
            self._add_problem(found, str(exc))
            return
        if key and key.kind == "manifest":
            self.manifests[key.campaign] = found
            self.campaigns.add(key.campaign)
        elif key and key.kind == "signature":
            self.signed.add(key.campaign)
            self.campaigns.add(key.campaign)

    def _add_problem(self, found: ObjectInfo, why: str) -> None:
        self.invalid_keys += 1
        if self.invalid_keys <= PROBLEMS_LIMIT:
            self.problems.append(ListingProblem("media", found.key, Code.BAD_NAME, why, found.etag))
        elif self.invalid_keys == PROBLEMS_LIMIT + 1:
            why = f"more than {PROBLEMS_LIMIT:,} keys have invalid names; only the first {PROBLEMS_LIMIT:,} are listed"
            self.problems.append(ListingProblem("media", f"{self.airline}/", "TOO_MANY", why))


def read_listing(airline: str, objects: Iterable[ObjectInfo]) -> MediaListing:
    """Read the complete listing of `<airline>/`. Raises what iterating `objects` raises."""
    result = MediaListing(airline)
    for found in objects:
        result.add(found)
    return result


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """The manifest of a campaign according to the database."""

    state: str = ManifestState.MISSING
    etag: str = ""
    as_of: datetime | None = None
    problem: str = ""
    signed: bool = False


@dataclass
class CatalogChanges:
    """Changes to make: rows to create, manifests to fetch, manifests that are gone, signatures that changed."""

    create: list[str] = field(default_factory=list)
    read: dict[str, ObjectInfo] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    signed: dict[str, bool] = field(default_factory=dict)
    problems: list[ListingProblem] = field(default_factory=list)


def diff(stored: Mapping[str, StoredManifest], listing: MediaListing) -> CatalogChanges:
    """Compare. `problems` has every current problem, new or not: one that is missing is resolved."""
    changes = CatalogChanges(problems=list(listing.problems))
    changes.create = _new_campaigns(stored, listing, changes.problems)
    for name in sorted(stored.keys() | set(changes.create)):
        known, found = stored.get(name, StoredManifest()), listing.manifests.get(name)
        if known.signed != (name in listing.signed):
            changes.signed[name] = name in listing.signed
        if found is None:
            if known.state != ManifestState.MISSING:
                changes.gone.append(name)
        elif should_read(known, found):
            changes.read[name] = found
        else:
            changes.problems.extend(_remaining_problems(known, found))
    return changes


def should_read(stored: StoredManifest, found: ObjectInfo) -> bool:
    """Return whether a listed object should be read: it is another version, and not older than the last one."""
    if stored.state == ManifestState.MISSING:
        return True
    if is_same_version(stored.etag, found):
        return not is_confirmed(stored.etag) and _newer(stored, found.last_modified)
    return not _older(stored, found.last_modified)


def is_newer(stored: StoredManifest, version: str, last_modified: datetime) -> bool:
    """Return whether an object that was read should be applied."""
    if stored.state == ManifestState.MISSING:
        return True
    return (version != stored.etag or _newer(stored, last_modified)) and not _older(stored, last_modified)


def _older(stored: StoredManifest, last_modified: datetime) -> bool:
    return stored.as_of is not None and is_dated(last_modified) and last_modified < stored.as_of


def _newer(stored: StoredManifest, last_modified: datetime) -> bool:
    """Compare in whole seconds: a listing may have fractions that a GET lacks."""
    return stored.as_of is None or int(last_modified.timestamp()) > int(stored.as_of.timestamp())


def _remaining_problems(stored: StoredManifest, found: ObjectInfo) -> list[ListingProblem]:
    """Return the current problem of a manifest that is not read again, if it has one."""
    if not is_same_version(stored.etag, found):
        why = f"this campaign.json is from {found.last_modified:%Y-%m-%d %H:%M:%S} UTC, older than the one already read"
        return [ListingProblem("media", found.key, Code.ROLLBACK, why, found.etag)]
    if stored.state == ManifestState.REFUSED:
        return [ListingProblem("media", found.key, Code.BAD_MANIFEST, stored.problem, found.etag)]
    return []


def _new_campaigns(
    stored: Mapping[str, StoredManifest], listing: MediaListing, problems: list[ListingProblem]
) -> list[str]:
    """Return campaigns to create: at most `CAMPAIGNS_LIMIT`, and no two that differ only in case or normalisation."""
    names = {conflict_key(name): name for name in stored}
    admitted: list[str] = []
    left_out = 0
    for name in sorted(listing.campaigns - stored.keys()):
        other = names.setdefault(conflict_key(name), name)
        if other != name:
            problems.append(name_conflict(listing.airline, name, other))
        elif len(stored) + len(admitted) >= CAMPAIGNS_LIMIT:
            left_out += 1
        else:
            admitted.append(name)
    if left_out:
        why = f"{left_out:,} campaigns are ignored: the limit is {CAMPAIGNS_LIMIT:,} per airline"
        problems.append(ListingProblem("media", f"{listing.airline}/", "TOO_MANY", why))
    return admitted


def name_conflict(airline: str, name: str, other: str) -> ListingProblem:
    """Return the problem of a campaign whose name differs from another only in case or normalisation."""
    why = f"the campaign {name!a} is ignored: its name differs from {other!a} only in case or normalisation"
    return ListingProblem("media", manifest_key(airline, name), Code.BAD_NAME, why)
