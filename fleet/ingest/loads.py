"""Create and update loads from the updates of their tails. The caller holds the transaction and the locks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Final, NamedTuple

from fleet.history import events
from fleet.history.events import EventRow, HistoryState, load_history_state
from fleet.ingest.aggregates import aggregate_transfers, baseline_samples, latest_errors, windowed_rates
from fleet.ingest.rows import clear_object_versions
from fleet.ingest.updates import Catalog, OpenLoad, SupersededObjects, TailUpdate
from fleet.models import Load, ProgressSample, Tail
from fleet.state.forecast import ExhibitionDates
from fleet.state.load import LOAD_FIELDS, LoadContext, LoadState, next_load_state, with_campaign_error
from fleet.state.observations import is_outdated
from ifeportal.bulk import upsert, where_in

LOAD_KEY: Final = ("tail_id", "campaign_id")

_state_values = attrgetter(*LOAD_FIELDS)


def open_loads(tails: Mapping[int, Tail], batch: Mapping[int, TailUpdate], catalog: Catalog) -> list[OpenLoad]:
    """Return the loads with updates; those without a row get one."""
    wanted = {(pk, name): (pk, catalog.campaigns[name].pk) for pk in tails for name in sorted(batch[pk].loads)}
    if not wanted:
        return []
    found = Load.objects.filter(where_in(Load, LOAD_KEY, wanted.values())).order_by()
    rows = {(row.tail_id, row.campaign_id): row for row in found}
    missing = [key for key in wanted.values() if key not in rows]
    created = upsert(Load, LOAD_KEY, LOAD_FIELDS, [(*key, *LoadState()) for key in missing])
    rows |= {(tail, campaign): Load(pk=pk) for pk, tail, campaign in created}
    fresh = set(missing)
    loads = []
    for (pk, name), key in wanted.items():
        row, campaign = rows[key], catalog.campaigns[name]
        row.tail, row.campaign = tails[pk], campaign
        archived = row.archived_at is not None
        stale = not archived and row.manifest_etag != campaign.manifest_etag
        sizes = catalog.sizes[name] if campaign.items_total is not None else {}
        update = batch[pk].loads[name].without_deletions() if archived else batch[pk].loads[name]
        loads.append(OpenLoad(row, sizes, update, key in fresh, stale))
    return loads


class LoadResult(NamedTuple):
    """The rows written, the campaign errors older than the known ones, and the events to write."""

    rows: list[Load]
    superseded: SupersededObjects
    events: list[EventRow]


def write_loads(loads: Collection[OpenLoad], touched: Collection[int], now: datetime) -> LoadResult:
    """Sum up the affected loads and write those that changed. `touched` are the ids of loads with written transfers."""
    superseded: SupersededObjects = set()
    affected: list[tuple[OpenLoad, LoadState, LoadState]] = []
    for load in loads:
        before, seen = LoadState._make(_state_values(load.row)), load.update.campaign_error
        if is_outdated(seen, before.error_at):
            superseded.add((load.row.tail_id, ("campaign_error", load.row.campaign.name, "")))
        state = with_campaign_error(before, seen)
        if not (load.row.pk in touched or state != before or load.fresh or load.stale):
            continue
        if load.archived:
            state = with_campaign_error(before._replace(error_etag="", error_at=None), seen)
        if load.fresh or load.stale:
            state = state._replace(manifest_etag=load.row.campaign.manifest_etag)
        affected.append((load, before, state))
    clear_object_versions([load.row.pk for load, _, _ in affected if load.archived and load.row.pk not in touched])
    rows, changes = _write_affected(affected, now)
    return LoadResult(rows, superseded, changes)


def _write_affected(
    affected: Collection[tuple[OpenLoad, LoadState, LoadState]], now: datetime
) -> tuple[list[Load], list[EventRow]]:
    """Write the loads with their new totals, and a sample of those whose bytes changed. Archived ones become active."""
    if not affected:
        return [], []
    rows = [load.row for load, _, _ in affected]
    totals = aggregate_transfers({row.pk: row.campaign.items_total is not None for row in rows})
    errors = latest_errors([pk for pk, each in totals.items() if each.failed])
    changed = [row for row in rows if totals[row.pk].bytes_done != row.bytes_done]
    rates, baselines = windowed_rates(changed, totals, now), baseline_samples(changed, now)
    written: list[Load] = []
    before_states: list[HistoryState | None] = []
    for load, before, state in affected:
        row = load.row
        after = next_load_state(
            before,
            state,
            totals[row.pk],
            errors.get(row.pk),
            now,
            rates.get(row.pk),
            baselines.get(row.pk),
            _context(row),
        )
        if load.fresh or load.archived or after != before:
            before_states.append(None if load.fresh else load_history_state(row))
            row.archived_at = None
            for name, value in zip(LOAD_FIELDS, after, strict=True):
                setattr(row, name, value)
            written.append(row)
    values = [(row.tail_id, row.campaign_id, *_state_values(row), row.archived_at) for row in written]
    upsert(Load, LOAD_KEY, [*LOAD_FIELDS, "archived_at"], values)
    samples = [ProgressSample(load=row, at=now, bytes_done=row.bytes_done) for row in changed]
    ProgressSample.objects.bulk_create(samples, ignore_conflicts=True)
    return written, events.load_events(zip(before_states, written, strict=True), now)


def _context(row: Load) -> LoadContext:
    return LoadContext(
        ExhibitionDates(row.campaign.exhibition_starts, row.campaign.exhibition_ends),
        timedelta(hours=row.tail.airline.risk_before_hours),
        row.campaign.manifest_as_of,
    )
