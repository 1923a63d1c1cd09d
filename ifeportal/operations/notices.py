"""The topics of the feed: operations, and to each user those of theirs that ended, which every page shows as toasts.

A change without an airline reaches its user on every page, whatever the page shows. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ifeportal.live.feed import FeedChange
from ifeportal.live.registry import Topic
from ifeportal.operations.models import Operation
from ifeportal.operations.serialization import operation_state

ENDED: Final = Topic("my_operation", Operation, scoped_by=frozenset())
OPERATION: Final = Topic("operation", Operation)
TOPICS: Final = (OPERATION, ENDED)


def end_notices(operations: Iterable[Operation]) -> list[FeedChange]:
    """Return what to publish, in the transaction of their end, for the users of those that have ended."""
    return [
        FeedChange(ENDED.name, row.pk, None, state=operation_state(row), user_id=row.user_id)
        for row in operations
        if row.user_id is not None and not row.is_open
    ]
