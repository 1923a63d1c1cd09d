"""Writer of the change feed: a change is published in the transaction that makes it.

May touch only the feed's own tables. Revisions come from one counter row. `request_publish` takes its lock as the last
act of the writer's transaction and holds it until the commit, so revisions become visible in the order of their
numbers: who has read up to revision N will never see an N or less appear afterwards. A plain sequence cannot promise
that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from django.db import transaction
from django.db.models import F
from django.db.transaction import TransactionManagementError

from ifeportal.bulk import upsert
from ifeportal.live.models import Change, Counter

COUNTER_ID = 1
COLUMNS = ["rev", "op", "airline_id", "tail", "campaign", "state"]


@dataclass(frozen=True)
class FeedChange:
    """The newest state of one object, as the API would show it. `object` is its row's id, `tail` and `campaign` names.

    `state` must be ready for JSON. A "delete" needs none.
    """

    topic: str
    object: int
    airline_id: int
    tail: str = ""
    campaign: str = ""
    state: Mapping[str, Any] = field(default_factory=dict)
    op: Literal["put", "delete"] = "put"


def publish(changes: Sequence[FeedChange]) -> int | None:
    """Record the changes under one new revision, and return it; None if there are none.

    Call it last inside `transaction.atomic()`: every other publisher waits from here to the commit. Of several changes
    of one object the last counts. Raises TransactionManagementError outside a transaction.
    """
    if not transaction.get_connection().in_atomic_block:
        raise TransactionManagementError("publish() belongs inside transaction.atomic(), as its last act")
    if not changes:
        return None
    rev = _next_rev()
    newest = {(change.topic, change.object): change for change in changes}
    upsert(Change, ["topic", "object"], COLUMNS, [_row(change, rev) for change in newest.values()])
    return rev


def current_rev() -> int:
    """The newest committed revision. Read it before the rows of a page, so that the page misses nothing."""
    return Counter.objects.filter(pk=COUNTER_ID).values_list("rev", flat=True).first() or 0


def _next_rev() -> int:
    """Lock the counter row until the transaction ends, raise it and return it."""
    counter = Counter.objects.filter(pk=COUNTER_ID)
    if not counter.update(rev=F("rev") + 1):
        # The first publication ever. Whoever else inserts the row at the same moment makes this insert wait, then skip.
        Counter.objects.bulk_create([Counter(pk=COUNTER_ID, rev=0)], ignore_conflicts=True)
        counter.update(rev=F("rev") + 1)
    return counter.values_list("rev", flat=True).get()


def _row(change: FeedChange, rev: int) -> tuple[Any, ...]:
    place = change.airline_id, change.tail, change.campaign
    return change.topic, change.object, rev, change.op, *place, dict(change.state)
