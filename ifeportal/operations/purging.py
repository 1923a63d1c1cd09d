"""Deletion of operations that ended long ago, with the rows of their kinds. Touches the database only."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.db import transaction

from ifeportal.operations.kinds import registered_kinds
from ifeportal.operations.models import Operation
from ifeportal.work_lease import WorkLease

KEPT_FOR: Final = timedelta(days=90)  # after the end
BATCH: Final = 500  # rows


def purge_ended(now: datetime, lease: WorkLease) -> int:
    """Delete operations that ended KEPT_FOR ago, unless their kind keeps or does not know them. Return how many.

    The feed publishes their deletion in its next round of pruning.
    """
    kinds = [name for name, kind in registered_kinds().items() if not kind.keeps_rows]
    old = Operation.objects.filter(finished_at__lte=now - KEPT_FOR, kind__in=kinds).order_by("finished_at", "pk")
    deleted = 0
    while pks := list(old.values_list("pk", flat=True)[:BATCH]):
        lease.heartbeat()
        with transaction.atomic():
            lease.check_fence()
            Operation.objects.filter(pk__in=pks).delete()
        deleted += len(pks)
    return deleted
