"""Requests for work on a draft: scan, hash, validate, publish, withdraw, stop. Touches the database only.

A request claims the draft by a conditional update, so the second of two requests is rejected, and submits an operation.
Every function returns a sentence for the user.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from django.db import transaction
from django.db.models import F, Q, Sum
from django.template.defaultfilters import pluralize
from django.utils import timezone

from campaigns.drafts.validation import ValidationErrors, validate
from campaigns.models import NO_ERROR, OPERATION_KINDS, Draft, DraftItem, DraftItemQuerySet, DraftState
from ifeportal.audit import Actor
from ifeportal.operations.models import Operation
from ifeportal.operations.requests import RequestRejected, cancel, submit

BATCH: Final = 500
NO_HASH: Final = {"hashed_bytes": 0, "hash_state": "", "sha256": "", "sha256_etag": "", "crc32": ""}
CAN_STOP: Final = (DraftState.SCANNING, DraftState.HASHING)


def request_scan(draft: Draft, actor: Actor) -> str:
    """Request a scan of the bucket. Raises RequestRejected."""
    with transaction.atomic():
        _claim(draft, DraftState.SCANNING)
        _submit(draft, DraftState.SCANNING, actor)
    return "Scan started."


def request_hash(draft: Draft, actor: Actor) -> str:
    """Request hashing of included items that are not hashed; partial hashes are resumed. Raises RequestRejected."""
    return _request_hash(draft, _items_to_hash(draft), actor)


def request_rehash(draft: Draft, items: DraftItemQuerySet, actor: Actor) -> str:
    """Request hashing of these items from the start, even if they are hashed. Raises RequestRejected."""
    return _request_hash(draft, items.filter(draft=draft, name_error="", size__isnull=False), actor, NO_HASH)


def _request_hash(
    draft: Draft, items: DraftItemQuerySet, actor: Actor, reset: Mapping[str, object] | None = None
) -> str:
    with transaction.atomic():
        _claim(draft, DraftState.HASHING)
        count = _mark_to_hash(items, reset or {})
        _submit(draft, DraftState.HASHING, actor, bytes_to_read(draft))
    return f"Hashing started for {count:,} item{pluralize(count)}."


def _items_to_hash(draft: Draft) -> DraftItemQuerySet:
    return DraftItem.objects.filter(draft=draft).to_hash()


def _mark_to_hash(items: DraftItemQuerySet, reset: Mapping[str, object]) -> int:
    count = items.update(hash_pending=True, **NO_ERROR, **reset)
    if not count:
        raise RequestRejected("Nothing to hash. All included items in the bucket are hashed.")
    return count


def bytes_to_read(draft: Draft) -> int:
    """Return the bytes that hashing still has to read."""
    left = draft.items.filter(hash_pending=True).aggregate(bytes=Sum(F("size") - F("hashed_bytes"), default=0))
    return int(left["bytes"])


def request_publish(draft: Draft, actor: Actor) -> str:
    """Request publication of the draft. Raises RequestRejected, with its problems if it has any."""
    with transaction.atomic():
        _require_valid(draft)
        _claim(draft, DraftState.PUBLISHING)
        _submit(draft, DraftState.PUBLISHING, actor)
    return "Publication started."


def _require_valid(draft: Draft) -> None:
    faults = revalidate(draft)
    if faults:
        raise RequestRejected("Cannot publish. " + format_summary(faults))


def request_withdraw(draft: Draft, actor: Actor) -> str:
    """Request deletion of campaign.json from the bucket. Raises RequestRejected."""
    _require_manifest(draft)
    with transaction.atomic():
        _claim(draft, DraftState.WITHDRAWING)
        _submit(draft, DraftState.WITHDRAWING, actor)
    return "Withdrawal started."


def _require_manifest(draft: Draft) -> None:
    if not draft.manifest_etag:
        raise RequestRejected("Nothing to withdraw. The bucket had no campaign.json at the last scan.")


def request_validation(draft: Draft, actor: Actor) -> str:
    """Validate the draft now. Raises RequestRejected with its problems."""
    faults = revalidate(draft)
    if faults:
        raise RequestRejected(format_summary(faults))
    return "No problems found."


def stop(draft: Draft, actor: Actor) -> str:
    """Request that a scan or hashing ends; finished and partial hashes are preserved. Raises RequestRejected."""
    draft.refresh_from_db()
    if draft.state not in CAN_STOP:
        raise RequestRejected("Nothing to stop. Publishing and withdrawing cannot be stopped.")
    if draft.operation is not None:
        cancel(draft.operation, actor)
        return "Stopping."
    release(draft)
    return "Stopped."


def restart(operation: Operation) -> None:
    """Claim the draft again for an operation that is retried. Raises RequestRejected."""
    draft = Draft.objects.select_related("airline").filter(operation=operation).first()
    if draft is None:
        raise RequestRejected("The draft was deleted or has had other work since. Start the work on its page.")
    state = next(state for state, kind in OPERATION_KINDS.items() if kind == operation.kind)
    if state == DraftState.PUBLISHING:
        _require_valid(draft)
    if state == DraftState.WITHDRAWING:
        _require_manifest(draft)
    _claim(draft, state)
    if state == DraftState.HASHING:
        _mark_to_hash(_items_to_hash(draft), {})
        row = Operation.objects.filter(pk=operation.pk)
        row.update(stage="", bytes_done=0, bytes_total=bytes_to_read(draft))


def release(draft: Draft, **columns: object) -> None:
    """Make a draft idle whose operation has ended, and validate it. `columns` are written with its state."""
    with transaction.atomic():
        Draft.objects.filter(pk=draft.pk).update(state=DraftState.EDITING, **columns)
        draft.items.filter(hash_pending=True).update(hash_pending=False)
        revalidate(draft)


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
        idle.update(state=DraftState.EDITING if faults else DraftState.READY)
        draft.refresh_from_db()
    return faults


def format_summary(faults: ValidationErrors, most: int = 5) -> str:
    """Return the problems as text, at most `most` of items."""
    shown = list(DraftItem.objects.filter(pk__in=list(faults.items)[:most]).values_list("name", "error_text"))
    lines = [*faults.general, *(f"{name}: {fault}" for name, fault in shown)]
    if len(faults.items) > most:
        lines.append(f"More items with problems: {len(faults.items) - most:,}.")
    return " ".join(lines)


REQUESTS: Final[Mapping[str, Callable[[Draft, Actor], str]]] = {
    "look": request_scan,
    "hash": request_hash,
    "check": request_validation,
    "publish": request_publish,
    "withdraw": request_withdraw,
    "stop": stop,
}


def _claim(draft: Draft, state: DraftState) -> None:
    if not Draft.objects.filter(pk=draft.pk).idle().update(state=state):
        raise RequestRejected("A job is working on this draft. Wait until it ends, or stop it.")


def _submit(draft: Draft, state: DraftState, actor: Actor, bytes_total: int | None = None) -> None:
    """Submit the operation of a claimed draft. The pages record who pressed which button."""
    resume = {"draft": draft.pk, "campaign": draft.name}
    kind = OPERATION_KINDS[state]
    operation = submit(
        kind, draft.airline, actor, str(draft), bytes_total=bytes_total, checkpoint=resume, audited=False
    )
    Draft.objects.filter(pk=draft.pk).update(operation=operation)
    draft.refresh_from_db()
