"""State machine of a load, from the totals of its transfers. Pure: values in, values out.

`next_load_state` returns an equal state where nothing changed, so that nothing is written. `now` is the portal's clock;
every other timestamp is the LastModified of an object.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from fleet.choices import Inconsistency, Status, Verification
from fleet.state import forecast, rates
from fleet.state.observations import ErrorObservation, ErrorSlot, is_later, latest_of
from loader.contract.item_reports import COUNT_LIMIT
from loader.errors import Code


class LoadState(NamedTuple):
    """The fields of a load that observations decide, named as in the model.

    `stalled` and the fields of `TIME_DEPENDENT_FIELDS` are set by `fleet.ingest.health` as time passes; here they only
    end.
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
    contradiction: str = Inconsistency.NONE.value
    proof: str = Verification.NONE.value
    silent: bool = False
    waiting: bool = False
    at_risk: bool = False
    effective_bps: int | None = None
    effective_since: datetime | None = None
    effective_base: int = 0


LOAD_FIELDS: Final = LoadState._fields

# How long after a manifest was written a loader may still report that it is missing, from a listing of before.
LISTING_DELAY: Final = timedelta(minutes=2)

# They change as time passes and are of no use in an archive.
TIME_DEPENDENT_FIELDS: Final = LOAD_FIELDS[LOAD_FIELDS.index("silent") :]

ARCHIVED_FIELDS: Final = tuple(name for name in LOAD_FIELDS if name not in TIME_DEPENDENT_FIELDS)


@dataclass(frozen=True, slots=True)
class ItemError:
    """The newest error of a failed item of a load."""

    content: str
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class TransferTotals:
    """Totals over the transfers of a load: of the items the manifest lists, or of all while it is unknown.

    `items` counts them, `reported` those with a progress object. `bytes_total` is None while the manifest is unknown.
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


@dataclass(frozen=True, slots=True)
class LoadContext:
    """What else decides the state of a load: the dates of its campaign, its airline's threshold, its manifest's date.

    `manifest_as_of`: LastModified of the newest manifest that was read; None if there never was one.
    """

    exhibition: forecast.ExhibitionDates
    risk_before: timedelta
    manifest_as_of: datetime | None

    def is_premature(self, state: LoadState) -> bool:
        """Return whether the campaign's error only says that its manifest was not there yet: it is being uploaded."""
        if state.campaign_error_code != Code.OBJECT_GONE:
            return False
        return self.manifest_as_of is None or not is_later(state.error_at, self.manifest_as_of + LISTING_DELAY)


def with_campaign_error(state: LoadState, seen: ErrorObservation | None) -> LoadState:
    """Return the load after an observation of its `campaign.json.error`."""
    error = ErrorSlot(state.error_etag, state.error_at, state.campaign_error_code, state.campaign_error).after(seen)
    return state._replace(
        error_etag=error.etag, error_at=error.at, campaign_error=error.text, campaign_error_code=error.code
    )


def next_load_state(
    before: LoadState,
    state: LoadState,
    totals: TransferTotals,
    failure: ItemError | None,
    now: datetime,
    rate_bps: int | None,
    baseline: rates.RateSample | None = None,
    context: LoadContext | None = None,
) -> LoadState:
    """Return the load after its transfers changed.

    `before` is the stored state, `state` the same with the campaign's error. `rate_bps` is measured from samples and
    used only if bytes moved. From `baseline`, if given, the effective rate is counted from now on. With `context`, a
    load that was at risk is only so if it still is by the new figures.
    """
    complete = totals.bytes_total is not None and totals.done == totals.items
    campaign_failed = bool(state.error_etag) and not (complete and is_later(totals.as_of, state.error_at))
    campaign_failed = campaign_failed and not (context is not None and context.is_premature(state))
    status = _load_status(totals, complete=complete, campaign_failed=campaign_failed)
    after = _with_error(_with_figures(state._replace(status=status.value), totals), failure, campaign_failed)
    moving = status == Status.LOADING or (status == Status.FAILED and totals.loading > 0)
    moved = after.bytes_done != before.bytes_done or (moving and before.moved_at is None)
    after = _with_flags(before, after, totals, moved=moved, complete=complete)._replace(
        moved_at=now if moved else before.moved_at,
        rate_bps=(rate_bps if moved else before.rate_bps) if moving else None,
    )
    after = _with_effective_rate(before, after, now, baseline, open_=status in (Status.LOADING, Status.FAILED))
    if not after.at_risk or context is None:
        return after
    return after._replace(at_risk=forecast.is_load_at_risk(after, context.exhibition, context.risk_before, now))


