"""Writer of the change feed: a change is published in the transaction that makes it.

Touches only the feed's own tables. Revisions come from one counter row. `publish` locks it as the last step of the
writer's transaction, until the commit, so revisions become visible in the order of their numbers: after a reader has
read up to revision N, no revision of N or less appears. A database sequence does not guarantee that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from django.db import transaction
from django.db.models import F, Subquery
from django.db.transaction import TransactionManagementError

from ifeportal.access import Role
from ifeportal.bulk import upsert, where_in
from ifeportal.live.models import Change, Counter
from ifeportal.live.registry import registered_topics
from ifeportal.wakeups import CHANGES, notification

COUNTER_ID = 1
COLUMNS = ["rev", "op", "airline_id", "tail", "campaign", "min_role", "user_id", "retracted_from", "state"]
Key = tuple[str, int]  # topic, object


@dataclass(frozen=True)
class FeedChange:
    """The newest state of one object, as the API would show it. `object` is its row's id, `tail` and `campaign` names.

    `state` must be ready for JSON. A "delete" needs none. With `min_role` only members of the airline with that role or
    a higher one receive the change, with `user_id` only that user; a change can't have both.
    """

    topic: str
    object: int
    airline_id: int | None
    tail: str = ""
    campaign: str = ""
    state: Mapping[str, Any] = field(default_factory=dict)
    op: Literal["put", "delete"] = "put"
    min_role: str = ""
    user_id: int | None = None


def publish(changes: Sequence[FeedChange]) -> int | None:
    """Record the changes under one new revision, and return it; None if there are none.

    Call it last inside `transaction.atomic()`: every other publisher waits from here to the commit. Of several changes
    of one object the last wins. An object's audience may become narrower (a role, a higher role, one user): subscribers
    that lose it receive its deletion. An object of one user cannot become another user's or a role's.

    Raises:
        TransactionManagementError: outside a transaction.
        ValueError: for a change that its topic does not allow.
    """
    if not transaction.get_connection().in_atomic_block:
        raise TransactionManagementError("publish() must be the last call inside transaction.atomic()")
    if not changes:
        return None
    for change in changes:
        _validate(change)
    rev = _next_rev()
    newest = {(change.topic, change.object): change for change in changes}
    retracted = _retractions({key: change for key, change in newest.items() if change.min_role or change.user_id})
    rows = [_row(change, rev, retracted.get(key, "")) for key, change in newest.items()]
    upsert(Change, ["topic", "object"], COLUMNS, rows)
    return rev


def current_rev() -> int:
    """Return the newest committed revision. Read it before the rows of a page, so that the page misses nothing."""
    return Counter.objects.filter(pk=COUNTER_ID).values_list("rev", flat=True).first() or 0


def rev_subquery() -> Subquery:
    """Return `current_rev`, or None before the first change, as a column of a statement that reads rows of a page."""
    return Subquery(Counter.objects.filter(pk=COUNTER_ID).values("rev"))


def _next_rev() -> int:
    """Lock the counter row until the transaction ends, increment it and return the new revision.

    Its commit wakes the readers of the feed.
    """
    counter = Counter.objects.filter(pk=COUNTER_ID)
    if not counter.update(rev=F("rev") + 1):
        # The first publication ever. A concurrent insert of the row makes this one wait, then skip.
        Counter.objects.bulk_create([Counter(pk=COUNTER_ID, rev=0)], ignore_conflicts=True)
        counter.update(rev=F("rev") + 1)
    return counter.annotate(woken=notification(CHANGES)).values_list("rev", "woken").get()[0]


def _validate(change: FeedChange) -> None:
    topic = registered_topics().get(change.topic)
    if topic is None:
        raise ValueError(f"The topic {change.topic!r} is not registered.")
    if topic.has_airline != (change.airline_id is not None):
        raise ValueError(f"A change of {topic.name} must {'' if topic.has_airline else 'not '}name an airline.")
    if change.op == "put" and not _names_of(change) <= topic.scoped_by:
        raise ValueError(f"The topic {topic.name} is scoped by {', '.join(sorted(topic.scoped_by)) or 'nothing'} only.")
    if not topic.has_airline and change.user_id is None:
        raise ValueError(f"A change of {topic.name} must have a user.")
    if change.min_role and change.user_id is not None:
        raise ValueError("A change must be for a role or for a user, not for both.")


def _names_of(change: FeedChange) -> set[str]:
    names = {"airline": change.airline_id, "tail": change.tail, "campaign": change.campaign}
    return {place for place, name in names.items() if name}


def _retractions(scoped: Mapping[Key, FeedChange]) -> Mapping[Key, str]:
    """Return `Change.retracted_from` for these objects. Queries the database only if there are any.

    Call it under the lock of the counter, so that no other publisher can change the rows.
    """
    if not scoped:
        return {}
    earlier = Change.objects.filter(where_in(Change, ["topic", "object"], list(scoped))).defer("state")
    return {(row.topic, row.object): _lowest(_audiences_lost(row, scoped[row.topic, row.object])) for row in earlier}


def _audiences_lost(before: Change, change: FeedChange) -> Collection[str]:
    """Return the roles that could see the object and no longer can. Raises ValueError for another user's object."""
    if before.user_id not in (None, change.user_id):
        raise ValueError(f"{before.topic} {before.object} belongs to another user.")
    is_narrower = before.user_id != change.user_id or _rank(change.min_role) > _rank(before.min_role)
    return {before.retracted_from, before.min_role or Role.VIEWER.value if is_narrower else ""} - {""}


def _lowest(roles: Collection[str]) -> str:
    return min(roles, key=_rank, default="")


def _rank(role: str) -> int:
    return Role.values.index(role or Role.VIEWER)


def _row(change: FeedChange, rev: int, retracted_from: str) -> tuple[Any, ...]:
    place = change.airline_id, change.tail, change.campaign
    audience = change.min_role, change.user_id, retracted_from
    return change.topic, change.object, rev, change.op, *place, *audience, dict(change.state)
