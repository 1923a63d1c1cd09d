"""The history of a draft, from the audit log: who did what, when. Reads rows only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import Q, QuerySet

from campaigns.models import Draft
from ifeportal.models import AuditEntry

SHOWN: Final = 20
READ: Final = 100  # entries read, because entries without a change are left out
VALUE_LENGTH: Final = 60
REQUESTS: Final = {
    "draft.added": "Created the draft",
    "draft.look": "Started a scan",
    "draft.hash": "Started hashing",
    "draft.publish": "Started the publication",
    "draft.withdraw": "Started the withdrawal",
    "draft.published": "Published",
    "draft.withdrawn": "Withdrew",
    "draft.stop": "Cancelled the job",
}
ITEMS: Final = {
    "draft.put-in": "Included several items",
    "draft.left-out": "Excluded several items",
    "draft.required": "Marked several items as required",
    "draft.not-required": "Marked several items as optional",
    "draft.from-library": "Added items from the library",
}
FIELDS: Final = {
    "title": "title",
    "exhibition_starts": "first day",
    "exhibition_ends": "last day",
    "included": "included",
    "kind": "kind",
    "required": "required",
    "priority": "priority",
}


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """A change: `at` in UTC, `who` made it, what was done."""

    at: datetime
    who: str
    text: str


def read_entries(draft: Draft) -> list[AuditEntry]:
    """Return the newest entries of the audit log on the draft and its items, newest first."""
    of_items = Q(action__startswith="draftitem.", target__endswith=f" of {draft}")
    return list(_entries(draft).filter(Q(target=str(draft)) | of_items)[:READ])


def done_by(draft: Draft) -> dict[str, tuple[str, datetime]]:
    """Return who made the newest request of each kind, and when, by action of the audit log."""
    entries = _entries(draft).filter(target=str(draft), action__in=[*REQUESTS, "draft.changed"])[:READ]
    return {entry.action: (entry.who, entry.at) for entry in reversed(entries)}


def _entries(draft: Draft) -> QuerySet[AuditEntry]:
    # Bounded by the age of the draft, so that the index on airline and time serves it.
    # Each request for an operation has an entry of the draft besides that of the operation.
    entries = AuditEntry.objects.filter(airline=draft.airline, at__gte=draft.created_at)
    return entries.exclude(action__startswith="operation.").order_by("-at", "-pk")


def history(entries: Sequence[AuditEntry]) -> list[HistoryEntry]:
    """Return what the entries say, newest first, without those that changed nothing. Pure."""
    shown = [HistoryEntry(entry.at, entry.who or "the portal", text) for entry in entries if (text := _text(entry))]
    return shown[:SHOWN]


def _text(entry: AuditEntry) -> str:
    if entry.action in REQUESTS:
        return REQUESTS[entry.action] + _version(entry)
    if entry.action in ITEMS:
        return ITEMS[entry.action]
    changes = ", ".join(_change(name, values) for name, values in entry.changes.items())
    if not changes:
        return ""
    what = entry.target.rpartition(" of ")[0] if entry.action.startswith("draftitem.") else ""
    return f"Changed {what}: {changes}" if what else f"Changed {changes}"


def _version(entry: AuditEntry) -> str:
    before, after = (entry.changes.get("manifest_version") or [None, None])[:2]
    version = after if entry.action == "draft.published" else before
    return f" version {version}" if entry.action in ("draft.published", "draft.withdrawn") and version else ""


def _change(name: str, values: Sequence[object]) -> str:
    before, after = (_value(value) for value in values[:2])
    return f"{FIELDS.get(name, name)} from {before} to {after}"


def _value(value: object) -> str:
    if value in (None, ""):
        return "empty"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    return text if len(text) <= VALUE_LENGTH else f"{text[:VALUE_LENGTH]}…"
