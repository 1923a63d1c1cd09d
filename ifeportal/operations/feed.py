"""Publication of operations in the change feed, and their positions in the queue. Touches the feed's tables.

Call `publish_operations` last in the transaction of a change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from ifeportal.live.feed import FeedChange, publish
from ifeportal.operations.kinds import related_rows
from ifeportal.operations.models import Operation, OperationState
from ifeportal.operations.notices import OPERATION, end_notices
from ifeportal.operations.serialization import operation_state

POSITION_LIMIT: Final = 20_000  # operations further back in the queue have no position


def publish_operations(pks: Collection[int]) -> None:
    """Publish the operations as they are now. Call it last inside `transaction.atomic()`."""
    if pks:
        rows = Operation.objects.select_related(*related_rows()).filter(pk__in=pks)
        publish_rows(list(rows))


def publish_rows(rows: Sequence[Operation], positions: Mapping[int, int] | None = None) -> None:
    """Publish rows that were read in this transaction. `positions`: of those in the queue; None: read them."""
    known = positions_of(rows) if positions is None else positions
    ordered = sorted(rows, key=lambda row: row.pk)
    changes = [
        FeedChange(OPERATION.name, row.pk, row.airline_id, state=operation_state(row, known.get(row.pk)))
        for row in ordered
    ]
    publish([*end_notices(ordered), *changes])


def positions_of(operations: Collection[Operation]) -> dict[int, int]:
    """Return {id: position in the queue} of those that are queued, in one query; 1 is next."""
    missing = {each.pk for each in operations if each.state == OperationState.QUEUED}
    positions: dict[int, int] = {}
    if missing:
        for position, pk in enumerate(Operation.objects.in_queue().values_list("pk", flat=True)[:POSITION_LIMIT], 1):
            if pk in missing:
                positions[pk] = position
                missing.remove(pk)
                if not missing:
                    break
    return positions
