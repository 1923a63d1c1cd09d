"""Create and update the transfers of any number of loads: those with updates, or whose manifest changed.

May touch transfers. The caller holds the transaction and the locks of the tails.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from operator import itemgetter
from typing import Final, NamedTuple

from fleet.choices import ServiceStatus, Status
from fleet.history.events import EventData, EventRow, event_between, transfer_history_state
from fleet.ingest.manifest_diff import differing_transfers
from fleet.ingest.rows import clear_object_versions
from fleet.ingest.updates import OpenLoad, SupersededObjects
from fleet.models import Transfer
from fleet.state.observations import ErrorObserved, ProgressObserved, is_outdated
from fleet.state.transfer import TRANSFER_FIELDS, TransferState, next_transfer_state
from fleet.stats.item_totals import ItemChanges
from ifeportal.bulk import upsert, where_in

TRANSFER_KEY: Final = ("load_id", "content")
TransferKey = tuple[int, str]
_COLUMNS: Final = [each.attname for each in Transfer._meta.concrete_fields]
_as_columns = itemgetter(*(("id", *TRANSFER_KEY, *TRANSFER_FIELDS).index(name) for name in _COLUMNS))


class TransferResult(NamedTuple):
    """The rows written, the objects older than the known ones, the events to write, and the bytes received.

    `item_changes` are the changes of the totals of items.
    """

    rows: list[Transfer]
    superseded: SupersededObjects
    events: list[EventRow]
    bytes_received: int
    item_changes: ItemChanges


def write_transfers(loads: Collection[OpenLoad], now: datetime) -> TransferResult:
    """Write the transfers that changed."""
    by_id = {load.row.pk: load for load in loads}
    affected = _affected(loads)
    states = _known_states(key for key in affected if not by_id[key[0]].fresh)
    decided: dict[TransferKey, TransferState] = {}
    superseded: SupersededObjects = set()
    for key in sorted(affected):
        load, before = by_id[key[0]], states.get(key)
        if before is not None:
            superseded |= _superseded(load, key[1], before)
        after = _next_state(load, key[1], before, now)
        if after is not None:
            decided[key] = after
    clear_object_versions({key[0] for key in decided if by_id[key[0]].archived})
    written = upsert(Transfer, TRANSFER_KEY, TRANSFER_FIELDS, [(*key, *state) for key, state in decided.items()])
    rows = [_row(pk, by_id[load_id], content, decided[load_id, content]) for pk, load_id, content in written]
    events = [
        (*key, event)
        for key, after in decided.items()
        if (event := _event(by_id[key[0]], states.get(key), after, now)) is not None
    ]
    received = sum(bytes_received(states.get(key), after) for key, after in decided.items() if not by_id[key[0]].fresh)
    return TransferResult(rows, superseded, events, received, _item_changes(rows, by_id, states))


def _item_changes(
    rows: Iterable[Transfer], loads: Mapping[int, OpenLoad], before: Mapping[TransferKey, TransferState]
) -> ItemChanges:
    changes = ItemChanges()
    for row in rows:
        load, known = loads[row.load_id].row, before.get((row.load_id, row.content))
        counts = load.tail.duty == ServiceStatus.ACTIVE
        changes.add(
            (load.campaign_id, row.content),
            known.status if known and counts else None,
            row.status if counts else None,
            None if known else row.pk,
        )
    return changes


def _affected(loads: Collection[OpenLoad]) -> set[TransferKey]:
    """Return the transfers to check. An archived load is not compared with a newer manifest: it is never stale."""
    keys = {(load.row.pk, content) for load in loads for content in (*load.update.progress, *load.update.errors)}
    keys.update((load.row.pk, content) for load in loads if load.fresh for content in load.sizes)
    stale = [load.row for load in loads if load.stale and not load.fresh]
    sizes = {load.row.campaign_id: load.sizes for load in loads if load.stale}
    return keys.union(differing_transfers({row.pk: row.campaign_id for row in stale}, sizes))


def _known_states(keys: Iterable[TransferKey]) -> dict[TransferKey, TransferState]:
    """Return the stored states of those that have a row."""
    rows = Transfer.objects.filter(where_in(Transfer, TRANSFER_KEY, keys)).order_by()
    found = rows.values_list(*TRANSFER_KEY, *TRANSFER_FIELDS)
    return {(row[0], row[1]): TransferState._make(row[2:]) for row in found}


def _next_state(load: OpenLoad, content: str, before: TransferState | None, now: datetime) -> TransferState | None:
    """Return the new state of a transfer; None if nothing changes. `before` is None if it has no row yet."""
    size, progress, error = load.sizes.get(content), load.update.progress.get(content), load.update.errors.get(content)
    if before is None:
        reported = isinstance(progress, ProgressObserved) or isinstance(error, ErrorObserved)
        if not reported and (size is None or load.archived):
            return None  # an object of a row that was deleted meanwhile
        return next_transfer_state(TransferState(), size, now, progress=progress, error=error)
    if load.archived:
        size_then = before.bytes_total if before.listed else None
        if next_transfer_state(before, size_then, now, progress=progress, error=error) == before:
            return None
    after = next_transfer_state(before, size, now, progress=progress, error=error)
    return None if after == before else after


def _event(load: OpenLoad, before: TransferState | None, after: TransferState, now: datetime) -> EventData | None:
    """Return the event of an item, if any.

    Of items of a new load only failures are events: when the others changed state was not observed.
    """
    if not load.fresh:
        return event_between(
            transfer_history_state(before or TransferState()),
            transfer_history_state(after),
            now,
            decrease_is_event=True,
        )
    return event_between(None, transfer_history_state(after), now) if after.status == Status.FAILED else None


def bytes_received(before: TransferState | None, after: TransferState) -> int:
    """Return by how many bytes an item grew, if the aircraft reported it; 0 if only the manifest changed."""
    if before is None:
        return after.bytes_done
    return max(after.bytes_done - before.bytes_done, 0) if after.bytes_reported != before.bytes_reported else 0


def _superseded(load: OpenLoad, content: str, before: TransferState) -> SupersededObjects:
    superseded: SupersededObjects = set()
    if is_outdated(load.update.progress.get(content), before.progress_at):
        superseded.add((load.row.tail_id, ("progress", load.row.campaign.name, content)))
    if is_outdated(load.update.errors.get(content), before.error_at):
        superseded.add((load.row.tail_id, ("error", load.row.campaign.name, content)))
    return superseded


def _row(pk: int, load: OpenLoad, content: str, state: TransferState) -> Transfer:
    row = Transfer(*_as_columns((pk, load.row.pk, content, *state)))
    row.load = load.row
    return row
