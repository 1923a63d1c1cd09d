"""Requests for work on a draft: scan, hash, validate, publish, withdraw, stop. Touches the database only.

A request claims the draft by a conditional update, so the second of two requests is rejected. `by` is the user who
requests it; the job logs its change as theirs. Every function returns a sentence for the user.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models import Q
from django.template.defaultfilters import pluralize
from django.utils import timezone

from campaigns.drafts.validation import ValidationErrors, validate
from campaigns.models import Draft, DraftItem, DraftItemQuerySet, DraftState
from ifeportal.jobs.queue import make_due
from ifeportal.models import User

TASKS_JOB: Final = "run_errands"
HASHING_JOB: Final = "hash_items"
BATCH: Final = 500


class RequestRejected(Exception):
    """The work cannot be done now; `str()` is a sentence that says why."""


def request_scan(draft: Draft, now: datetime, by: User | None = None) -> str:
    """Request a scan of the bucket. Raises RequestRejected."""
    _claim(draft, DraftState.SCANNING, now, by, TASKS_JOB)
    return "Scan started."


def request_hash(draft: Draft, now: datetime, by: User | None = None) -> str:
    """Request hashing of included items that are not hashed; partial hashes are resumed. Raises RequestRejected."""
    return _request_hash(draft, DraftItem.objects.filter(draft=draft).to_hash(), now, by, {})


def request_rehash(draft: Draft, items: DraftItemQuerySet, now: datetime, by: User | None = None) -> str:
    """Request hashing of these items from the start, even if they are hashed. Raises RequestRejected."""
    usable = items.filter(draft=draft, name_error="", size__isnull=False)
    return _request_hash(draft, usable, now, by, {"hashed_bytes": 0, "hash_state": "", "sha256": "", "sha256_etag": ""})


def _request_hash(
    draft: Draft, items: DraftItemQuerySet, now: datetime, by: User | None, reset: dict[str, object]
) -> str:
    with transaction.atomic():
        _claim(draft, DraftState.HASHING, now, by, HASHING_JOB)
        count = items.start_over(hash_pending=True, **reset)
        if not count:
            raise RequestRejected("Nothing to hash. All included items in the bucket are hashed.")
    return f"Hashing started for {count:,} item{pluralize(count)}."


def request_publish(draft: Draft, now: datetime, by: User | None = None) -> str:
    """Request publication of the draft. Raises RequestRejected, with its problems if it has any."""
    with transaction.atomic():
        faults = revalidate(draft)
        if faults:
            raise RequestRejected("Cannot publish. " + format_summary(faults))
        _claim(draft, DraftState.PUBLISHING, now, by, TASKS_JOB)
    return "Publication started."


def request_withdraw(draft: Draft, now: datetime, by: User | None = None) -> str:
    """Request deletion of campaign.json from the bucket. Raises RequestRejected."""
    if not draft.manifest_etag:
        raise RequestRejected("Nothing to withdraw. The bucket had no campaign.json at the last scan.")
    _claim(draft, DraftState.WITHDRAWING, now, by, TASKS_JOB)
    return "Withdrawal started."


def request_validation(draft: Draft, now: datetime, by: User | None = None) -> str:
    """Validate the draft now. Raises RequestRejected with its problems."""
    faults = revalidate(draft)
    if faults:
        raise RequestRejected(format_summary(faults))
    return "No problems found."


def stop(draft: Draft, now: datetime | None = None, by: User | None = None) -> str:
    """Stop a scan or hashing; finished and partial hashes are preserved. Raises RequestRejected."""
    busy = Draft.objects.filter(pk=draft.pk, state__in=[DraftState.SCANNING, DraftState.HASHING])
    with transaction.atomic():
        if not busy.start_over(state=DraftState.EDITING, rate_bps=None):
            raise RequestRejected("Nothing to stop. Publishing and withdrawing cannot be stopped.")
        draft.items.filter(hash_pending=True).update(hash_pending=False)
        revalidate(draft, edited=True)
    return "Stopped."


def revalidate(draft: Draft, *, edited: bool = False) -> ValidationErrors:
    """Find and store all problems of a draft and its items. Return them.

    An idle draft becomes ready or incomplete. A published or withdrawn one keeps its state unless it was `edited`.
    """
    with transaction.atomic():
        draft.refresh_from_db()
        items = list(draft.items.filter(Q(included=True) | ~Q(error_text="")))
        faults = validate(draft, items)
        changed = [item for item in items if item.error_text != faults.items.get(item.pk, "")]
        for item in changed:
            item.error_text = faults.items.get(item.pk, "")
        DraftItem.objects.bulk_update(changed, ["error_text"], batch_size=BATCH)
        columns: dict[str, object] = {"faults": faults.general, "faulty_items": len(faults.items)}
        if edited:
            columns["edited_at"] = timezone.now()
        Draft.objects.filter(pk=draft.pk).update(**columns)
        idle = Draft.objects.filter(pk=draft.pk).idle()
        if not edited:
            idle = idle.exclude(state__in=[DraftState.PUBLISHED, DraftState.WITHDRAWN])
        idle.start_over(state=DraftState.EDITING if faults else DraftState.READY)
        draft.refresh_from_db()
    return faults


def format_summary(faults: ValidationErrors, most: int = 5) -> str:
    """Return the problems as text, at most `most` of items."""
    shown = list(DraftItem.objects.filter(pk__in=list(faults.items)[:most]).values_list("name", "error_text"))
    lines = [*faults.general, *(f"{name}: {fault}" for name, fault in shown)]
    if len(faults.items) > most:
        lines.append(f"More items with problems: {len(faults.items) - most:,}.")
    return " ".join(lines)


REQUESTS: Final[Mapping[str, Callable[[Draft, datetime, User | None], str]]] = {
    "look": request_scan,
    "hash": request_hash,
    "check": request_validation,
    "publish": request_publish,
    "withdraw": request_withdraw,
    "stop": stop,
}


def _claim(draft: Draft, state: DraftState, now: datetime, by: User | None, job: str) -> None:
    idle = Draft.objects.filter(pk=draft.pk).idle()
    columns = {"requested_at": now, "requested_by": by, "requested_work": state}
    if not idle.start_over(state=state, last_worked_at=None, rate_bps=None, **columns):
        raise RequestRejected("A job is working on this draft. Wait until it ends, or stop it.")
    draft.refresh_from_db()
    transaction.on_commit(lambda: make_due(job))
