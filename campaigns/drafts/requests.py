"""Requests for work on a draft: scan, hash, publish, withdraw, stop. Touches the database only.

Each request is claimed by a conditional update, so that of two at once one is told that a job works on the draft. `by`
is the user who asks; the job records its change in the audit log as theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models import Q

from campaigns.drafts.validation import ValidationErrors, validate
from campaigns.models import Draft, DraftItem, DraftItemQuerySet, DraftState
from ifeportal.jobs.queue import make_due
from ifeportal.models import User

TASKS_JOB: Final = "run_errands"
HASHING_JOB: Final = "hash_items"
BATCH: Final = 500


class RequestRejected(Exception):
    """What was asked for cannot be done now; `str()` is a sentence that says why."""


def request_scan(draft: Draft, now: datetime, by: User | None = None) -> str:
    """Ask that a job looks what lies in the bucket; what was asked, in words. Raises RequestRejected."""
    _claim(draft, DraftState.SCANNING, now, by, TASKS_JOB)
    return "A job looks what lies in the bucket."


def request_hash(draft: Draft, now: datetime, by: User | None = None) -> str:
    """Ask that what is chosen and not hashed yet is hashed; what was begun goes on. Raises RequestRejected."""
    return _request_hash(draft, DraftItem.objects.filter(draft=draft).to_hash(), now, by, {})


def request_rehash(draft: Draft, items: DraftItemQuerySet, now: datetime, by: User | None = None) -> str:
    """Ask that these items of the draft are hashed from the beginning, whatever is known of them.

    Raises RequestRejected.
    """
    there = items.filter(draft=draft, name_error="", size__isnull=False)
    return _request_hash(draft, there, now, by, {"hashed_bytes": 0, "hash_state": "", "sha256": "", "sha256_etag": ""})


def _request_hash(
    draft: Draft, items: DraftItemQuerySet, now: datetime, by: User | None, reset: dict[str, object]
) -> str:
    with transaction.atomic():
        _claim(draft, DraftState.HASHING, now, by, HASHING_JOB)
        count = items.start_over(hash_pending=True, **reset)
        if not count:
            raise RequestRejected("Nothing is to be hashed: all that is in it and in the bucket has been.")
    return f"A job hashes {count:,} item{'' if count == 1 else 's'}."


def request_publish(draft: Draft, now: datetime, by: User | None = None) -> str:
    """Ask that it is published as it is. Raises RequestRejected with what is wrong with it."""
    with transaction.atomic():
        faults = revalidate(draft)
        if faults:
            raise RequestRejected("It cannot be published: " + format_summary(faults))
        _claim(draft, DraftState.PUBLISHING, now, by, TASKS_JOB)
    return "A job publishes it."


def request_withdraw(draft: Draft, now: datetime, by: User | None = None) -> str:
    """Ask that its campaign.json is taken out of the bucket. Raises RequestRejected."""
    if not draft.manifest_etag:
        raise RequestRejected("There is no campaign.json to withdraw, as far as is known: look into the bucket first.")
    _claim(draft, DraftState.WITHDRAWING, now, by, TASKS_JOB)
    return "A job withdraws it."


def request_validation(draft: Draft, now: datetime, by: User | None = None) -> str:
    """Validate it at once. Raises RequestRejected with what is wrong with it."""
    faults = revalidate(draft)
    if faults:
        raise RequestRejected(format_summary(faults))
    return "Nothing is wrong with it."


def stop(draft: Draft, now: datetime | None = None, by: User | None = None) -> str:
    """Have a job leave off that has written nothing yet; what was hashed is kept. Raises RequestRejected."""
    busy = Draft.objects.filter(pk=draft.pk, state__in=[DraftState.SCANNING, DraftState.HASHING])
    with transaction.atomic():
        if not busy.start_over(state=DraftState.EDITING, rate_bps=None):
            raise RequestRejected(
                "There is nothing to stop: publishing and withdrawing come to their end by themselves."
            )
        draft.items.filter(hash_pending=True).update(hash_pending=False)
        revalidate(draft, edited=True)
    return "Stopped."


def revalidate(draft: Draft, *, edited: bool = False) -> ValidationErrors:
    """Find every fault and write it down; a draft in nobody's work is then ready, or to be edited further.

    What was published or withdrawn stays so unless it was `edited`.
    """
    with transaction.atomic():
        draft.refresh_from_db()
        items = list(draft.items.filter(Q(included=True) | ~Q(error_text="")))
        faults = validate(draft, items)
        changed = [item for item in items if item.error_text != faults.items.get(item.pk, "")]
        for item in changed:
            item.error_text = faults.items.get(item.pk, "")
        DraftItem.objects.bulk_update(changed, ["error_text"], batch_size=BATCH)
        found = {"faults": faults.general, "faulty_items": len(faults.items)}
        Draft.objects.filter(pk=draft.pk).update(**found)
        resting = Draft.objects.filter(pk=draft.pk).idle()
        if not edited:
            resting = resting.exclude(state__in=[DraftState.PUBLISHED, DraftState.WITHDRAWN])
        resting.start_over(state=DraftState.EDITING if faults else DraftState.READY)
        draft.refresh_from_db()
    return faults


def format_summary(faults: ValidationErrors, most: int = 5) -> str:
    """The faults in a few sentences."""
    shown = list(DraftItem.objects.filter(pk__in=list(faults.items)[:most]).values_list("name", "error_text"))
    lines = [*faults.general, *(f"{name}: {fault}" for name, fault in shown)]
    if len(faults.items) > most:
        lines.append(f"And {len(faults.items) - most:,} more items have a fault.")
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
    resting = Draft.objects.filter(pk=draft.pk).idle()
    if not resting.start_over(state=state, requested_at=now, requested_by=by, last_worked_at=None, rate_bps=None):
        raise RequestRejected("A job works on it: wait until it has ended, or stop it.")
    draft.refresh_from_db()
    transaction.on_commit(lambda: make_due(job))
