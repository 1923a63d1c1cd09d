"""Reads an airline's part of the media bucket into Campaign and ContentItem rows.

One flat listing; a manifest is fetched only if its ETag is new and applied in one transaction per campaign. Nothing
is deleted: items that a newer manifest omits are marked as not listed, and while a manifest is missing or refused,
the last good one stays valid.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.db import transaction

from campaigns.catalog.listing_diff import ListingProblem, StoredManifest, diff, is_newer, name_conflict, read_listing
from campaigns.models import Campaign, ContentItem, ManifestState
from ifeportal.bulk import where_in
from ifeportal.models import Airline
from ifeportal.storage.background import PrefetchedListing, map_in_threads
from ifeportal.work_lease import NO_LEASE, WorkLease
from loader.contract.manifest import MANIFEST_LIMIT, Item, Manifest, parse_manifest, restriction_fields
from loader.errors import BadManifest, Code, WorldError
from loader.s3.interface import Bucket, GetResult, ObjectInfo

logger = logging.getLogger(__name__)

FETCHERS: Final = 8
FAILURES_LIMIT: Final = 8  # in a row: then it is the store that fails, not an object, and going on prolongs it
TITLE_LENGTH: Final = 500
KIND_LENGTH: Final = 100
BATCH: Final = 500
COMPARED: Final = ("position", "size", "sha256", "title", "kind", "required", "priority", "listed", "extra")
WRITTEN: Final = (
    *("title", "version", "exhibition_starts", "exhibition_ends", "extra", "items_total", "bytes_total"),
    *("manifest_state", "manifest_problem", "manifest_etag", "manifest_as_of", "withdrawn_at"),
)


@dataclass
class CatalogResult:
    """What a reading found. `problems` are all that stand at this moment: what is not among them is over.

    `failure`: the store could not give some manifest; what was read stands, the rest is tried again next time.
    """

    objects_seen: int = 0
    campaigns_changed: list[Campaign] = field(default_factory=list)
    problems: list[ListingProblem] = field(default_factory=list)
    failure: WorldError | None = None

    def note_change(self, row: Campaign | None) -> None:
        """Take note of a campaign that changed, once."""
        if row and row not in self._noted:
            self._noted.add(row)
            self.campaigns_changed.append(row)

    _noted: set[Campaign] = field(default_factory=set, repr=False)


def sync_catalog(airline: Airline, media: Bucket, now: datetime, lease: WorkLease = NO_LEASE) -> CatalogResult:
    """Bring the airline's campaigns and content items up to what the media bucket says (`now`: for the log).

    It may run twice at once: an older or already applied manifest changes nothing. The heartbeat of `lease` is called
    while it waits for the bucket; the fence is not checked, as two readings at once do no harm.

    Raises:
        WorldError: the listing failed; nothing was changed.
    """
    listing = PrefetchedListing(media, f"{airline.name}/", lease)
    try:
        seen = read_listing(airline.name, listing)
    finally:
        listing.close()
    rows = _rows(airline)
    decisions = diff({name: _stored_manifest(row) for name, row in rows.items()}, seen)
    result = CatalogResult(seen.objects, problems=decisions.problems)
    if decisions.create:
        rows = _create(airline, decisions.create, result)
    for name in decisions.gone:
        result.note_change(_mark_missing(rows[name]))
    for name, signed in decisions.signed.items():
        if name in rows:
            result.note_change(_update(rows[name], signed=signed))
    for name, found, answer in _fetched(media, {n: f for n, f in decisions.read.items() if n in rows}, lease):
        result.note_change(_apply_fetched(rows[name], found, answer, result))
    for row in result.campaigns_changed:
        logger.info("catalog: %s/%s is %s at %s", airline.name, row.name, row.manifest_state, now.isoformat())
    return result


def _rows(airline: Airline) -> dict[str, Campaign]:
    rows = {row.name: row for row in Campaign.objects.filter(airline=airline)}
    for row in rows.values():
        row.airline = airline
    return rows


def _stored_manifest(row: Campaign) -> StoredManifest:
    return StoredManifest(row.manifest_state, row.manifest_etag, row.manifest_as_of, row.manifest_problem, row.signed)


def _create(airline: Airline, names: list[str], result: CatalogResult) -> dict[str, Campaign]:
    """Make the rows; the database has its own idea of "the same but for case", and what it refuses is a conflict."""
    Campaign.objects.bulk_create(
        (Campaign(airline=airline, name=name, discovered=True) for name in names),
        ignore_conflicts=True,
        batch_size=BATCH,
    )
    rows = _rows(airline)
    for name in names:
        if name in rows:
            result.note_change(rows[name])
        else:
            result.problems.append(name_conflict(airline.name, name, "another one"))
    return rows


def _mark_missing(row: Campaign) -> Campaign | None:
    """The manifest is no longer there. The last good one stays in force; only its ETag is forgotten."""
    return _update(row, manifest_state=ManifestState.MISSING, manifest_problem="", manifest_etag="")


def _update(row: Campaign, **fields: object) -> Campaign | None:
    """Change the row unless another reading did so since it was read."""
    unchanged = Campaign.objects.filter(
        pk=row.pk, manifest_state=row.manifest_state, manifest_etag=row.manifest_etag, manifest_as_of=row.manifest_as_of
    )
    if not unchanged.update(**fields):
        return None
    for name, value in fields.items():
        setattr(row, name, value)
    return row


def _fetched(
    media: Bucket, wanted: Mapping[str, ObjectInfo], lease: WorkLease
) -> Iterator[tuple[str, ObjectInfo, GetResult | BadManifest | WorldError]]:
    """Fetch several at once, but no more than these wait in memory."""
    names = list(wanted)
    failures = 0
    with ThreadPoolExecutor(FETCHERS, thread_name_prefix="catalog") as pool:
        for start in range(0, len(names), FETCHERS):
            some = names[start : start + FETCHERS]
            fetched = map_in_threads(pool, lambda name: _fetch(media, wanted[name]), some, lease)
            for name, answer in zip(some, fetched, strict=True):
                yield name, wanted[name], answer
                failures = failures + 1 if isinstance(answer, WorldError) and not answer.permanent else 0
            if failures >= FAILURES_LIMIT:
                return


def _fetch(media: Bucket, found: ObjectInfo) -> GetResult | BadManifest | WorldError:
    too_long = BadManifest(f"it is longer than {MANIFEST_LIMIT:,} bytes")
    if found.size > MANIFEST_LIMIT:
        return too_long
    try:
        answer = media.get(found.key, MANIFEST_LIMIT)
    except WorldError as exc:
        return exc
    if answer is None:
        return WorldError(Code.OBJECT_GONE, f"GET {found.key}: there is no such object")
    return too_long if answer.truncated else answer


def _apply_fetched(
    row: Campaign, found: ObjectInfo, answer: GetResult | BadManifest | WorldError, result: CatalogResult
) -> Campaign | None:
    """Apply one manifest, or say why it is not; returns the row if it changed."""
    if isinstance(answer, WorldError):
        result.problems.append(ListingProblem("media", found.key, answer.code, str(answer), found.etag))
        result.failure = result.failure if answer.permanent else answer
        return None
    if isinstance(answer, BadManifest):
        return _refuse(row, found, found.etag, found.last_modified, answer, result)
    try:
        manifest = parse_manifest(answer.body, airline=row.airline.name, campaign=row.name)
    except BadManifest as exc:
        return _refuse(row, found, answer.etag, answer.last_modified, exc, result)
    return _apply(row, manifest, answer)


def _refuse(
    row: Campaign, found: ObjectInfo, etag: str, as_of: datetime, why: BadManifest, result: CatalogResult
) -> Campaign | None:
    result.problems.append(ListingProblem("media", found.key, Code.BAD_MANIFEST, str(why), etag))
    return _update(
        row,
        manifest_state=ManifestState.REFUSED,
        manifest_problem=str(why),
        manifest_etag=etag,
        manifest_as_of=as_of,
    )


def _apply(row: Campaign, manifest: Manifest, fetched: GetResult) -> Campaign | None:
    """One transaction: the campaign and its items say what the manifest says, or nothing has changed."""
    with transaction.atomic():
        # Ordered by names, its airline would be locked too, for which every writer of the feed would wait.
        now_held = Campaign.objects.select_for_update().filter(pk=row.pk).order_by("pk").first()
        if now_held is None or not is_newer(_stored_manifest(now_held), fetched.etag, fetched.last_modified):
            return None
        _apply_items(row, manifest)
        if now_held.manifest_state == ManifestState.MISSING:
            row.withdrawn_at = None  # somebody has published it again, whichever way
        row.title = manifest.title[:TITLE_LENGTH]
        row.version = manifest.version
        row.exhibition_starts = manifest.exhibition.starts
        row.exhibition_ends = manifest.exhibition.ends
        row.extra = {
            **manifest.extra,
            **{name: said for name, said in restriction_fields(manifest).items() if said is not None},
        }
        row.items_total = len(manifest.content)
        row.bytes_total = manifest.bytes_total
        row.manifest_state = ManifestState.OK
        row.manifest_problem = ""
        row.manifest_etag = fetched.etag
        row.manifest_as_of = fetched.last_modified
        row.save(update_fields=WRITTEN)
    return row


def _apply_items(row: Campaign, manifest: Manifest) -> None:
    """Write only what differs: one upsert for all that is new or changed, one update for what is left out."""
    held = {item.name: item for item in row.items.all()}
    wanted = [_item(row, position, item) for position, item in enumerate(manifest.content)]
    changed = [item for item in wanted if not _same(item, held.get(item.name))]
    ContentItem.objects.bulk_create(
        changed, update_conflicts=True, unique_fields=["campaign", "name"], update_fields=COMPARED, batch_size=BATCH
    )
    names = {item.name for item in wanted}
    left_out = [[item.pk] for item in held.values() if item.listed and item.name not in names]
    row.items.filter(where_in(ContentItem, ["id"], left_out)).update(listed=False)


def _item(row: Campaign, position: int, item: Item) -> ContentItem:
    return ContentItem(
        campaign=row,
        name=item.name,
        position=position,
        size=item.size,
        sha256=item.sha256 or "",
        title=item.title[:TITLE_LENGTH],
        kind=item.kind[:KIND_LENGTH],
        required=item.required,
        priority=item.priority,
        listed=True,
        extra=dict(item.extra),
    )


def _same(item: ContentItem, held: ContentItem | None) -> bool:
    return held is not None and all(getattr(item, name) == getattr(held, name) for name in COMPARED)
