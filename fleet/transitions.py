"""What becomes of a transfer and a load when something new is seen of them. Pure: values in, values out.

`advance` takes a transfer from one state to the next, `judge` a load from the sums of its transfers. Both give an equal
state where nothing changed, so that nothing is written. `now` is the portal's clock; every other moment is the
LastModified of an object. Order is decided by LastModified alone, then by the ETag, as one second is all it resolves.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from fleet import forecast, rates
from fleet.choices import Contradiction, Proof, Status
from loader.contract.item_reports import COUNT_LIMIT


@dataclass(frozen=True, slots=True)
class ProgressSeen:
    """A `.progress` as it was read; `value` in bytes, None if it could not be understood."""

    etag: str
    at: datetime
    value: int | None


@dataclass(frozen=True, slots=True)
class ErrorSeen:
    """An error object as it was read."""

    etag: str
    at: datetime
    code: str
    text: str
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Again:
    """An object that was written anew at `at` with the bytes it had: what it says is true of that later moment."""

    etag: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Gone:
    """An object that a whole listing no longer had; `etag` is that of the version it was known by."""

    etag: str


class TransferState(NamedTuple):
    """The fields of a transfer that observation decides, named as in the model."""

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


def is_older(at: datetime, etag: str, known_at: datetime | None, known_etag: str) -> bool:
    """Whether a version read just now must not replace the known one: it is older, or the same."""
    return known_at is not None and (at < known_at or (at == known_at and etag == known_etag))


def advance(
    before: TransferState,
    size: int | None,
    now: datetime,
    *,
    progress: ProgressSeen | Again | Gone | None = None,
    error: ErrorSeen | Again | Gone | None = None,
) -> TransferState:
    """The state after these objects (None: nothing new) were seen.

    `size` is what the manifest says of the item, in bytes; None where it does not list it or is not known.
    """
    state = _with_error(_with_progress(before, progress), error)
    total = state.bytes_total if size is None else size
    raw = state.bytes_reported
    state = state._replace(
        listed=size is not None,
        bytes_total=total,
        bytes_done=min(raw or 0, COUNT_LIMIT if total is None else total),
        oversized=raw is not None and total is not None and raw > total,
    )
    whole = raw is not None and raw == total
    past = whole and not state.unreadable and bool(state.error_etag) and _newer(state.progress_at, state.error_at)
    state = state._replace(error_past=past, status=_status(state, whole=whole, past=past).value)
    return _timed(before, state, now)


def _with_progress(state: TransferState, seen: ProgressSeen | Again | Gone | None) -> TransferState:
    if seen is None:
        return state
    if isinstance(seen, Gone):
        if seen.etag != state.progress_etag:
            return state
        return state._replace(progress_etag="", bytes_reported=None, unreadable=False, restarted=False)
    if isinstance(seen, Again):
        if not _renews(seen, state.progress_etag, state.progress_at):
            return state
        as_of = state.as_of if state.unreadable else _latest(state.as_of, seen.at)
        return state._replace(progress_at=seen.at, as_of=as_of)
    if is_older(seen.at, seen.etag, state.progress_at, state.progress_etag):
        return state
    state = state._replace(progress_etag=seen.etag, progress_at=seen.at, unreadable=seen.value is None)
    if seen.value is None:
        return state
    back = state.bytes_reported is not None and seen.value < state.bytes_reported
    return state._replace(
        bytes_reported=seen.value,
        restarted=state.restarted or back,
        started_at=None if back else state.started_at,
        as_of=_latest(state.as_of, seen.at),
    )


def _with_error(state: TransferState, seen: ErrorSeen | Again | Gone | None) -> TransferState:
    if seen is None:
        return state
    if isinstance(seen, Gone):
        if seen.etag != state.error_etag:
            return state
        return state._replace(error_etag="", error_code="", error="", error_cut=False)
    if isinstance(seen, Again):
        renewed = _renews(seen, state.error_etag, state.error_at)
        return state._replace(error_at=seen.at, as_of=_latest(state.as_of, seen.at)) if renewed else state
    if is_older(seen.at, seen.etag, state.error_at, state.error_etag):
        return state
    return state._replace(
        error_etag=seen.etag,
        error_at=seen.at,
        error_code=seen.code,
        error=seen.text,
        error_cut=seen.cut,
        as_of=_latest(state.as_of, seen.at),
    )


def _status(state: TransferState, *, whole: bool, past: bool) -> Status:
    if state.error_etag and not past:
        return Status.FAILED
    if not state.progress_etag and state.progress_at is not None:
        return Status.DELETED
    if whole:
        return Status.COMPLETE
    return Status.LOADING if state.bytes_reported else Status.PENDING


def _timed(before: TransferState, state: TransferState, now: datetime) -> TransferState:
    """The state with its moments, its rate and the flags that end with them."""
    loading, complete = state.status == Status.LOADING, state.status == Status.COMPLETE
    step = (state.bytes_reported or 0) - (before.bytes_reported or 0)
    moved = bool(step) or (loading and before.status != Status.LOADING)
    started_at = state.started_at
    if started_at is None and loading:
        started_at = state.progress_at
    if started_at is None and complete and before.status != Status.COMPLETE and before.bytes_reported is not None:
        started_at = before.progress_at
    rate = before.rate_bps if loading else None
    if moved and loading and before.moved_at is not None:
        rate = rates.smoothed(before.rate_bps, step, (now - before.moved_at).total_seconds())
    return state._replace(
        moved_at=now if moved else before.moved_at,
        stalled=before.stalled and loading and not moved,
        started_at=started_at,
        finished_at=(before.finished_at or state.progress_at) if complete else None,
        restarted=state.restarted and not complete,
        rate_bps=rate,
    )


class LoadState(NamedTuple):
    """The fields of a load that observation decides, named as in the model.

    `stalled` and the fields of `PASSING` are set as time goes by (`fleet.standing`); here they end.
    """

    status: str = Status.PENDING.value
    stalled: bool = False
    bytes_done: int = 0
    bytes_total: int | None = None
    rate_bps: int | None = None
    error_code: str = ""
    error: str = ""
    error_content: str = ""
    as_of: datetime | None = None
    moved_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    items_total: int | None = None
    items_done: int = 0
    items_failed: int = 0
    campaign_error: str = ""
    campaign_error_code: str = ""
    error_etag: str = ""
    error_at: datetime | None = None
    manifest_etag: str = ""
    restarted: bool = False
    contradiction: str = Contradiction.NONE.value
    proof: str = Proof.NONE.value
    silent: bool = False
    waiting: bool = False
    at_risk: bool = False
    effective_bps: int | None = None
    effective_since: datetime | None = None
    effective_base: int = 0


LOAD_FIELDS: Final = LoadState._fields
PASSING: Final = LOAD_FIELDS[LOAD_FIELDS.index("silent") :]  # what changes as time goes by, of no use later
ARCHIVED_FIELDS: Final = tuple(name for name in LOAD_FIELDS if name not in PASSING)


@dataclass(frozen=True, slots=True)
class ItemError:
    """The newest error of a failed item of a load."""

    content: str
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Sums:
    """What the transfers of a load add up to: of the items the manifest lists, or of all while it is unknown.

    `items` counts them, `reported` those with a progress; `bytes_total` is None while the manifest is unknown.
    """

    items: int = 0
    done: int = 0
    failed: int = 0
    loading: int = 0
    deleted: int = 0
    reported: int = 0
    restarted: int = 0
    oversized: int = 0
    errors_left: int = 0
    bytes_done: int = 0
    bytes_total: int | None = None
    as_of: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


def with_campaign_error(state: LoadState, seen: ErrorSeen | Again | Gone | None) -> LoadState:
    """The load after something was seen of its `campaign.json.error`."""
    if seen is None:
        return state
    if isinstance(seen, Gone):
        if seen.etag != state.error_etag:
            return state
        return state._replace(error_etag="", campaign_error="", campaign_error_code="")
    if isinstance(seen, Again):
        return state._replace(error_at=seen.at) if _renews(seen, state.error_etag, state.error_at) else state
    if is_older(seen.at, seen.etag, state.error_at, state.error_etag):
        return state
    return state._replace(
        error_etag=seen.etag, error_at=seen.at, campaign_error=seen.text, campaign_error_code=seen.code
    )


def judge(
    before: LoadState,
    state: LoadState,
    sums: Sums,
    failure: ItemError | None,
    now: datetime,
    rate_bps: int | None,
    first: rates.Sample | None = None,
) -> LoadState:
    """The load as its transfers have it. `before` is as stored, `state` with what was seen of the campaign's error.

    `rate_bps` is what the samples say, used only if bytes moved; from `first`, if there is one, the effective rate is
    counted from now on.
    """
    known = sums.bytes_total is not None
    whole = known and sums.done == sums.items
    own = bool(state.error_etag) and not (whole and _newer(sums.as_of, state.error_at))
    status = _load_status(sums, whole=whole, own=own)
    bytes_done = min(sums.bytes_done, COUNT_LIMIT if sums.bytes_total is None else sums.bytes_total)
    going = status == Status.LOADING or (status == Status.FAILED and sums.loading > 0)
    moved = bytes_done != before.bytes_done or (going and before.moved_at is None)
    code, text, content = "", "", ""
    if own:
        code, text = state.campaign_error_code, state.campaign_error
    elif failure is not None:
        code, text, content = failure.code, failure.text, failure.content
    loading = status == Status.LOADING
    after = state._replace(
        status=status.value,
        bytes_done=bytes_done,
        bytes_total=sums.bytes_total,
        items_total=sums.items if known else None,
        items_done=sums.done,
        items_failed=sums.failed,
        error_code=code,
        error=text,
        error_content=content,
        as_of=_latest(sums.as_of, state.error_at if state.error_etag else None),
        started_at=sums.started_at,
        finished_at=sums.finished_at if status == Status.COMPLETE else None,
        moved_at=now if moved else before.moved_at,
        stalled=before.stalled and loading and not moved,
        silent=before.silent and loading and not moved,
        waiting=before.waiting and loading and not moved,
        restarted=sums.restarted > 0,
        contradiction=_contradiction(before, state, sums, whole=whole).value,
        at_risk=before.at_risk and status not in (Status.COMPLETE, Status.DELETED),
        proof=before.proof if status == Status.COMPLETE else Proof.NONE.value,
        rate_bps=(rate_bps if moved else before.rate_bps) if going else None,
    )
    return _effective(before, after, now, first, open_=status in (Status.LOADING, Status.FAILED))


def _contradiction(before: LoadState, state: LoadState, sums: Sums, *, whole: bool) -> Contradiction:
    """The weightiest one. That the manifest changed midway lasts until the load is complete by the new one.

    Only a manifest that asks for other items or bytes counts: of a new title no aircraft need know.
    """
    if sums.oversized:
        return Contradiction.OVERSIZED
    if sums.errors_left:
        return Contradiction.ERROR_LEFT
    if whole:
        return Contradiction.NONE
    midway = before.items_total is not None and before.bytes_done > 0 and before.status != Status.COMPLETE
    other = (before.items_total, before.bytes_total) != (sums.items, sums.bytes_total)
    changed = state.manifest_etag != before.manifest_etag and other and sums.bytes_total is not None
    if (midway and changed) or before.contradiction == Contradiction.MANIFEST_CHANGED:
        return Contradiction.MANIFEST_CHANGED
    return Contradiction.NONE


def _effective(
    before: LoadState, after: LoadState, now: datetime, first: rates.Sample | None, *, open_: bool
) -> LoadState:
    """The load with its effective rate, where bytes moved: counted from `first`, or anew after a restart."""
    if not open_:
        return after._replace(effective_bps=None, effective_since=None, effective_base=0)
    if after.bytes_done == before.bytes_done:
        return after
    since, base = before.effective_since, before.effective_base
    if first is not None:
        since, base = first.at, first.bytes_done
    if since is None or after.bytes_done < before.bytes_done:
        since, base = now, after.bytes_done
    found = forecast.effective(since, base, after.bytes_done, now)
    return after._replace(effective_bps=found, effective_since=since, effective_base=base)


def _load_status(sums: Sums, *, whole: bool, own: bool) -> Status:
    """Worst first: a load in which an item has failed has failed, though others may still be moving."""
    if own or sums.failed:
        return Status.FAILED
    if whole:
        return Status.COMPLETE
    if sums.deleted and not sums.reported:
        return Status.DELETED
    return Status.LOADING if sums.loading or sums.bytes_done else Status.PENDING


def _renews(seen: Again, etag: str, at: datetime | None) -> bool:
    return seen.etag == etag and _newer(seen.at, at)


def _newer(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and (other is None or one > other)


def _latest(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((moment for moment in (one, other) if moment is not None), default=None)
