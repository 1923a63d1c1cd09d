"""Validates a draft and each of its items, and builds its manifest. Pure, from rows that were read.

The contract's own parser finds what the contract forbids, so that no valid draft is refused later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from campaigns.models import Draft, DraftItem
from loader.contract.manifest import ITEMS_LIMIT, MANIFEST_LIMIT, Manifest, build_manifest, parse_manifest
from loader.contract.names import TGZ, conflict_key
from loader.errors import BadManifest

EXHIBITION = "exhibition"


@dataclass
class ValidationErrors:
    """A sentence for each fault: of the draft as a whole, and of items by their key."""

    general: list[str] = field(default_factory=list)
    items: dict[int, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.general or self.items)


def validate(draft: Draft, items: Sequence[DraftItem]) -> ValidationErrors:
    """Every fault of a draft with these items, chosen or not."""
    faults = ValidationErrors()
    chosen = [item for item in items if item.included]
    if draft.scanned_at is None:
        faults.general.append("Nobody has looked yet what lies in the bucket: look into it.")
    elif not chosen:
        faults.general.append("No item is in it: choose at least one.")
    if len(chosen) > ITEMS_LIMIT:
        faults.general.append(f"{len(chosen):,} items are in it; {ITEMS_LIMIT:,} are allowed.")
    faults.general += _date_errors(draft.exhibition_starts, draft.exhibition_ends)
    for item in chosen:
        if fault := _item_error(item):
            faults.items[item.pk] = fault
    _add_name_conflicts(chosen, faults)
    if not faults:
        faults.general += _manifest_errors(draft, chosen)
    return faults


def _date_errors(starts: date | None, ends: date | None) -> list[str]:
    if starts and ends and ends < starts:
        return [f"The exhibition would end ({ends}) before it starts ({starts})."]
    return []


def _item_error(item: DraftItem) -> str:
    if item.name_error:
        return f"It cannot be in a campaign: {item.name_error}."
    if item.size is None:
        return "It is not in the bucket: upload it and look again, or leave it out."
    if item.is_hashed:
        return ""
    if item.error_code and not item.hash_pending:
        return f"It could not be hashed: {item.error} {item.advice}".strip()
    return "It is not hashed yet." if not item.sha256 else "Its object has changed since it was hashed: hash it again."


def _add_name_conflicts(chosen: Sequence[DraftItem], faults: ValidationErrors) -> None:
    first: dict[str, DraftItem] = {}
    for item in chosen:
        other = first.setdefault(conflict_key(item.name), item)
        if other is not item:
            text = f"It is the same as {other.name!a} but for case or normalisation: leave one of them out."
            faults.items[item.pk] = " ".join(filter(None, [faults.items.get(item.pk, ""), text]))


def _manifest_errors(draft: Draft, chosen: Sequence[DraftItem]) -> list[str]:
    try:
        manifest = build_draft_manifest(draft, chosen)
        length = len(build_manifest(manifest))
    except BadManifest as error:
        return [f"The manifest would be refused: {error}."]
    # Its version may grow by a few digits until it is written.
    if length > MANIFEST_LIMIT - 100:
        return [f"The manifest would have {length:,} bytes; {MANIFEST_LIMIT:,} are allowed."]
    return []


def build_draft_manifest(draft: Draft, chosen: Sequence[DraftItem]) -> Manifest:
    """The manifest the draft makes of these items, without a version. Raises BadManifest."""
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
        "name": item.name + TGZ,  # one ending is taken off again
        "size": item.size,
        "sha256": item.sha256,
        "title": item.title,
        "kind": item.kind,
        "required": item.required,
        "priority": item.priority,
    }
