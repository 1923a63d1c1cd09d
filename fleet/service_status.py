"""Take tails in and out of service: whether totals count them. May touch tails, loads, transfers and the feed."""

from __future__ import annotations

from django.db import transaction

from fleet.attention import keeping
from fleet.choices import ServiceStatus
from fleet.feed import load_change, publish_totals, tail_change
from fleet.ingest.rows import lock_tails
from fleet.models import Load, Tail, Transfer
from fleet.stats import rollup
from fleet.stats.item_totals import ItemChanges, tail_changes
from ifeportal.live.feed import publish


def set_service_status(tail: Tail, duty: ServiceStatus) -> bool:
    """Set the service status of a tail, and publish the tail and all totals it is in; return whether it changed.

    The time-based flags of a tail out of service are cleared: it is never stalled, silent, waiting or at risk. Back in
    service, the next poll sets them. Call this last in the transaction that records who did it: every other writer of
    the feed waits from here to the commit.
    """
    with transaction.atomic():
        row = lock_tails(tail.airline, [tail.pk])[tail.pk]
        if row.duty == duty:
            return False
        items = ItemChanges()
        if ServiceStatus.ACTIVE in (row.duty, duty):
            items = tail_changes(row.pk, in_service=duty == ServiceStatus.ACTIVE)
        row.duty = tail.duty = duty
        row.silent = tail.silent = row.silent and duty == ServiceStatus.ACTIVE
        row.save(update_fields=["duty", "silent"])
        if duty != ServiceStatus.ACTIVE:
            _clear_flags(row)
        keeping.keep(row.airline_id, [row.pk])
        loads = Load.objects.filter(tail=row).select_related("tail__airline", "campaign")
        changes = [*map(load_change, loads), *map(tail_change, rollup.tails(Tail.objects.filter(pk=row.pk)))]
        publish_totals([row.airline_id], {load.campaign_id for load in loads}, items=items, rows=changes)
    return True


def update_tail(tail: Tail, duty: ServiceStatus, aircraft_type: str) -> None:
    """Set service status and aircraft type of a tail, and publish it. Call it as `set_service_status`."""
    with transaction.atomic():
        Tail.objects.filter(pk=tail.pk).update(aircraft_type=aircraft_type)
        if not set_service_status(tail, duty):
            publish([tail_change(each) for each in rollup.tails(Tail.objects.filter(pk=tail.pk))])


def _clear_flags(tail: Tail) -> None:
    Load.objects.filter(tail=tail, archived_at=None).update(stalled=False, silent=False, waiting=False, at_risk=False)
    Transfer.objects.filter(load__tail=tail, load__archived_at=None, stalled=True).update(stalled=False)
