"""JSON of rows for the API, the pages and the feed: one function per topic.

Pure: reads the row and what was loaded with it, never the database. `serialize_transfer` and `serialize_load` need
`select_related("load__tail__airline", "load__campaign")` and `("tail__airline", "campaign")`; the other three need rows
from `fleet.stats.rollup`. Bytes, bytes per second, seconds; timestamps in ISO 8601 with Z; unknown is None, never 0.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from campaigns.models import Campaign
from fleet.models import Load, ProgressFields, Tail, Transfer
from fleet.stats.rollup import COUNTED_STATES, Rollup, read_rollup
from ifeportal.formatting import iso
from ifeportal.models import Airline

JSONRow = dict[str, Any]


def serialize_transfer(row: Transfer) -> JSONRow:
    load = row.load
    return {
        "id": row.pk,
        "airline": load.tail.airline.name,
        "tail": load.tail.name,
        "campaign": load.campaign.name,
        "content": row.content,
        **_progress(row),
        **_flags(row, load),
        "oversized": row.oversized,
        "unreadable": row.unreadable,
        "listed": row.listed,
        "bytes_reported": row.bytes_reported,
        "error_past": row.error_past,
        "error_cut": row.error_cut,
    }


def serialize_load(row: Load) -> JSONRow:
    """Return the JSON of a load. `error_content` names the item of the error; it is empty for the campaign's own."""
    return {
        "id": row.pk,
        "airline": row.tail.airline.name,
        "tail": row.tail.name,
        "campaign": row.campaign.name,
        **_progress(row),
        **_flags(row, row),
        "at_risk": row.at_risk,
        "effective_bps": row.effective_bps,
        "eta_latest_seconds": row.eta_latest_seconds,
        "proof": row.proof,
        "error_content": row.error_content,
        "items_total": row.items_total,
        "items_done": row.items_done,
        "items_failed": row.items_failed,
        "archived_at": _timestamp(row.archived_at),
    }


def serialize_tail(row: Tail) -> JSONRow:
    return {
        "id": row.pk,
        "airline": row.airline.name,
        "tail": row.name,
        "discovered": row.discovered,
        "heard_at": _timestamp(row.heard_at),
        "heartbeat_at": _timestamp(row.heartbeat_at),
        "loader_version": row.loader_version,
        "loader_state": row.loader_state,
        "loader_reason": row.loader_reason,
        "rate_bps": row.rate_bps,
        "stores": row.stores,
        "duty": row.duty,
        "aircraft_type": row.aircraft_type,
        "seen_at": _timestamp(row.seen_at),
        "is_silent": row.silent,
        "queue_version": row.queue_version,
        "queue_error": row.queue_error,
        "signatures": row.signatures,
        **_totals(read_rollup(row)),
    }


def serialize_campaign(row: Campaign) -> JSONRow:
    """Return the JSON of a campaign. `items` and `bytes` are those of its manifest, the totals those of its loads."""
    rollup = read_rollup(row)
    return {
        "id": row.pk,
        "airline": row.airline.name,
        "campaign": row.name,
        "title": row.title,
        "version": row.version,
        "discovered": row.discovered,
        "exhibition_starts": _day(row.exhibition_starts),
        "exhibition_ends": _day(row.exhibition_ends),
        "manifest_state": row.manifest_state,
        "manifest_problem": row.manifest_problem,
        "manifest_as_of": _timestamp(row.manifest_as_of),
        "signed": row.signed,
        "withdrawn_at": _timestamp(row.withdrawn_at),
        "items": row.items_total,
        "bytes": row.bytes_total,
        **_tail_counts(rollup),
        **_totals(rollup),
    }


def serialize_airline(row: Airline) -> JSONRow:
    rollup = read_rollup(row)
    return {
        "id": row.pk,
        "airline": row.name,
        "title": row.title,
        "discovered": row.discovered,
        **_tail_counts(rollup),
        **_totals(rollup),
    }


def _flags(row: Load | Transfer, load: Load) -> JSONRow:
    """Return the flags on top of `loading`, and the state they result in."""
    return {
        "state": row.state,
        "silent": load.silent,
        "waiting": load.waiting,
        "restarted": row.restarted,
        "contradiction": row.contradiction,
    }


def _progress(row: ProgressFields) -> JSONRow:
    return {
        "status": row.status,
        "stalled": row.stalled,
        "bytes_done": row.bytes_done,
        "bytes_total": row.bytes_total,
        "percent": row.percent,
        "error": row.error,
        "error_code": row.error_code,
        "rate_bps": row.rate_bps,
        "eta_seconds": row.eta_seconds,
        "as_of": _timestamp(row.as_of),
        "started_at": _timestamp(row.started_at),
        "finished_at": _timestamp(row.finished_at),
    }


def _tail_counts(rollup: Rollup) -> JSONRow:
    return {"tails": rollup.tails, "tails_out": rollup.tails_out}


def _totals(rollup: Rollup) -> JSONRow:
    return {
        "status": rollup.status,
        "state": rollup.state,
        "percent": rollup.percent,
        "bytes_done": rollup.bytes_done,
        "bytes_total": rollup.bytes_total,
        "loads": rollup.loads,
        "loads_unknown": rollup.loads_unknown,
        **{word: getattr(rollup, word) for word in COUNTED_STATES},
        "at_risk": rollup.at_risk,
        "items_total": rollup.items_total,
        "items_done": rollup.items_done,
        "items_failed": rollup.items_failed,
        "as_of": _timestamp(rollup.as_of),
    }


def _timestamp(value: datetime | None) -> str | None:
    return None if value is None else iso(value)


def _day(value: date | None) -> str | None:
    return None if value is None else value.isoformat()
