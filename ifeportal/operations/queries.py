"""Queries of operations that the API, pages and the admin share. Reads operations and the tables of their kinds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.db.models import Count, F, Q, Subquery, Value, Window
from django.db.models.functions import RowNumber

from ifeportal.operations.kinds import registered_kinds, related_rows
from ifeportal.operations.models import OPEN_STATES, Operation, OperationQuerySet, OperationState

OPEN: Final = "open"  # the status word of every operation that has not ended
QUEUE_ORDER: Final = (F("lane").asc(), F("priority").desc(), F("queued_at").asc(), F("id").asc())


def visible_operations(user: AbstractUser | AnonymousUser) -> OperationQuerySet:
    """Return the operations of the user's airlines, joined with what `operation_state` reads."""
    return Operation.objects.visible_to(user).select_related(*related_rows())


def status_words() -> list[str]:
    """Return the words that `status_condition` takes: "open", the states, and the words of the kinds."""
    words = (word for kind in registered_kinds().values() for word in kind.statuses)
    return list(dict.fromkeys([OPEN, *OperationState.values, *sorted(words)]))


def status_condition(word: str) -> Q:
    """Return the condition of operations with this status word, which may be a state or a kind's own word."""
    condition = Q(state__in=OPEN_STATES) if word == OPEN else Q(state=word)
    for kind in registered_kinds().values():
        if word in kind.statuses:
            condition |= Q(kind=kind.name) & kind.statuses[word]
    return condition


def set_positions(rows: Iterable[Operation]) -> None:
    """Set `queue_position` of the rows: one query if any of them is queued."""
    queued = [row for row in rows if row.state == OperationState.QUEUED]
    positions = queue_positions([row.pk for row in queued]) if queued else {}
    for row in queued:
        row.queue_position = positions.get(row.pk)


def queue_positions(ids: list[int]) -> Mapping[int, int]:
    """Return the place in the queue of these operations, by id."""
    queue = Operation.objects.filter(state=OperationState.QUEUED).order_by()
    numbered = queue.annotate(place=Window(RowNumber(), order_by=list(QUEUE_ORDER)))
    # Of a conjunction Django would apply the ids before the rows are numbered.
    chosen = numbered.filter(Q(pk__in=ids, place__gt=0) | Q(place__lt=0))
    return dict(chosen.values_list("pk", "place"))


def open_count_subquery(user: AbstractUser | AnonymousUser) -> Subquery:
    """Return the number of the user's visible operations that have not ended, as a column; None for none."""
    counted = Operation.objects.visible_to(user).open().order_by().values(one=Value(1))
    return Subquery(counted.annotate(count=Count("pk")).values("count"))
