"""Syncs the Campaign and ContentItem rows of an airline with the media bucket.

One flat listing. A manifest is fetched only if its ETag is new, and applied in one transaction per campaign. Nothing
is deleted: items that a newer manifest omits are marked as not listed, and while a manifest is missing or refused,
the last valid one stays current.
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
from ifeportal.storage.object_versions import listed_version, version_read
from ifeportal.work_lease import NO_LEASE, WorkLease
from loader.contract.manifest import MANIFEST_LIMIT, Item, Manifest, parse_manifest, restriction_fields
from loader.errors import BadManifest, Code, WorldError
from loader.s3.interface import Bucket, GetResult, ObjectInfo

logger = logging.getLogger(__name__)

FETCHERS: Final = 8
FAILURES_LIMIT: Final = 8  # in a row: then the store fails, not an object, and the rest waits for the next poll
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
    """Result of a sync. `problems` has every current problem: one that is missing is resolved.

    `failure`: the store failed for some manifests; the others were applied, and the next sync retries the rest.
    """

    objects_seen: int = 0
    campaigns_changed: list[Campaign] = field(default_factory=list)
    problems: list[ListingProblem] = field(default_factory=list)
    failure: WorldError | None = None

    def add_changed(self, row: Campaign | None) -> None:
        if row and row not in self._added:
            self._added.add(row)
            self.campaigns_changed.append(row)

    _added: set[Campaign] = field(default_factory=set, repr=False)


def sync_catalog(airline: Airline, media: Bucket, now: datetime, lease: WorkLease = NO_LEASE) -> CatalogResult:
    """Update the airline's campaigns and content items from the media bucket. `now` is for the log.

    Two syncs may run at once: an older or already applied manifest changes nothing, so the fence of `lease` is not
    checked. Its heartbeat is called while waiting for the bucket.

    Raises:
        WorldError: the listing failed; nothing was changed.
    """
    listing = PrefetchedListing(media, f"{airline.name}/", lease)
    try:
        contents = read_listing(airline.name, listing)
    finally:
        listing.close()
    rows = _rows(airline)
    changes = diff({name: _stored_manifest(row) for name, row in rows.items()}, contents)
    result = CatalogResult(contents.objects, problems=changes.problems)
    if changes.create:
        rows = _create(airline, changes.create, result)
    for name in changes.gone:
        result.add_changed(_mark_missing(rows[name]))
    for name, signed in changes.signed.items():
        if name in rows:
            result.add_changed(_update(rows[name], signed=signed))
    for name, found, response in _fetched(media, {n: f for n, f in changes.read.items() if n in rows}, lease):
        result.add_changed(_apply_fetched(rows[name], found, response, result))
    for row in result.campaigns_changed:
        logger.info("catalog: %s/%s: manifest is %s at %s", airline.name, row.name, row.manifest_state, now.isoformat())
    return result


def _rows(airline: Airline) -> dict[str, Campaign]:
    rows = {row.name: row for row in Campaign.objects.filter(airline=airline)}
    for row in rows.values():
        row.airline = airline
    return rows


def _stored_manifest(row: Campaign) -> StoredManifest:
    return StoredManifest(row.manifest_state, row.manifest_etag, row.manifest_as_of, row.manifest_problem, row.signed)


def _create(airline: Airline, names: list[str], result: CatalogResult) -> dict[str, Campaign]:
    # The database compares case by rules of its own: a row that it does not insert is a name conflict too.
    Campaign.objects.bulk_create(
        (Campaign(airline=airline, name=name, discovered=True) for name in names),
        ignore_conflicts=True,
        batch_size=BATCH,
    )
    rows = _rows(airline)
    for name in names:
        if name in rows:
            result.add_changed(rows[name])
        else:
            result.problems.append(name_conflict(airline.name, name, "another campaign"))
    return rows


def _mark_missing(row: Campaign) -> Campaign | None:
    # The last valid manifest stays current; without its ETag, the same object is read again if it returns.
    return _update(row, manifest_state=ManifestState.MISSING, manifest_problem="", manifest_etag="")


def _update(row: Campaign, **fields: object) -> Campaign | None:
    """Update the row unless another sync changed its manifest since it was read."""
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
    """Fetch manifests, at most `FETCHERS` at once and in memory."""
    names = list(wanted)
    failures = 0
    with ThreadPoolExecutor(FETCHERS, thread_name_prefix="catalog") as pool:
        for start in range(0, len(names), FETCHERS):
            batch = names[start : start + FETCHERS]
            fetched = map_in_threads(pool, lambda name: _fetch(media, wanted[name]), batch, lease)
            for name, response in zip(batch, fetched, strict=True):
                yield name, wanted[name], response
                failures = failures + 1 if isinstance(response, WorldError) and not response.permanent else 0
            if failures >= FAILURES_LIMIT:
                return


def _fetch(media: Bucket, found: ObjectInfo) -> GetResult | BadManifest | WorldError:
    too_long = BadManifest(f"the document is longer than {MANIFEST_LIMIT:,} bytes")
    if found.size > MANIFEST_LIMIT:
        return too_long
    try:
        response = media.get(found.key, MANIFEST_LIMIT)
    except WorldError as exc:
        return exc
    if response is None:
        return WorldError(Code.OBJECT_GONE, f"GET {found.key}: no such object")
    return too_long if response.truncated else response


def _apply_fetched(
    row: Campaign, found: ObjectInfo, response: GetResult | BadManifest | WorldError, result: CatalogResult
) -> Campaign | None:
    """Apply a manifest, or record why it cannot be applied. Return the row if it changed."""
    if isinstance(response, WorldError):
        result.problems.append(ListingProblem("media", found.key, response.code, str(response), found.etag))
        result.failure = result.failure if response.permanent else response
        return None
    if isinstance(response, BadManifest):
        return _refuse(row, found, listed_version(found), found.last_modified, response, result)
    version = version_read(found, response)
    try:
        manifest = parse_manifest(response.body, airline=row.airline.name, campaign=row.name)
    except BadManifest as exc:
        return _refuse(row, found, version, response.last_modified, exc, result)
    return _apply(row, manifest, response, version)


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


def _apply(row: Campaign, manifest: Manifest, fetched: GetResult, version: str) -> Campaign | None:
    """Write the manifest to the campaign and its items in one transaction. Return the row if it changed."""
    with transaction.atomic():
        # The default order joins the airline, which would be locked too: every writer of the feed would wait for it.
        locked = Campaign.objects.select_for_update().filter(pk=row.pk).order_by("pk").first()
        if locked is None or not is_newer(_stored_manifest(locked), version, fetched.last_modified):
            return None
        _apply_items(row, manifest)
        if locked.manifest_state == ManifestState.MISSING:
            row.withdrawn_at = None  # published again, by any means
        row.title = manifest.title[:TITLE_LENGTH]
        row.version = manifest.version
        row.exhibition_starts = manifest.exhibition.starts
        row.exhibition_ends = manifest.exhibition.ends
        row.extra = {
            **manifest.extra,
            **{name: value for name, value in restriction_fields(manifest).items() if value is not None},
        }
        row.items_total = len(manifest.content)
        row.bytes_total = manifest.bytes_total
        row.manifest_state = ManifestState.OK
        row.manifest_problem = ""
        row.manifest_etag = version
        row.manifest_as_of = fetched.last_modified
        row.save(update_fields=WRITTEN)
    return row


def _apply_items(row: Campaign, manifest: Manifest) -> None:
    """Upsert the items that are new or changed, and mark those the manifest omits as not listed."""
    stored = {item.name: item for item in row.items.all()}
    wanted = [_item(row, position, item) for position, item in enumerate(manifest.content)]
    changed = [item for item in wanted if not _same(item, stored.get(item.name))]
    ContentItem.objects.bulk_create(
        changed, update_conflicts=True, unique_fields=["campaign", "name"], update_fields=COMPARED, batch_size=BATCH
    )
    names = {item.name for item in wanted}
    omitted = [[item.pk] for item in stored.values() if item.listed and item.name not in names]
    row.items.filter(where_in(ContentItem, ["id"], omitted)).update(listed=False)


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


def _same(item: ContentItem, stored: ContentItem | None) -> bool:
    return stored is not None and all(getattr(item, name) == getattr(stored, name) for name in COMPARED)
