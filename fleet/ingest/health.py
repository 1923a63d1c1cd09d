"""Write the time-based flags of loads and items. Every poll of an airline ends with this.

Reads the open loads of tails in service, has `fleet.state.health` decide, writes only differences and publishes them.
May touch tails, loads, transfers, their history and the feed. Rows that differ are read again under the locks of their
tails, so that a concurrent update wins.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Final, NamedTuple

from django.db import transaction
from django.db.models import F, Q, QuerySet

from fleet.attention import keeping
from fleet.choices import ServiceStatus, Status
from fleet.feed import publish_totals, row_changes
from fleet.history import events
from fleet.history.events import load_history_state, transfer_history_state
from fleet.ingest.rows import lock_tails
from fleet.models import Load, Tail, Transfer
from fleet.state import forecast, health
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
from ifeportal.bulk import update, where_fk_in, where_pk_in
from ifeportal.models import Airline

ROWS_AT_ONCE: Final = 500  # rows of a table changed per call; the next call continues
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
_flags = attrgetter(*LoadHealth._fields)
_load_inputs = attrgetter(*(column.replace("__", ".") for column in INPUT_COLUMNS))


def update_health(airline: Airline, now: datetime, uninterrupted_since: datetime | None) -> set[int]:
    """Write and publish the flags that changed as time passed; return campaigns (ids) whose totals changed.

    Since `uninterrupted_since` the airline has been polled without a long gap; time before that does not count, as
    nothing was observed. None: this is the first poll after a gap, and no flag is changed. Only tails in service are
    checked; archived loads are left alone.
    """
    if uninterrupted_since is None:
        return set()
    policy = HealthPolicy(
        stalled_after=timedelta(minutes=airline.stalled_after_minutes),
        silent_after=timedelta(hours=airline.silent_after_hours),
        risk_before=timedelta(hours=airline.risk_before_hours),
        now=now,
        uninterrupted_since=uninterrupted_since,
    )
    rows = map(LoadInputs._make, _open_loads(airline).values_list(*INPUT_COLUMNS))
    loads = [inputs for inputs in rows if evaluate_load(inputs, policy) != inputs.health][:ROWS_AT_ONCE]
    transfers = list(_transfers_to_check(airline, policy).values_list("pk", "load__tail")[:ROWS_AT_ONCE])
    tails = list(_tails_to_check(airline, policy).values_list("pk", flat=True)[:ROWS_AT_ONCE])
    if not (loads or transfers or tails):
        return set()
    with transaction.atomic():
        locked = lock_tails(airline, {*tails, *(inputs.tail_id for inputs in loads), *(tail for _, tail in transfers)})
        silent = _update_tails(locked.values(), policy)
        updated = _update_loads(airline, [inputs.pk for inputs in loads], policy)
        items = _update_transfers(airline, [pk for pk, _ in transfers], policy, also=updated.relabeled)
        changes = row_changes(items, updated.rows, silent)
        keeping.keep(airline.pk, locked)
        publish_totals([airline.pk] if updated.campaigns else (), updated.campaigns, rows=changes)
    return updated.campaigns


def apply_exhibition_dates(airline: Airline, campaigns: Collection[int], now: datetime) -> None:
    """Write and publish what follows from the new dates of these campaigns (by id), and the campaigns themselves.

    Loads that are no longer at risk lose the flag; a tail that loads several campaigns may have another primary load.
    """
    loading = Load.objects.filter(campaign__in=campaigns).filter(Q(status=Status.LOADING) | Q(at_risk=True)).order_by()
    tails = set(loading.values_list("tail", flat=True))
    with transaction.atomic():
        locked = lock_tails(airline, tails) if tails else {}
        cleared = _clear_risk(airline, campaigns, locked, now) if locked else []
        keeping.keep(airline.pk, locked)
        publish_totals([airline.pk], campaigns, tails=locked, rows=row_changes([], cleared, set()))


def _clear_risk(airline: Airline, campaigns: Collection[int], tails: Collection[int], now: datetime) -> list[Load]:
    """Clear the flag of loads that are not at risk by the dates of their exhibition; return them."""
    at_risk = _open_loads(airline).filter(where_fk_in(Load, "tail", tails), campaign__in=campaigns, at_risk=True)
    before = timedelta(hours=airline.risk_before_hours)
    rows = at_risk.select_related("tail__airline", "campaign")
    cleared = [row for row in rows if not forecast.is_load_at_risk(row, _exhibition(row), before, now)]
    for row in cleared:
        row.at_risk = False
    update(Load, ["at_risk"], [(row.pk, False) for row in cleared])
    return cleared


def _exhibition(row: Load) -> forecast.ExhibitionDates:
    return forecast.ExhibitionDates(row.campaign.exhibition_starts, row.campaign.exhibition_ends)


def _open_loads(airline: Airline) -> QuerySet[Load]:
    rows = Load.objects.filter(
        tail__airline=airline, tail__duty=ServiceStatus.ACTIVE, status__in=OPEN_STATUSES, archived_at=None
    )
    return rows.order_by()


def _tails_to_check(airline: Airline, policy: HealthPolicy) -> QuerySet[Tail]:
    """Return tails that may have become silent, or are no longer silent under a longer threshold."""
    rows = Tail.objects.filter(airline=airline, duty=ServiceStatus.ACTIVE).order_by("pk")
    limit = policy.now - policy.silent_after
    unseen = Q(seen_at=None) | Q(seen_at__lte=limit)
    if policy.uninterrupted_since > limit:
        return rows.filter(Q(silent=True) & ~unseen)
    return rows.filter((Q(silent=False) & unseen) | (Q(silent=True) & ~unseen))


def _transfers_to_check(airline: Airline, policy: HealthPolicy) -> QuerySet[Transfer]:
    """Return items whose rate has expired, and those that may have stalled or resumed."""
    limit = policy.now - policy.stalled_after
    expired = Q(status__in=[Status.LOADING, Status.FAILED], rate_bps__gt=0, moved_at__lte=policy.now - RATE_VALID_FOR)
    if policy.now - policy.uninterrupted_since < RATE_VALID_FOR:
        expired &= Q(pk__in=[])
    stalls = Q(status=Status.LOADING, stalled=False, load__waiting=False, moved_at__lte=limit)
    stalls &= Q(load__tail__heartbeat_at=None) | Q(load__tail__seen_at__gte=F("moved_at") + policy.stalled_after)
    if policy.uninterrupted_since > limit:
        stalls &= Q(pk__in=[])
    resumed = Q(stalled=True) & (Q(load__waiting=True) | Q(moved_at__gt=limit))
    rows = Transfer.objects.filter(
        load__tail__airline=airline,
        load__tail__duty=ServiceStatus.ACTIVE,
        load__archived_at=None,
        status__in=OPEN_STATUSES,
    )
    return rows.filter(expired | stalls | resumed).order_by("pk")


def _update_tails(tails: Iterable[Tail], policy: HealthPolicy) -> set[int]:
    """Return the ids of tails that became silent or are no longer."""
    changed = []
    for tail in tails:
        silent = health.is_silent(
            tail.seen_at, policy.silent_after, policy.now, policy.uninterrupted_since, known=tail.silent
        )
        if silent != tail.silent and tail.duty == ServiceStatus.ACTIVE:
            changed.append((tail.pk, silent))
    update(Tail, ["silent"], changed)
    return {pk for pk, _ in changed}


class _LoadResult(NamedTuple):
    """The loads written, and the ids of campaigns whose totals change and of loads whose items change state."""

    rows: list[Load]
    campaigns: set[int]
    relabeled: set[int]


def _update_loads(airline: Airline, pks: Collection[int], policy: HealthPolicy) -> _LoadResult:
    before = []
    result = _LoadResult([], set(), set())
    rows = _open_loads(airline).filter(where_pk_in(Load, pks)).select_related("tail__airline", "campaign")
    for row in rows.order_by("pk"):
        inputs = LoadInputs._make(_load_inputs(row))
        flags = evaluate_load(inputs, policy)
        if flags == inputs.health:
            continue
        before.append(load_history_state(row))
        state, at_risk = row.state, row.at_risk
        for name, value in zip(LoadHealth._fields, flags, strict=True):
            setattr(row, name, value)
        result.rows.append(row)
        if (state, at_risk) != (row.state, row.at_risk):
            result.campaigns.add(row.campaign_id)
        if (inputs.silent, inputs.waiting) != (flags.silent, flags.waiting):
            result.relabeled.add(row.pk)
    update(Load, LoadHealth._fields, [(row.pk, *_flags(row)) for row in result.rows])
    events.record_load_events(zip(before, result.rows, strict=True), policy.now)
    return result


def _update_transfers(
    airline: Airline, pks: Sequence[int], policy: HealthPolicy, *, also: Collection[int]
) -> list[Transfer]:
    """Return the items written, and the loading items of the loads `also`, whose flags changed the items' state."""
    theirs = Q(where_pk_in(Transfer, pks))
    if also:
        theirs |= Q(load__in=also, status=Status.LOADING)
    rows = Transfer.objects.filter(theirs, load__tail__airline=airline, load__archived_at=None)
    items, written = [], []
    for row in rows.select_related("load__tail__airline", "load__campaign").order_by("pk"):
        before, known = transfer_history_state(row), (row.stalled, row.rate_bps)
        row.stalled, row.rate_bps = evaluate_transfer(_transfer_inputs(row), policy)
        if (row.stalled, row.rate_bps) != known:
            written.append((before, row))
        if (row.stalled, row.rate_bps) != known or row.load_id in also:
            items.append(row)
    update(Transfer, ["stalled", "rate_bps"], [(row.pk, row.stalled, row.rate_bps) for _, row in written])
    events.record_transfer_events(written, policy.now)
    return items


def _transfer_inputs(row: Transfer) -> TransferInputs:
    tail = row.load.tail
    activity = loader_activity(tail.heartbeat_at, tail.awake_since, tail.seen_at)
    return TransferInputs(row.stalled, row.rate_bps, row.status, row.moved_at, row.load.waiting, activity)
