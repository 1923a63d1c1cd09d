"""Heartbeats of tails: when each was last heard, and what its loader reports. May touch tails.

`heard_at` is the LastModified of the newest object, by the store's clock; `seen_at` is when the portal saw something
new, by its own clock. Only `seen_at` is ever subtracted from the current time.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from operator import attrgetter
from typing import Final, NamedTuple

from fleet.ingest.updates import SupersededObjects, TailUpdate
from fleet.models import Tail
from fleet.state.health import LOADER_ACTIVE_FOR
from fleet.state.observations import (
    HeartbeatObservation,
    HeartbeatObserved,
    ObjectDeleted,
    ObjectRewritten,
    is_outdated,
)
from ifeportal.bulk import update
from loader.contract.heartbeat import extra_text

HEARTBEAT_FIELDS: Final = (
    "heard_at",
    "heartbeat_etag",
    "heartbeat_at",
    "loader_version",
    "loader_state",
    "loader_reason",
    "rate_bps",
    "stores",
    "held",
    "queue_version",
    "queue_error",
    "signatures",
    "seen_at",
    "awake_since",
    "silent",
)
_heartbeat_values = attrgetter(*HEARTBEAT_FIELDS)
_verification_inputs = attrgetter("held", "signatures")


class HeartbeatResult(NamedTuple):
    """The ids of changed tails, of those whose `held` or signature policy changed, and outdated heartbeats."""

    changed: set[int]
    inventory_changed: set[int]
    superseded: SupersededObjects


def apply_heartbeats(updates: Iterable[tuple[Tail, TailUpdate]], now: datetime) -> HeartbeatResult:
    """Write the heartbeats of these tails and when they were last seen."""
    changed: list[Tail] = []
    inventory_changed: set[int] = set()
    superseded: SupersededObjects = set()
    for tail, tail_update in updates:
        before, inventory, known = _heartbeat_values(tail), _verification_inputs(tail), tail.heartbeat_at
        _apply(tail, tail_update.heard_at, tail_update.heartbeat)
        if tail_update.heard_at is not None:
            if tail.awake_since is None or tail.seen_at is None or now - tail.seen_at > LOADER_ACTIVE_FOR:
                tail.awake_since = now
            tail.seen_at, tail.silent = now, False
        if is_outdated(tail_update.heartbeat, known):
            superseded.add((tail.pk, ("heartbeat", "", "")))
        if _heartbeat_values(tail) != before:
            changed.append(tail)
        if _verification_inputs(tail) != inventory:
            inventory_changed.add(tail.pk)
    update(Tail, HEARTBEAT_FIELDS, [(tail.pk, *_heartbeat_values(tail)) for tail in changed])
    return HeartbeatResult({tail.pk for tail in changed}, inventory_changed, superseded)


def _apply(tail: Tail, heard_at: datetime | None, heartbeat: HeartbeatObservation | None) -> None:
    if heard_at is not None and (tail.heard_at is None or heard_at > tail.heard_at):
        tail.heard_at = heard_at
    if isinstance(heartbeat, HeartbeatObserved):
        _apply_heartbeat(tail, heartbeat)
    elif heartbeat is not None and heartbeat.etag == tail.heartbeat_etag:
        _renew_heartbeat(tail, heartbeat)


def _renew_heartbeat(tail: Tail, seen: ObjectRewritten | ObjectDeleted) -> None:
    if isinstance(seen, ObjectDeleted):
        tail.heartbeat_etag = ""
    elif tail.heartbeat_at is None or seen.at > tail.heartbeat_at:
        tail.heartbeat_at = seen.at


def _apply_heartbeat(tail: Tail, seen: HeartbeatObserved) -> None:
    if tail.heartbeat_at is not None and seen.at < tail.heartbeat_at:
        return
    tail.heartbeat_etag, tail.heartbeat_at = seen.etag, seen.at
    beat = seen.heartbeat
    if beat is None:
        return  # the last heartbeat that could be parsed stays
    tail.loader_version, tail.loader_state, tail.loader_reason = beat.loader[:100], beat.state[:20], beat.reason[:500]
    tail.rate_bps, tail.queue_version = beat.rate_bps, beat.queue_version
    tail.queue_error = extra_text(beat, "queue_error")[:500]
    tail.signatures = extra_text(beat, "signature_policy")[:20]
    tail.stores = [{"path": store.path, "total": store.total, "free": store.free} for store in beat.stores]
    tail.held = [
        {"campaign": held.campaign, "items": held.items, "bytes": held.bytes, "verified": held.verified}
        for held in beat.held
    ]
