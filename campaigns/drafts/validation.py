"""Validates a draft and its items, and builds its manifest. Pure: works on rows that were read.

The parser of the contract checks the manifest, so aircraft accept every valid draft.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from campaigns.hashing import crc32
from campaigns.models import HASH_OUTDATED, NOT_HASHED, Draft, DraftItem
from loader.contract.manifest import ITEMS_LIMIT, MANIFEST_LIMIT, Manifest, build_manifest, parse_manifest
from loader.contract.names import TGZ, conflict_key
from loader.errors import BadManifest

EXHIBITION: Final = "exhibition"
NOT_SCANNED: Final = "The bucket has not been scanned yet. Scan it."
NO_ITEMS: Final = "No items are included. Include at least one."
REFUSED: Final = "Aircraft would refuse the manifest: "


@dataclass
class ValidationErrors:
    """Problems as sentences: of the draft itself, and of items by primary key."""

    general: list[str] = field(default_factory=list)
    items: dict[int, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.general or self.items)


def validate(draft: Draft, items: Sequence[DraftItem]) -> ValidationErrors:
    """Return every problem of a draft with these items; excluded items are ignored."""
    faults = ValidationErrors()
    chosen = [item for item in items if item.included]
    if draft.scanned_at is None:
        faults.general.append(NOT_SCANNED)
    elif not chosen:
        faults.general.append(NO_ITEMS)
    if len(chosen) > ITEMS_LIMIT:
        faults.general.append(f"{len(chosen):,} items are included; the limit is {ITEMS_LIMIT:,}.")
    faults.general += date_errors(draft.exhibition_starts, draft.exhibition_ends)
    for item in chosen:
        if fault := _item_error(item):
            faults.items[item.pk] = fault
    _add_name_conflicts(chosen, faults)
    if not faults:
        faults.general += _manifest_errors(draft, chosen)
    return faults


def date_errors(starts: date | None, ends: date | None) -> list[str]:
    """Return the problems of the first and last day."""
    if starts and ends and ends < starts:
        return [f"The exhibition ends ({ends}) before it starts ({starts})."]
    return []


def _item_error(item: DraftItem) -> str:
    if item.name_error:
        return f"This item cannot be published: {item.name_error}. Rename the object and scan again, or exclude it."
    if item.size is None:
        return "Not in the bucket. Upload it and scan again, or exclude it."
    if item.is_hashed:
        return ""
    if item.error_code and not item.hash_pending:
        return f"Hashing failed: {item.error.rstrip('.')}. {item.advice}".strip()
    return HASH_OUTDATED if item.sha256 else NOT_HASHED


def _add_name_conflicts(chosen: Sequence[DraftItem], faults: ValidationErrors) -> None:
    first: dict[str, DraftItem] = {}
    for item in chosen:
        other = first.setdefault(conflict_key(item.name), item)
        if other is not item:
            text = f"The name differs from {other.name!a} only in case or normalisation. Exclude one of them."
            faults.items[item.pk] = " ".join(filter(None, [faults.items.get(item.pk, ""), text]))


def _manifest_errors(draft: Draft, chosen: Sequence[DraftItem]) -> list[str]:
    try:
        manifest = build_draft_manifest(draft, chosen)
        length = len(build_manifest(manifest))
    except BadManifest as error:
        return [f"{REFUSED}{error}."]
    # The version is not written yet, and may have more digits by then.
    if length > MANIFEST_LIMIT - 100:
        return [f"The manifest would have {length:,} bytes; the limit is {MANIFEST_LIMIT:,}."]
    return []


def build_draft_manifest(draft: Draft, chosen: Sequence[DraftItem]) -> Manifest:
    """Return the manifest of the draft with these items, without a version. Raises BadManifest."""
    extra = dict(draft.extra)
    exhibition = dict(extra.pop(EXHIBITION, {}))
    for name, day in (("starts", draft.exhibition_starts), ("ends", draft.exhibition_ends)):
        if day is not None:
            exhibition[name] = day.isoformat()
    document = {
        "schema": 1,
        **extra,
        "airline": draft.airline.name,
        "campaign": draft.name,
        "title": draft.title,
        **({EXHIBITION: exhibition} if exhibition else {}),
        "content": [_entry(item) for item in chosen],
    }
    body = json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return parse_manifest(body, airline=draft.airline.name, campaign=draft.name)


def _entry(item: DraftItem) -> Mapping[str, object]:
    return {
        **item.extra,
        "name": item.name + TGZ,  # the parser removes one suffix
        "size": item.size,
        "sha256": item.sha256,
        **({crc32.FIELD: item.crc32} if item.crc32 else {}),
        "title": item.title,
        "kind": item.kind,
        "required": item.required,
        "priority": item.priority,
    }
