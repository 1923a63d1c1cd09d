"""Progress of the operation on a draft, and short texts about it. Pure: rows, totals and a clock in, text out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.template.defaultfilters import pluralize

from campaigns.drafts.totals import DraftTotals
from campaigns.models import Draft, DraftItem, DraftState
from ifeportal import formatting
from ifeportal.operations.models import Operation, OperationState
from ifeportal.operations.serialization import eta_seconds, percent

WAITING_TOO_LONG: Final = timedelta(seconds=30)
STALLED_AFTER: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of an operation: whole `percent`, None while unknown; sentences; a `warning` if it stalls."""

    percent: int | None
    text: str
    warning: str = ""


def work_progress(draft: Draft, totals: DraftTotals, now: datetime) -> Progress | None:
    """Return the progress of the operation on the draft; None if none is open."""
    operation = draft.operation
    if not draft.busy or operation is None:
        return None
    done = percent(operation)
    by = f" by {operation.user}" if operation.user else ""
    requested = f"Requested {formatting.age(operation.created_at, now)}{by}."
    if operation.cancel_requested_at is not None:
        return Progress(done, f"Is being cancelled. {requested}", _stall_warning(operation, now))
    if operation.state == OperationState.WAITING and operation.error:
        limit = operation.retry_policy.max_attempts
        pause = formatting.until(operation.next_try_at, now)
        text = f"Attempt {min(operation.attempts + 1, limit)} of {limit} starts {pause}."
        return Progress(done, text, f"The last attempt failed. {operation.error_code}: {operation.error}")
    if operation.fence == 0:
        reason = operation.waiting_for or "Waiting for a worker."
        return Progress(done, f"{reason} {requested}", _waiting_warning(operation, now))
    if draft.state == DraftState.HASHING:
        return Progress(done, hashing_text(operation, totals), _stall_warning(operation, now))
    return Progress(
        done, f"{operation.stage}. {requested}" if operation.stage else requested, _stall_warning(operation, now)
    )


def _waiting_warning(operation: Operation, now: datetime) -> str:
    if operation.waiting_for or now - operation.created_at < WAITING_TOO_LONG:
        return ""
    return (
        f"No worker has started since {formatting.age(operation.created_at, now)}. If this persists, ask an "
        "administrator to check the jobs of the portal."
    )


def _stall_warning(operation: Operation, now: datetime) -> str:
    if now - operation.updated_at > STALLED_AFTER:
        age = formatting.age(operation.updated_at, now)
        return f"The last progress was {age}. A worker resumes where it stopped, or another operation has its turn."
    return "No data arrives from the bucket at the moment." if operation.rate_bps == 0 else ""


def hashing_text(operation: Operation, totals: DraftTotals) -> str:
    """Return bytes and items hashed, the rate, and the time left where it is known."""
    parts = [f"{totals.items_done:,} of {totals.items:,} items"]
    if operation.bytes_total:
        done, total = formatting.size(operation.bytes_done), formatting.size(operation.bytes_total)
        parts.insert(0, f"{done} of {total} ({percent(operation)}%)")
    seconds = eta_seconds(operation)
    if operation.rate_bps and seconds is not None:
        parts += [formatting.rate(operation.rate_bps), f"about {formatting.duration(seconds)} left"]
    return ", ".join(parts)


def item_hashing_text(item: DraftItem) -> str:
    """Return how much of an item is hashed, and the error of the last attempt."""
    text = f"{item.name}: {formatting.size(item.hashed_bytes)} of {formatting.size(item.size)}"
    return f"{text}. {item.error_code}: {item.error}" if item.error else text


def manifest_text(draft: Draft) -> str:
    """Return what the last scan found of campaign.json."""
    if draft.manifest_etag:
        return f"Version {draft.manifest_version}" if draft.manifest_version else "A campaign.json without a version"
    return "No campaign.json" if draft.scanned_at else "Not scanned yet"


def changes_text(draft: Draft, totals: DraftTotals) -> str:
    """Return how the draft differs from the manifest in the bucket."""
    if not draft.manifest_etag:
        return "Nothing is published"
    changes = [
        f"{count:,} item{pluralize(count)} {word}"
        for count, word in ((totals.new, "added"), (totals.leaving, "removed"))
        if count
    ]
    if changes:
        return ", ".join(changes)
    return "None" if draft.state == DraftState.PUBLISHED else "No items added or removed"


def updated_at(draft: Draft) -> datetime:
    """Return when a person or a job last changed the draft."""
    times = (
        draft.edited_at,
        draft.operation.updated_at if draft.operation else None,
        draft.scanned_at,
        draft.hashed_at,
        draft.published_at,
        draft.withdrawn_at,
    )
    return max([draft.created_at, *filter(None, times)])


def revision(draft: Draft) -> str:
    """Return a short text that changes whenever a person or a job changes what the page of the draft shows."""
    facts = (
        draft.state,
        draft.edited_at,
        draft.operation_id,
        draft.scanned_at,
        draft.hashed_at,
        draft.published_at,
        draft.withdrawn_at,
        draft.error,
        bool(draft.operation and draft.operation.cancel_requested_at),
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
