"""Texts about a draft for its page in the admin. Pure: a row, its totals and a clock in, text out."""

from __future__ import annotations

from datetime import datetime

from django.template.defaultfilters import pluralize

from campaigns.drafts.totals import DraftTotals
from campaigns.models import Draft, DraftItem
from ifeportal import formatting


def activity_text(draft: Draft, now: datetime) -> str:
    """Return when the current work was requested, and which attempt it is."""
    sentences = [f"Requested {formatting.age(draft.requested_at, now)}."]
    if draft.attempts > 1:
        sentences.append(f"Attempt {draft.attempts} of {draft.retry_policy.max_attempts}.")
    if draft.next_try_at and draft.error:
        sentences.append(f"Next attempt {formatting.until(draft.next_try_at, now)}.")
    return " ".join([*sentences, "This page updates automatically."])


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
        return f"Version {draft.manifest_version}" if draft.manifest_version else "No version"
    return "No campaign.json" if draft.scanned_at else "Not scanned yet"


def changes_text(totals: DraftTotals) -> str:
    """Return how many items publishing adds to the manifest and removes from it."""
    changes = [
        f"{count:,} item{pluralize(count)} {word}"
        for count, word in ((totals.new, "added"), (totals.leaving, "removed"))
        if count
    ]
    return ", ".join(changes) or "No items added or removed"
