"""Compares a listing of an airline's media prefix with the stored manifests. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from campaigns.models import ManifestState
from loader.contract.keys import manifest_key, parse_media_key
from loader.contract.names import check_name, conflict_key
from loader.errors import BadName, Code
from loader.s3.interface import ObjectInfo

CAMPAIGNS_LIMIT: Final = 10_000
PROBLEMS_LIMIT: Final = 1_000


@dataclass(frozen=True, slots=True)
class ListingProblem:
    """Something in a bucket that could not be understood; `code` is a word for it, `detail` a sentence."""

    bucket: Literal["media", "status"]
    key: str
    code: str
    detail: str
    etag: str = ""


@dataclass
class MediaListing:
    """One listing, sorted out: the campaigns in it, their manifests, and the keys nobody understands."""

    airline: str
    objects: int = 0
    campaigns: set[str] = field(default_factory=set)
    manifests: dict[str, ObjectInfo] = field(default_factory=dict)
    signed: set[str] = field(default_factory=set)
    problems: list[ListingProblem] = field(default_factory=list)
    misfits: int = 0

    def add(self, found: ObjectInfo) -> None:
        """Take one object of the listing into account. Any legal second segment makes a campaign known."""
        self.objects += 1
        parts = found.key.split("/")
        if len(parts) > 2 and _is_name(parts[1]):
            self.campaigns.add(parts[1])
        try:
            key = parse_media_key(found.key)
        except BadName as exc:
            self._add_problem(found, str(exc))
            return
        if key and key.kind == "manifest":
            self.manifests[key.campaign] = found
        elif key and key.kind == "signature":
            self.signed.add(key.campaign)

    def _add_problem(self, found: ObjectInfo, why: str) -> None:
        self.misfits += 1
        if self.misfits <= PROBLEMS_LIMIT:
            self.problems.append(ListingProblem("media", found.key, Code.BAD_NAME, why, found.etag))
        elif self.misfits == PROBLEMS_LIMIT + 1:
            why = f"more than {PROBLEMS_LIMIT:,} keys break the rules of names; only so many are kept one by one"
            self.problems.append(ListingProblem("media", f"{self.airline}/", "TOO_MANY", why))


def read_listing(airline: str, objects: Iterable[ObjectInfo]) -> MediaListing:
    """Sort out a whole listing of `<airline>/`; whatever `objects` raises ends it."""
    result = MediaListing(airline)
    for found in objects:
        result.add(found)
    return result


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """What the database holds of a campaign's manifest."""

    state: str = ManifestState.MISSING
    etag: str = ""
    as_of: datetime | None = None
    problem: str = ""
    signed: bool = False


@dataclass
class CatalogChanges:
    """What is to be done: rows to make, manifests to fetch, manifests that are gone, signatures that came or went."""

    create: list[str] = field(default_factory=list)
    read: dict[str, ObjectInfo] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    signed: dict[str, bool] = field(default_factory=dict)
    problems: list[ListingProblem] = field(default_factory=list)


def diff(stored: Mapping[str, StoredManifest], listing: MediaListing) -> CatalogChanges:
    """Compare. The problems are all those of this moment, new or not, so that what is not among them is over."""
    decisions = CatalogChanges(problems=list(listing.problems))
    decisions.create = _new_campaigns(stored, listing, decisions.problems)
    for name in sorted(stored.keys() | set(decisions.create)):
        held, found = stored.get(name, StoredManifest()), listing.manifests.get(name)
        if held.signed != (name in listing.signed):
            decisions.signed[name] = name in listing.signed
        if found is None:
            if held.state != ManifestState.MISSING:
                decisions.gone.append(name)
        elif is_newer(held, found.etag, found.last_modified):
            decisions.read[name] = found
        else:
            decisions.problems.extend(_remaining_problems(held, found))
    return decisions


def is_newer(stored: StoredManifest, etag: str, last_modified: datetime) -> bool:
    """Whether this object should be read: another ETag than the last one's, and not an older object."""
    if stored.state == ManifestState.MISSING:
        return True
    return etag != stored.etag and not _older(stored, last_modified)


def _older(stored: StoredManifest, last_modified: datetime) -> bool:
    return stored.as_of is not None and last_modified < stored.as_of


def _remaining_problems(stored: StoredManifest, found: ObjectInfo) -> list[ListingProblem]:
    """What is still wrong with a manifest that is not read again."""
    if found.etag != stored.etag:
        why = f"this campaign.json is of {found.last_modified:%Y-%m-%d %H:%M:%S}Z, older than the one already read"
        return [ListingProblem("media", found.key, Code.ROLLBACK, why, found.etag)]
    if stored.state == ManifestState.REFUSED:
        return [ListingProblem("media", found.key, Code.BAD_MANIFEST, stored.problem, found.etag)]
    return []


def _new_campaigns(
    stored: Mapping[str, StoredManifest], listing: MediaListing, problems: list[ListingProblem]
) -> list[str]:
    """The campaigns to be made: no two that differ only in case or normalisation, and not too many."""
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
        why = f"{left_out:,} campaigns are left out: an airline may have {CAMPAIGNS_LIMIT:,}"
        problems.append(ListingProblem("media", f"{listing.airline}/", "TOO_MANY", why))
    return admitted


def name_conflict(airline: str, name: str, other: str) -> ListingProblem:
    """Two campaigns whose names are told apart by case or normalisation alone: the second is not taken."""
    why = f"the campaign {name!a} is the same as {other!a} but for case or normalisation"
    return ListingProblem("media", manifest_key(airline, name), Code.BAD_NAME, why)


def _is_name(segment: str) -> bool:
    try:
        check_name(segment)
    except BadName:
        return False
    return True
