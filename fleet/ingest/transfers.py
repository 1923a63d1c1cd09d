"""Create and update the transfers of any number of loads: those with updates, or whose manifest changed.

May touch transfers. The caller holds the transaction and the locks of the tails.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from operator import itemgetter
from typing import Final, NamedTuple

from fleet.choices import Status
from fleet.history.events import EventData, EventRow, event_between, transfer_history_state
from fleet.ingest.manifest_diff import differing_transfers
from fleet.ingest.rows import clear_object_versions
from fleet.ingest.updates import OpenLoad, SupersededObjects
from fleet.models import Transfer
from fleet.state.observations import ErrorObserved, ProgressObserved, is_outdated
from fleet.state.transfer import TRANSFER_FIELDS, TransferState, next_transfer_state
from ifeportal.bulk import upsert, where_in

TRANSFER_KEY: Final = ("load_id", "content")
TransferKey = tuple[int, str]
_COLUMNS: Final = [each.attname for each in Transfer._meta.concrete_fields]
_as_columns = itemgetter(*(("id", *TRANSFER_KEY, *TRANSFER_FIELDS).index(name) for name in _COLUMNS))


class TransferResult(NamedTuple):
    """The rows written, the objects whose news came too late, the turns to be told of, and the bytes that arrived."""

    rows: list[Transfer]
    superseded: SupersededObjects
    events: list[EventRow]
    bytes_received: int


def write_transfers(loads: Collection[OpenLoad], now: datetime) -> TransferResult:
    """Write what differs."""
    by_id = {load.row.pk: load for load in loads}
    concerned = _affected(loads)
    states = _known_states(place for place in concerned if not by_id[place[0]].fresh)
    decided: dict[TransferKey, TransferState] = {}
    late: SupersededObjects = set()
    for place in sorted(concerned):
        load, before = by_id[place[0]], states.get(place)
        if before is not None:
            late |= _superseded(load, place[1], before)
        after = _next_state(load, place[1], before, now)
        if after is not None:
            decided[place] = after
    clear_object_versions({place[0] for place in decided if by_id[place[0]].archived})
    written = upsert(Transfer, TRANSFER_KEY, TRANSFER_FIELDS, [(*place, *state) for place, state in decided.items()])
    rows = [_row(pk, by_id[load_id], content, decided[load_id, content]) for pk, load_id, content in written]
    told = [
        (*place, turned)
        for place, after in decided.items()
        if (turned := _event(by_id[place[0]], states.get(place), after, now)) is not None
    ]
    moved = sum(
        bytes_received(states.get(place), after) for place, after in decided.items() if not by_id[place[0]].fresh
    )
    return TransferResult(rows, late, told, moved)


def _affected(loads: Collection[OpenLoad]) -> set[TransferKey]:
    """The transfers to be looked at. An archived load is not held against a newer manifest: nothing of it is stale."""
    places = {(load.row.pk, content) for load in loads for content in (*load.update.progress, *load.update.errors)}
    places.update((load.row.pk, content) for load in loads if load.fresh for content in load.sizes)
    stale = [load.row for load in loads if load.stale and not load.fresh]
    sizes = {load.row.campaign_id: load.sizes for load in loads if load.stale}
    return places.union(differing_transfers({row.pk: row.campaign_id for row in stale}, sizes))


def _known_states(places: Iterable[TransferKey]) -> dict[TransferKey, TransferState]:
    """The transfers there are, as the pure machine knows them."""
    rows = Transfer.objects.filter(where_in(Transfer, TRANSFER_KEY, places)).order_by()
    found = rows.values_list(*TRANSFER_KEY, *TRANSFER_FIELDS)
    return {(row[0], row[1]): TransferState._make(row[2:]) for row in found}


def _next_state(load: OpenLoad, content: str, before: TransferState | None, now: datetime) -> TransferState | None:
    """What becomes of a transfer (None: it has no row yet); None if nothing does."""
    size, progress, error = load.sizes.get(content), load.update.progress.get(content), load.update.errors.get(content)
    if before is None:
        told = isinstance(progress, ProgressObserved) or isinstance(error, ErrorObserved)
        if not told and (size is None or load.archived):
            return None  # Of a row deleted meanwhile.
        return next_transfer_state(TransferState(), size, now, progress=progress, error=error)
    if load.archived:
        held = before.bytes_total if before.listed else None
        if next_transfer_state(before, held, now, progress=progress, error=error) == before:
            return None
    after = next_transfer_state(before, size, now, progress=progress, error=error)
    return None if after == before else after


def _event(load: OpenLoad, before: TransferState | None, after: TransferState, now: datetime) -> EventData | None:
    """The turn of an item. Of those of a load first met only failures are told: when the others turned nobody saw."""
    if not load.fresh:
        return event_between(
            transfer_history_state(before or TransferState()),
            transfer_history_state(after),
            now,
            decrease_is_event=True,
        )
    return event_between(None, transfer_history_state(after), now) if after.status == Status.FAILED else None


def bytes_received(before: TransferState | None, after: TransferState) -> int:
    """The bytes that an item holds more, where its aircraft says so; not where only the manifest is another."""
    if before is None:
        return after.bytes_done
    return max(after.bytes_done - before.bytes_done, 0) if after.bytes_reported != before.bytes_reported else 0


def _superseded(load: OpenLoad, content: str, before: TransferState) -> SupersededObjects:
    late: SupersededObjects = set()
    if is_outdated(load.update.progress.get(content), before.progress_at):
        late.add((load.row.tail_id, ("progress", load.row.campaign.name, content)))
    if is_outdated(load.update.errors.get(content), before.error_at):
        late.add((load.row.tail_id, ("error", load.row.campaign.name, content)))
    return late


def _row(pk: int, load: OpenLoad, content: str, state: TransferState) -> Transfer:
    row = Transfer(*_as_columns((pk, load.row.pk, content, *state)))
    row.load = load.row
    return row
