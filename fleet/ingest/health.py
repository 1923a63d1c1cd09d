"""Write the time-based flags of loads and items. Every poll of an airline ends with this.

Reads the open loads of tails in service, has `fleet.state.health` decide, writes only what differs and publishes it.
May touch tails, loads, transfers, their history and the feed. What differs is read again under the locks of its tails,
so that a concurrent update wins.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Final

from django.db import transaction
from django.db.models import F, Q, QuerySet

from fleet.choices import ServiceStatus, Status
from fleet.feed import load_change, tail_change, transfer_change
from fleet.history import events
from fleet.history.events import load_history_state, transfer_history_state
from fleet.ingest.rows import lock_tails
from fleet.models import Load, Tail, Transfer
from fleet.state import health
from fleet.state.health import (
    HealthPolicy,
    LoadHealth,
    LoadInputs,
    TransferInputs,
    evaluate_load,
    evaluate_transfer,
    loader_activity,
)
from fleet.state.rates import RATE_VALID_FOR
from fleet.stats import rollup
from ifeportal.bulk import update, where_pk_in
from ifeportal.live.feed import publish
from ifeportal.models import Airline

ROWS_AT_ONCE: Final = 500  # rows of a table changed by one call; the next call takes the next
OPEN_STATUSES: Final = (Status.PENDING, Status.LOADING, Status.FAILED)


_PATHS: Final = {
    "starts": "campaign__exhibition_starts",
    "ends": "campaign__exhibition_ends",
    "seen_at": "tail__seen_at",
    "awake_since": "tail__awake_since",
    "heartbeat_at": "tail__heartbeat_at",
    "loader_state": "tail__loader_state",
    "tail_silent": "tail__silent",
}
INPUT_COLUMNS: Final = tuple(_PATHS.get(name, name) for name in LoadInputs._fields)
_load_inputs = attrgetter(*(column.replace("__", ".") for column in INPUT_COLUMNS))


def update_health(airline: Airline, now: datetime, uninterrupted_since: datetime | None) -> set[str]:
    """Write and publish what is other now than it was, as time has gone by.

    Since `uninterrupted_since` the airline has been polled without a long gap; time before that does not count, as
    nobody saw what happened. None: this is the first poll after a gap, or ever, and nothing is noted. Only tails in
    service are looked at. Loads that are archived rest.

    The names of the campaigns whose sums are others now.
    """
    if uninterrupted_since is None:
        return set()
    terms = HealthPolicy(
        stalled_after=timedelta(minutes=airline.stalled_after_minutes),
        silent_after=timedelta(hours=airline.silent_after_hours),
        risk_before=timedelta(hours=airline.risk_before_hours),
        now=now,
        uninterrupted_since=uninterrupted_since,
    )
    rows = map(LoadInputs._make, _open_loads(airline).values_list(*INPUT_COLUMNS))
    turned = [facts for facts in rows if evaluate_load(facts, terms) != facts.health][:ROWS_AT_ONCE]
    items = list(_transfers_to_check(airline, terms).values_list("pk", "load__tail")[:ROWS_AT_ONCE])
    tails = list(_tails_to_check(airline, terms).values_list("pk", flat=True)[:ROWS_AT_ONCE])
    if not (turned or items or tails):
        return set()
    with transaction.atomic():
        found = lock_tails(airline, {*tails, *(facts.tail_id for facts in turned), *(tail for _, tail in items)})
        quiet = _update_tails(found.values(), terms)
        loads, others, shown_anew = _update_loads(airline, [facts.pk for facts in turned], terms)
        moved = _update_transfers(airline, [pk for pk, _ in items], terms, also=shown_anew)
        touched = quiet.union((row.tail_id for row in loads), (row.load.tail_id for row in moved))
        above = rollup.tails(Tail.objects.filter(where_pk_in(Tail, touched))) if touched else []
        changes = [*map(transfer_change, moved), *map(load_change, loads), *map(tail_change, above)]
        publish(changes)
    return others


def _open_loads(airline: Airline) -> QuerySet[Load]:
    rows = Load.objects.filter(
        tail__airline=airline, tail__duty=ServiceStatus.ACTIVE, status__in=OPEN_STATUSES, archived_at=None
    )
    return rows.order_by()


def _tails_to_check(airline: Airline, terms: HealthPolicy) -> QuerySet[Tail]:
    """Tails that may have become silent, or are no more as they need be silent for longer now."""
    rows = Tail.objects.filter(airline=airline, duty=ServiceStatus.ACTIVE).order_by("pk")
    limit = terms.now - terms.silent_after
    long_ago = Q(seen_at=None) | Q(seen_at__lte=limit)
    if terms.uninterrupted_since > limit:
        return rows.filter(Q(silent=True) & ~long_ago)
    return rows.filter((Q(silent=False) & long_ago) | (Q(silent=True) & ~long_ago))


def _transfers_to_check(airline: Airline, terms: HealthPolicy) -> QuerySet[Transfer]:
    """Items whose rate holds no more, and those that may have stalled or have not any more."""
    limit = terms.now - terms.stalled_after
    slow = Q(status__in=[Status.LOADING, Status.FAILED], rate_bps__gt=0, moved_at__lte=terms.now - RATE_VALID_FOR)
    if terms.now - terms.uninterrupted_since < RATE_VALID_FOR:
        slow &= Q(pk__in=[])
    stalls = Q(status=Status.LOADING, stalled=False, load__waiting=False, moved_at__lte=limit)
    stalls &= Q(load__tail__heartbeat_at=None) | Q(load__tail__seen_at__gte=F("moved_at") + terms.stalled_after)
    if terms.uninterrupted_since > limit:
        stalls &= Q(pk__in=[])
    goes_on = Q(stalled=True) & (Q(load__waiting=True) | Q(moved_at__gt=limit))
    rows = Transfer.objects.filter(
        load__tail__airline=airline,
        load__tail__duty=ServiceStatus.ACTIVE,
        load__archived_at=None,
        status__in=OPEN_STATUSES,
    )
    return rows.filter(slow | stalls | goes_on).order_by("pk")


def _update_tails(tails: Iterable[Tail], terms: HealthPolicy) -> set[int]:
    """The ids of those that have become silent, or are no more."""
    turned = []
    for tail in tails:
        silent = health.is_silent(
            tail.seen_at, terms.silent_after, terms.now, terms.uninterrupted_since, known=tail.silent
        )
        if silent != tail.silent and tail.duty == ServiceStatus.ACTIVE:
            turned.append((tail.pk, silent))
    update(Tail, ["silent"], turned)
    return {pk for pk, _ in turned}


def _update_loads(airline: Airline, pks: Collection[int], terms: HealthPolicy) -> tuple[list[Load], set[str], set[int]]:
    """The loads written, the campaigns whose sums they change, and loads by whose flags their items get other words."""
    before, loads = [], []
    campaigns: set[str] = set()
    shown_anew: set[int] = set()
    rows = _open_loads(airline).filter(where_pk_in(Load, pks)).select_related("tail__airline", "campaign")
    for row in rows.order_by("pk"):
        facts = LoadInputs._make(_load_inputs(row))
        flags = evaluate_load(facts, terms)
        if flags == facts.health:
            continue
        before.append(load_history_state(row))
        state, at_risk = row.state, row.at_risk
        for name, value in zip(LoadHealth._fields, flags, strict=True):
            setattr(row, name, value)
        loads.append(row)
        if (state, at_risk) != (row.state, row.at_risk):
            campaigns.add(row.campaign.name)
        if (facts.silent, facts.waiting) != (flags.silent, flags.waiting):
            shown_anew.add(row.pk)
    update(Load, LoadHealth._fields, [(row.pk, *(getattr(row, name) for name in LoadHealth._fields)) for row in loads])
    events.record_load_events(zip(before, loads, strict=True), terms.now)
    return loads, campaigns, shown_anew


def _update_transfers(
    airline: Airline, pks: Sequence[int], terms: HealthPolicy, *, also: Collection[int]
) -> list[Transfer]:
    """The items written, and what moves of the loads `also`, which say another word of it now."""
    theirs = Q(where_pk_in(Transfer, pks))
    if also:
        theirs |= Q(load__in=also, status=Status.LOADING)
    rows = Transfer.objects.filter(theirs, load__tail__airline=airline, load__archived_at=None)
    items, written = [], []
    for row in rows.select_related("load__tail__airline", "load__campaign").order_by("pk"):
        was, facts = transfer_history_state(row), (row.stalled, row.rate_bps)
        row.stalled, row.rate_bps = evaluate_transfer(_transfer_inputs(row), terms)
        if (row.stalled, row.rate_bps) != facts:
            written.append((was, row))
        if (row.stalled, row.rate_bps) != facts or row.load_id in also:
            items.append(row)
    update(Transfer, ["stalled", "rate_bps"], [(row.pk, row.stalled, row.rate_bps) for _, row in written])
    events.record_transfer_events(written, terms.now)
    return items


def _transfer_inputs(row: Transfer) -> TransferInputs:
    tail = row.load.tail
    alive = loader_activity(tail.heartbeat_at, tail.awake_since, tail.seen_at)
    return TransferInputs(row.stalled, row.rate_bps, row.status, row.moved_at, row.load.waiting, alive)
