"""Progress of the jobs of a draft, and short texts about it. Pure: a row, its totals and a clock in, text out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.template.defaultfilters import pluralize

from campaigns.drafts.totals import DraftTotals
from campaigns.models import Draft, DraftItem, DraftState
from ifeportal import formatting

WAITING_TOO_LONG: Final = timedelta(seconds=30)
STALLED_AFTER: Final = timedelta(seconds=30)
TASK_TAKES: Final = timedelta(seconds=90)  # longer than the pause after which another worker takes over a task


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a job: whole `percent`, None while the total is unknown; sentences; a `warning` if it stalls."""

    percent: int | None
    text: str
    warning: str = ""


def work_progress(draft: Draft, totals: DraftTotals, now: datetime) -> Progress | None:
    """Return the progress of the job that works on the draft; None if none does."""
    if not draft.busy:
        return None
    percent = totals.percent if draft.state == DraftState.HASHING else None
    by = f" by {draft.requested_by}" if draft.requested_by else ""
    requested = f"Requested {formatting.age(draft.requested_at, now)}{by}."
    if draft.last_worked_at is None:
        return Progress(percent, f"Waiting for a worker. {requested}", _waiting_warning(draft, now))
    if draft.next_try_at and draft.error:
        limit = draft.retry_policy.max_attempts
        text = f"Attempt {min(draft.attempts + 1, limit)} of {limit} starts {formatting.until(draft.next_try_at, now)}."
        return Progress(percent, text, f"The last attempt failed. {draft.error_code}: {draft.error}")
    if percent is not None:
        return Progress(percent, hashing_text(totals), _stall_warning(draft, now))
    return Progress(None, requested, _task_warning(draft, now))


def _waiting_warning(draft: Draft, now: datetime) -> str:
    if draft.requested_at is None or now - draft.requested_at < WAITING_TOO_LONG:
        return ""
    return (
        f"No worker has started since {formatting.age(draft.requested_at, now)}. If this persists, ask an "
        "administrator to check the jobs of the portal."
    )


def _stall_warning(draft: Draft, now: datetime) -> str:
    if draft.last_worked_at and now - draft.last_worked_at > STALLED_AFTER:
        age = formatting.age(draft.last_worked_at, now)
        return f"The last progress was {age}. A worker resumes where it stopped, or another draft has its turn."
    return "No data arrives from the bucket at the moment." if draft.rate_bps == 0 else ""


def _task_warning(draft: Draft, now: datetime) -> str:
    if draft.last_worked_at and now - draft.last_worked_at > TASK_TAKES:
        return f"The attempt started {formatting.age(draft.last_worked_at, now)}. It is repeated if its worker stopped."
    return ""


def hashing_text(totals: DraftTotals) -> str:
    """Return bytes and items hashed, the rate, and the time left where it is known."""
    done, total = formatting.size(totals.bytes_done), formatting.size(totals.bytes_total)
    parts = [f"{done} of {total} ({totals.percent}%)", f"{totals.items_done:,} of {totals.items:,} items"]
    if totals.rate:
        parts += [formatting.rate(totals.rate), f"about {formatting.duration(totals.seconds_left)} left"]
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
        draft.requested_at,
        draft.last_worked_at,
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
        draft.requested_at,
        draft.scanned_at,
        draft.hashed_at,
        draft.published_at,
        draft.withdrawn_at,
        draft.error,
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