def _with_figures(state: LoadState, totals: TransferTotals) -> LoadState:
    return state._replace(
        bytes_done=min(totals.bytes_done, COUNT_LIMIT if totals.bytes_total is None else totals.bytes_total),
        bytes_total=totals.bytes_total,
        items_total=None if totals.bytes_total is None else totals.items,
        items_done=totals.done,
        items_failed=totals.failed,
        as_of=latest_of(totals.as_of, state.error_at if state.error_etag else None),
        started_at=totals.started_at,
        finished_at=totals.finished_at if state.status == Status.COMPLETE else None,
    )


def _with_error(state: LoadState, failure: ItemError | None, campaign_failed: bool) -> LoadState:
    """Return the load with the error to show first: the campaign's own, else that of an item."""
    if campaign_failed:
        return state._replace(error_code=state.campaign_error_code, error=state.campaign_error, error_content="")
    shown = failure or ItemError("", "", "")
    return state._replace(error_code=shown.code, error=shown.text, error_content=shown.content)


def _with_flags(
    before: LoadState, state: LoadState, totals: TransferTotals, *, moved: bool, complete: bool
) -> LoadState:
    """Return the load with its flags. The time-based ones are only cleared here."""
    lasts = state.status == Status.LOADING and not moved
    return state._replace(
        stalled=before.stalled and lasts,
        silent=before.silent and lasts,
        waiting=before.waiting and lasts,
        restarted=totals.restarted > 0,
        contradiction=_inconsistency(before, state, totals, complete=complete).value,
        at_risk=before.at_risk and state.status not in (Status.COMPLETE, Status.DELETED),
        proof=before.proof if state.status == Status.COMPLETE else Verification.NONE.value,
    )


def _inconsistency(before: LoadState, state: LoadState, totals: TransferTotals, *, complete: bool) -> Inconsistency:
    """Return the most severe inconsistency.

    A manifest that changed while the load was loading counts until the load is complete by the new one. Only different
    items or bytes count: a new title concerns no aircraft.
    """
    if totals.oversized:
        return Inconsistency.OVERSIZED
    if totals.errors_left:
        return Inconsistency.ERROR_LEFT
    if complete:
        return Inconsistency.NONE
    midway = before.items_total is not None and before.bytes_done > 0 and before.status != Status.COMPLETE
    other = (before.items_total, before.bytes_total) != (totals.items, totals.bytes_total)
    changed = state.manifest_etag != before.manifest_etag and other and totals.bytes_total is not None
    if (midway and changed) or before.contradiction == Inconsistency.MANIFEST_CHANGED:
        return Inconsistency.MANIFEST_CHANGED
    return Inconsistency.NONE


def _with_effective_rate(
    before: LoadState, after: LoadState, now: datetime, baseline: rates.RateSample | None, *, open_: bool
) -> LoadState:
    """Return the load with its effective rate where bytes moved: from `baseline`, or restarted when bytes went down."""
    if not open_:
        return after._replace(effective_bps=None, effective_since=None, effective_base=0)
    if after.bytes_done == before.bytes_done:
        return after
    since, base = before.effective_since, before.effective_base
    if baseline is not None:
        since, base = baseline.at, baseline.bytes_done
    if since is None or after.bytes_done < before.bytes_done:
        since, base = now, after.bytes_done
    rate = forecast.effective_rate(since, base, after.bytes_done, now)
    return after._replace(effective_bps=rate, effective_since=since, effective_base=base)


def _load_status(totals: TransferTotals, *, complete: bool, campaign_failed: bool) -> Status:
    """Return the most severe status: one failed item fails the load, although others may still be moving."""
    if campaign_failed or totals.failed:
        return Status.FAILED
    if complete:
        return Status.COMPLETE
    if totals.deleted and not totals.reported:
        return Status.DELETED
    return Status.LOADING if totals.loading or totals.bytes_done else Status.PENDING
