"""The queue of operations: read who waits, admit who fits, publish positions. Touches the database only.

One worker at a time admits: it locks the row of `OperationQueue` until its transaction ends.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import Count, F, Q, QuerySet, Sum, Value
from django.db.models.functions import Coalesce

from ifeportal import bulk
from ifeportal.operations.admission import rules
from ifeportal.operations.admission.rules import Candidate, KindLimits, Running, Situation, SpaceLeft
from ifeportal.operations.feed import publish_rows
from ifeportal.operations.kinds import Kind, registered_kinds, related_rows
from ifeportal.operations.models import Operation, OperationQuerySet, OperationQueue, OperationState

PAGE: Final = 50  # candidates of the queue that one admission considers; workers admit again and again
DUE_PAGE: Final = 100  # operations whose wait is over
PUBLISHED: Final = 100  # the first operations of the queue, whose positions are published when they change
PUBLISH_INTERVAL: Final = timedelta(seconds=1)
QUEUE_ID: Final = 1
WAITING_STATES: Final = (OperationState.QUEUED, OperationState.WAITING)
COLUMNS: Final = (
    *("pk", "kind", "airline", "user", "lane", "priority", "queued_at", "reserved_bytes", "started_at"),
    *("state", "waiting_for"),
)


def lock_queue(now: datetime) -> None:
    """Lock the queue until the transaction ends."""
    rows = OperationQueue.objects.filter(pk=QUEUE_ID)
    if not rows.update(admitted_at=now):
        OperationQueue.objects.bulk_create([OperationQueue(pk=QUEUE_ID)], ignore_conflicts=True)
        rows.update(admitted_at=now)


def request_admission() -> None:
    """Make the next worker admit operations, because one was requested."""
    OperationQueue.objects.filter(pk=QUEUE_ID).update(admitted_at=None)


def admit(now: datetime) -> list[int]:
    """Start what fits: set the state RUNNING. Return the ids of the operations that changed; publish them.

    Call it in a transaction that has locked the queue.
    """
    situation = read_situation(now)
    rows = _candidates(situation)
    decision = rules.decide([_candidate(row) for row in rows.values()], situation)
    admitted = list(decision.admitted)
    left = [row for pk, row in rows.items() if pk not in decision.admitted]
    queued = [row["pk"] for row in left if row["state"] == OperationState.WAITING]
    if admitted:
        _start(admitted, now)
    if queued:
        _enqueue(queued, now)
    if admitted or queued or any(not row["waiting_for"] for row in left):
        OperationQueue.objects.filter(pk=QUEUE_ID).update(is_changed=True)
    return admitted + queued


def read_situation(now: datetime) -> Situation:
    """Read what runs and the limits, in one statement and one for each space."""
    kinds = registered_kinds()
    begun = list(_begun())
    return Situation(
        total=settings.OPERATIONS_AT_ONCE,
        kinds={name: _limits(kind) for name, kind in kinds.items()},
        running=[Running(*key, row["number"], row["patient"]) for row in begun if (key := _key(row)) and row["number"]],
        spaces=_spaces(kinds, begun),
        now=now,
    )


def publish_queue_if_changed(now: datetime) -> None:
    """Publish the first operations of the queue, with their positions and reasons, once a PUBLISH_INTERVAL at most."""
    stale = Q(published_at=None) | Q(published_at__lte=now - PUBLISH_INTERVAL) | Q(published_at__gt=now)
    with transaction.atomic():
        changed = OperationQueue.objects.filter(stale, pk=QUEUE_ID, is_changed=True)
        if changed.update(is_changed=False, published_at=now):
            _publish_queue(now)


def _publish_queue(now: datetime) -> None:
    rows = list(Operation.objects.in_queue().select_related(*related_rows())[:PUBLISHED])
    known = {row.pk: _candidate(_values(row)) for row in rows if row.kind in registered_kinds()}
    reasons = rules.decide(list(known.values()), read_situation(now)).reasons
    changed = [(row.pk, reasons.get(row.pk, "")) for row in rows if row.waiting_for != reasons.get(row.pk, "")]
    if changed:
        bulk.update(Operation, ["waiting_for"], sorted(changed))
    for row in rows:
        row.waiting_for = reasons.get(row.pk, "")
    publish_rows(rows, {row.pk: position for position, row in enumerate(rows, 1)})


def _begun() -> QuerySet[Operation, Any]:
    """Return the open operations that were admitted once, by kind, airline and user: how many run, what is reserved."""
    running = Q(state=OperationState.RUNNING)
    patient = running & Q(started_at__gte=F("queued_at") + rules.PATIENCE)
    return (
        Operation.objects.filter(started_at__isnull=False, finished_at=None)
        .order_by()
        .values("kind", "airline", "user")
        .annotate(number=Count("pk", running), patient=Count("pk", patient), reserved=Sum("reserved_bytes"))
    )


def _key(row: Mapping[str, Any]) -> tuple[str, int, int | None]:
    return row["kind"], row["airline"], row["user"]


def _limits(kind: Kind) -> KindLimits:
    caps = kind.caps
    name = kind.space.name if kind.space else ""
    return KindLimits(caps.total, caps.per_airline, caps.per_user, name, kind.frees_space)


def _spaces(kinds: Mapping[str, Kind], begun: Iterable[Mapping[str, Any]]) -> dict[str, SpaceLeft]:
    found = {}
    for space in {kind.space for kind in kinds.values() if kind.space is not None}:
        limit = space.limit()
        if limit is not None:
            users = {name for name, kind in kinds.items() if kind.space == space}
            reserved = sum(row["reserved"] for row in begun if row["kind"] in users)
            found[space.name] = SpaceLeft(limit, limit - space.used() - reserved)
    return found


def _candidates(situation: Situation) -> dict[int, dict[str, Any]]:
    """Return a bounded number of operations that could start, in one statement.

    The first of the queue, the first that fit the space, deletions, those that waited longest, and those whose wait is
    over. All are within the caps as they are now.
    """
    usage = rules.Usage.of(situation.running)
    if usage.number >= situation.total:
        return {}
    known = Operation.objects.filter(kind__in=situation.kinds, cancel_requested_at=None)
    rows = _within_caps(known, situation, usage)
    queued = rows.filter(state=OperationState.QUEUED)
    in_order = queued.order_by("lane", "-priority", "queued_at", "pk")
    pages = [
        in_order[:PAGE],
        queued.filter(queued_at__lte=situation.now - rules.PATIENCE).order_by("queued_at", "pk")[:PAGE],
        rows.due_again(situation.now).order_by("next_try_at", "pk")[:DUE_PAGE],
    ]
    if situation.spaces:
        freeing = [name for name, limits in situation.kinds.items() if limits.frees_space]
        pages += [_fitting(in_order, situation)[:PAGE], in_order.filter(kind__in=freeing)[:PAGE]]
    first, *others = (Operation.objects.filter(pk__in=page.values("pk")).order_by().values(*COLUMNS) for page in pages)
    return {row["pk"]: row for row in first.union(*others)}


def _within_caps(rows: OperationQuerySet, situation: Situation, usage: rules.Usage) -> OperationQuerySet:
    """Leave out operations whose cap is reached."""
    for name, limits in situation.kinds.items():
        if _is_reached(usage.kinds[name], limits.total):
            rows = rows.exclude(kind=name)
            continue
        for column, numbers, cap in (
            ("airline", usage.airlines, limits.per_airline),
            ("user", usage.users, limits.per_user),
        ):
            full = [key[1] for key, number in numbers.items() if key[0] == name and _is_reached(number, cap)]
            if full:
                rows = rows.exclude(Q(kind=name) & _is_one_of(column, full))
    return rows


def _is_reached(number: int, cap: int | None) -> bool:
    return cap is not None and number >= cap


def _is_one_of(column: str, ids: Collection[int | None]) -> Q:
    known = Q(**{f"{column}__in": [each for each in ids if each is not None]})
    return known | Q(**{column: None}) if None in ids else known


def _fitting(rows: OperationQuerySet, situation: Situation) -> OperationQuerySet:
    """Leave out operations that need more space than is free."""
    for name, space in situation.spaces.items():
        users = [kind for kind, limits in situation.kinds.items() if limits.space == name]
        rows = rows.exclude(kind__in=users, started_at=None, reserved_bytes__gt=max(space.free, 0))
    return rows


def _candidate(row: Mapping[str, Any]) -> Candidate:
    needs = row["reserved_bytes"] if row["started_at"] is None else 0  # otherwise the space is reserved already
    names = ("pk", "kind", "airline", "user", "lane", "priority", "queued_at")
    return Candidate(**{name: row[name] for name in names}, needs=needs)


def _values(row: Operation) -> dict[str, Any]:
    return {name: getattr(row, {"airline": "airline_id", "user": "user_id"}.get(name, name)) for name in COLUMNS}


def _start(pks: Sequence[int], now: datetime) -> None:
    """Set the state RUNNING. The first slice is due at once."""
    Operation.objects.filter(pk__in=pks, state__in=WAITING_STATES, cancel_requested_at=None).update(
        state=OperationState.RUNNING,
        started_at=Coalesce("started_at", Value(now)),
        next_try_at=now,
        waiting_for="",
        updated_at=now,
    )


def _enqueue(pks: Sequence[int], now: datetime) -> None:
    """Put operations back into the queue, in their old place, whose wait is over but which cannot start."""
    due = Operation.objects.filter(pk__in=pks).due_again(now)
    due.update(state=OperationState.QUEUED, next_try_at=None, waiting_for="", updated_at=now)


def slice_due(lane: int, now: datetime) -> datetime:
    """Return the time that orders the next slice of a running operation: later for a higher lane, so none starves."""
    return now + timedelta(seconds=lane)
