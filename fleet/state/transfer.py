"""State machine of a transfer. Pure: values in, values out.

`next_transfer_state` returns an equal state where nothing changed, so that nothing is written. `now` is the portal's
clock; every other timestamp is the LastModified of an object.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from fleet.choices import Status
from fleet.state import rates
from fleet.state.observations import (
    ErrorObservation,
    ErrorSlot,
    ObjectDeleted,
    ObjectRewritten,
    ProgressObservation,
    is_later,
    is_newer_rewrite,
    is_superseded,
    latest_of,
)
from loader.contract.item_reports import COUNT_LIMIT


class TransferState(NamedTuple):
    """The fields of a transfer that observations decide, named as in the model."""

    status: str = Status.PENDING.value
    stalled: bool = False
    bytes_done: int = 0
    bytes_total: int | None = None
    rate_bps: int | None = None
    error_code: str = ""
    error: str = ""
    as_of: datetime | None = None
    moved_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    listed: bool = False
    bytes_reported: int | None = None
    progress_etag: str = ""
    progress_at: datetime | None = None
    error_etag: str = ""
    error_at: datetime | None = None
    error_cut: bool = False
    error_past: bool = False
    restarted: bool = False
    oversized: bool = False
    unreadable: bool = False


TRANSFER_FIELDS: Final = TransferState._fields


def next_transfer_state(
    before: TransferState,
    size: int | None,
    now: datetime,
    *,
    progress: ProgressObservation | None = None,
    error: ErrorObservation | None = None,
) -> TransferState:
    """Return the state after these observations (None: nothing new).

    `size` is the item's size by the manifest in bytes; None if it is not listed or not known.
    """
    state = _with_error(_with_progress(before, progress), error)
    total = state.bytes_total if size is None else size
    reported = state.bytes_reported
    state = state._replace(
        listed=size is not None,
        bytes_total=total,
        bytes_done=min(reported or 0, COUNT_LIMIT if total is None else total),
        oversized=reported is not None and total is not None and reported > total,
    )
    complete = reported is not None and reported == total
    error_is_past = (
        complete and not state.unreadable and bool(state.error_etag) and is_later(state.progress_at, state.error_at)
    )
    state = state._replace(
        error_past=error_is_past,
        status=_status(state, complete=complete, error_is_past=error_is_past).value,
    )
    return _with_times(before, state, now)


def _with_progress(state: TransferState, seen: ProgressObservation | None) -> TransferState:
    if seen is None:
        return state
    if isinstance(seen, ObjectDeleted):
        if seen.etag != state.progress_etag:
            return state
        return state._replace(progress_etag="", bytes_reported=None, unreadable=False, restarted=False)
    if isinstance(seen, ObjectRewritten):
        if not is_newer_rewrite(seen, state.progress_etag, state.progress_at):
            return state
        as_of = state.as_of if state.unreadable else latest_of(state.as_of, seen.at)
        return state._replace(progress_at=seen.at, as_of=as_of)
    if is_superseded(seen.at, seen.etag, state.progress_at, state.progress_etag):
        return state
    state = state._replace(progress_etag=seen.etag, progress_at=seen.at, unreadable=seen.value is None)
    if seen.value is None:
        return state
    back = state.bytes_reported is not None and seen.value < state.bytes_reported
    return state._replace(
        bytes_reported=seen.value,
        restarted=state.restarted or back,
        started_at=None if back else state.started_at,
        as_of=latest_of(state.as_of, seen.at),
    )


def _with_error(state: TransferState, seen: ErrorObservation | None) -> TransferState:
    before = ErrorSlot(state.error_etag, state.error_at, state.error_code, state.error, state.error_cut)
    error = before.after(seen)
    if error == before:
        return state
    return state._replace(
        error_etag=error.etag,
        error_at=error.at,
        error_code=error.code,
        error=error.text,
        error_cut=error.cut,
        as_of=state.as_of if isinstance(seen, ObjectDeleted) else latest_of(state.as_of, error.at),
    )


def _status(state: TransferState, *, complete: bool, error_is_past: bool) -> Status:
    if state.error_etag and not error_is_past:
        return Status.FAILED
    if not state.progress_etag and state.progress_at is not None:
        return Status.DELETED
    if complete:
        return Status.COMPLETE
    return Status.LOADING if state.bytes_reported else Status.PENDING


def _with_times(before: TransferState, state: TransferState, now: datetime) -> TransferState:
    """Return the state with its timestamps, its rate, and the flags that end with them."""
    loading, complete = state.status == Status.LOADING, state.status == Status.COMPLETE
    delta = (state.bytes_reported or 0) - (before.bytes_reported or 0)
    moved = bool(delta) or (loading and before.status != Status.LOADING)
    started_at = state.started_at
    if started_at is None and loading:
        started_at = state.progress_at
    if started_at is None and complete and before.status != Status.COMPLETE and before.bytes_reported is not None:
        started_at = before.progress_at
    rate = before.rate_bps if loading else None
    if moved and loading and before.moved_at is not None:
        rate = rates.smoothed_rate(before.rate_bps, delta, (now - before.moved_at).total_seconds())
    return state._replace(
        moved_at=now if moved else before.moved_at,
        stalled=before.stalled and loading and not moved,
        started_at=started_at,
        finished_at=(before.finished_at or state.progress_at) if complete else None,
        restarted=state.restarted and not complete,
        rate_bps=rate,
    )
