"""Applies a scan of the media bucket to a draft: its items, hashes and manifest. Writes the rows of the draft.

Edited fields are never overwritten. If someone else published meanwhile, the differences are reported.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from django.template.defaultfilters import pluralize

from campaigns.drafts.requests import BATCH, revalidate
from campaigns.drafts.validation import EXHIBITION, build_draft_manifest
from campaigns.hashing import crc32
from campaigns.models import NO_ERROR, Draft, DraftItem, DraftState
from campaigns.publishing.manifest_writer import PublishedState, same_content
from ifeportal.bulk import where_in
from loader.contract.keys import parse_media_key
from loader.contract.manifest import ITEMS_LIMIT, Item, Manifest, restriction_fields
from loader.errors import BadName
from loader.s3.interface import ObjectInfo

INVALID_LIMIT: Final = 1_000  # objects with invalid names that become items
NAMES_IN_NOTICE: Final = 5
OBJECT_FIELDS: Final = ("size", "etag", "modified", "name_error", "sha256", "sha256_etag", "crc32")
OBSERVED_FIELDS: Final = ("position", "in_manifest", "extra", *OBJECT_FIELDS)
PROGRESS_FIELDS: Final = ("hash_pending", "hashed_bytes", "hash_state", *NO_ERROR)
EDITED_FIELDS: Final = ("title", "kind", "required", "priority")


@dataclass
class PrefixContents:
    """The objects of a campaign: items by name, objects with invalid names and the reason, and notices."""

    items: dict[str, ObjectInfo] = field(default_factory=dict)
    invalid: dict[str, tuple[ObjectInfo, str]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)


def classify_objects(published: PublishedState) -> PrefixContents:
    """Sort objects into items and invalid ones, whose names are escaped to ASCII. Pure."""
    found = PrefixContents()
    for key in sorted(published.objects):
        info = published.objects[key]
        try:
            parsed = parse_media_key(key)
        except BadName as error:
            found.invalid[ascii(key.removeprefix(f"{published.airline}/{published.campaign}/"))[:300]] = (
                info,
                str(error),
            )
            continue
        if parsed and parsed.kind == "content":
            found.items[parsed.content] = info
    _limit(found)
    return found


def _limit(found: PrefixContents) -> None:
    if len(found.items) > ITEMS_LIMIT:
        found.notices.append(f"The bucket has {len(found.items):,} items; only the first {ITEMS_LIMIT:,} are listed.")
        found.items = dict(list(found.items.items())[:ITEMS_LIMIT])
    if found.invalid:
        found.notices.append(f"Objects with invalid names: {len(found.invalid):,}.")
        found.invalid = dict(list(found.invalid.items())[:INVALID_LIMIT])


def apply_scan(draft: Draft, published: PublishedState, notices: list[str], now: datetime) -> None:
    """Apply a scan to the draft. Call it in the transaction that ends its operation."""
    found = classify_objects(published)
    rows = {row.name: row for row in draft.items.all()}
    merge = _Merge(draft, rows, published, found)
    merge.run()
    fields = {**_draft_fields(draft, published, now), "notices": [*notices, *found.notices, *merge.notices]}
    Draft.objects.filter(pk=draft.pk).update(state=DraftState.EDITING, **fields)
    merge.write()
    faults = revalidate(draft)
    chosen = draft.items.filter(included=True)
    if (
        not faults
        and published.manifest
        and _same_campaign(published.manifest, build_draft_manifest(draft, list(chosen)))
    ):
        Draft.objects.filter(pk=draft.pk).update(state=DraftState.PUBLISHED)


def _same_campaign(present: Manifest, wanted: Manifest) -> bool:
    """Return whether two manifests have the same content; `present` may omit airline, campaign and schema."""
    schema = wanted.schema if present.schema is None else present.schema
    return same_content(wanted, replace(present, airline=wanted.airline, campaign=wanted.campaign, schema=schema))


def _draft_fields(draft: Draft, published: PublishedState, now: datetime) -> dict[str, object]:
    """Return the columns of the draft after this scan."""
    manifest = published.manifest
    columns: dict[str, object] = {
        "scanned_at": now,
        "manifest_etag": published.etag,
        "manifest_version": published.visible_version if published.fetched else None,
        "version": max(draft.version or 0, published.visible_version) or None,
    }
    if manifest is None:
        return columns
    columns["extra"] = _extra(manifest)
    if draft.scanned_at is None:
        columns["title"] = draft.title or manifest.title[:500]
        columns["exhibition_starts"] = draft.exhibition_starts or manifest.exhibition.starts
        columns["exhibition_ends"] = draft.exhibition_ends or manifest.exhibition.ends
    return columns


def _extra(manifest: Manifest) -> dict[str, object]:
    restrictions = {
        name: value for name, value in restriction_fields(manifest).items() if value is not None and name != "signed_at"
    }
    return {
        **manifest.extra,
        **restrictions,
        **({"schema": manifest.schema} if manifest.schema is not None else {}),
        **({EXHIBITION: dict(manifest.exhibition.extra)} if manifest.exhibition.extra else {}),
    }


class _Merge:
    """Merges the manifest and the objects into the rows of a draft."""

    def __init__(
        self, draft: Draft, rows: dict[str, DraftItem], published: PublishedState, found: PrefixContents
    ) -> None:
        self.draft, self.rows, self.published, self.found = draft, rows, published, found
        self.notices: list[str] = []
        self._in_manifest = {item.name: item for item in published.manifest.content} if published.manifest else {}
        self._positions = {name: position for position, name in enumerate(self._in_manifest)}
        self._next = max([len(self._in_manifest), *(row.position + 1 for row in rows.values())])
        self._changed: list[DraftItem] = []
        self._to_delete: list[list[int]] = []
        self._differ: list[str] = []
        self._added: list[str] = []

    def run(self) -> None:
        """Compute the changes; nothing is written."""
        first = self.draft.scanned_at is None
        include_all = not self.rows and not self._in_manifest
        for name in dict.fromkeys([*self._in_manifest, *self.found.items, *self.found.invalid, *self.rows]):
            self._merge_item(name, include_all)
        if include_all and self.found.items:
            self.notices.append("All items found were included. Exclude the ones that do not belong to the campaign.")
        elif self._added and not first:
            count = len(self._added)
            found = f"{count:,} new item{pluralize(count)} found ({_names(self._added)})."
            self.notices.append(f"{found} Include what belongs to the campaign.")
        if not first and self._differ and self.draft.manifest_etag != self.published.etag:
            count = len(self._differ)
            self.notices.append(
                f"{self.published.latest_change}. This draft differs in {count:,} item{pluralize(count)} "
                f"({_names(self._differ)}). "
                "Publishing it replaces what is in the bucket."
            )

    def write(self) -> None:
        """Upsert the rows that are new or changed, and delete those that are neither in the bucket nor included."""
        for row in self._changed:
            row.pk = None  # the upsert matches rows by name
        DraftItem.objects.bulk_create(
            self._changed,
            update_conflicts=True,
            unique_fields=["draft", "name"],
            update_fields=[*OBSERVED_FIELDS, *PROGRESS_FIELDS],
            batch_size=BATCH,
        )
        self.draft.items.filter(where_in(DraftItem, ["id"], self._to_delete)).delete()

    def _merge_item(self, name: str, include_all: bool) -> None:
        row, item = self.rows.get(name), self._in_manifest.get(name)
        info, problem = self.found.invalid.get(name, (self.found.items.get(name), ""))
        if row is None:
            row = self._new(name, item, included=include_all and not problem)
            if not row.included and not problem:
                self._added.append(name)
            before: tuple[object, ...] | None = None
        else:
            before = tuple(getattr(row, field) for field in OBSERVED_FIELDS)
            if info is None and item is None and not row.included:
                self._to_delete.append([row.pk])
                return
            if (_differs(row, item)) if item is not None else (row.included and row.in_manifest):
                self._differ.append(name)
        self._observe(row, item, info, problem)
        if before != tuple(getattr(row, field) for field in OBSERVED_FIELDS):
            self._changed.append(row)

    def _new(self, name: str, item: Item | None, *, included: bool) -> DraftItem:
        row = DraftItem(draft=self.draft, name=name, included=included)
        if item is None:
            row.position, self._next = self._next, self._next + 1
            return row
        row.position, row.included = self._positions[name], True
        row.title, row.kind = item.title[:500], item.kind[:100]
        row.required, row.priority = item.required, item.priority
        return row

    def _observe(self, row: DraftItem, item: Item | None, info: ObjectInfo | None, problem: str) -> None:
        row.in_manifest, row.name_error = item is not None, problem[:500]
        if item is not None:
            row.extra = {name: value for name, value in item.extra.items() if name != crc32.FIELD}
        etag = info.etag if info else ""
        if row.etag != etag:
            row.hash_pending, row.hashed_bytes, row.hash_state, row.crc32 = False, 0, "", ""
            row.error_code = row.error = row.advice = ""
        row.etag, row.size = etag, info.size if info else None
        row.modified = info.last_modified if info else None
        if info and item and self._is_recorded(item, info):
            recorded = crc32.parse(item.extra.get(crc32.FIELD))
            if row.sha256_etag != etag:
                row.sha256, row.sha256_etag, row.crc32 = item.sha256 or "", etag, recorded
            elif row.sha256 == item.sha256:
                row.crc32 = row.crc32 or recorded

    def _is_recorded(self, item: Item, info: ObjectInfo) -> bool:
        """Return whether the hash in the manifest is that of the object: same size, and not newer than the manifest."""
        fetched = self.published.fetched
        return bool(item.sha256 and fetched and item.size == info.size and info.last_modified <= fetched.last_modified)


def _names(names: list[str]) -> str:
    return ", ".join(names[:NAMES_IN_NOTICE]) + (" …" if len(names) > NAMES_IN_NOTICE else "")


def _differs(row: DraftItem, item: Item) -> bool:
    return not row.included or any(getattr(row, name) != getattr(item, name) for name in EDITED_FIELDS)
