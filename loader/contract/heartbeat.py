"""`loader.json`, the heartbeat of a loader: parsed and built, with unknown fields preserved. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Final

from loader.contract.strict_json import Fields, dumps, format_utc_or_none, loads, with_extra
from loader.contract.text import clean_line
from loader.errors import BadHeartbeat
from loader.frozen import frozen

HEARTBEAT_LIMIT: Final = 256 * 1024


@frozen
class StoreUsage:
    """Space of a content directory; `total` and `free` in bytes."""

    path: str
    total: int | None = None
    free: int | None = None
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)


@frozen
class HeldCampaign:
    """A campaign on the aircraft."""

    campaign: str
    items: int | None = None
    bytes: int | None = None
    verified: bool = False
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)


@frozen
class Heartbeat:
    """State of a loader. Times are aware, in UTC; `rate_bps` in bytes per second; None if the field is missing."""

    loader: str = ""
    at: datetime | None = None
    started_at: datetime | None = None
    state: str = ""
    reason: str = ""
    campaign: str = ""
    rate_bps: int | None = None
    stores: tuple[StoreUsage, ...] = ()
    queue_version: int | None = None
    held: tuple[HeldCampaign, ...] = ()
    schema: int | None = 1
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)


def parse_heartbeat(body: bytes) -> Heartbeat:
    """Return the heartbeat in the body of a `loader.json`; missing fields are empty or None.

    Raises:
        BadHeartbeat: the body breaks the contract; the sentence names the field.
    """
    fields = Fields(loads(body, limit=HEARTBEAT_LIMIT, error=BadHeartbeat), "", BadHeartbeat)
    return Heartbeat(
        loader=_line(fields, "loader"),
        at=fields.datetime_or_utc("at"),
        started_at=fields.datetime_or_utc("started_at"),
        state=_line(fields, "state"),
        reason=_line(fields, "reason"),
        campaign=_line(fields, "campaign"),
        rate_bps=fields.integer("rate_bps"),
        stores=tuple(_store_usage(entry, f"stores[{at}]") for at, entry in enumerate(fields.array("stores"))),
        queue_version=fields.integer("queue_version"),
        held=tuple(_held_campaign(entry, f"held[{at}]") for at, entry in enumerate(fields.array("held"))),
        schema=fields.integer("schema"),
        extra=fields.extra,
    )


def _line(fields: Fields, name: str) -> str:
    return clean_line(fields.text(name))


def extra_text(heartbeat: Heartbeat, name: str) -> str:
    """Return an optional field that this version does not model, as one line; "" if it is not a string."""
    value = heartbeat.extra.get(name)
    return clean_line(value) if isinstance(value, str) else ""


def _store_usage(entry: object, path: str) -> StoreUsage:
    fields = Fields(entry, path, BadHeartbeat)
    return StoreUsage(_line(fields, "path"), fields.integer("total"), fields.integer("free"), fields.extra)


def _held_campaign(entry: object, path: str) -> HeldCampaign:
    fields = Fields(entry, path, BadHeartbeat)
    return HeldCampaign(
        campaign=_line(fields, "campaign"),
        items=fields.integer("items"),
        bytes=fields.integer("bytes"),
        verified=fields.boolean("verified", False),
        extra=fields.extra,
    )


def build_heartbeat(heartbeat: Heartbeat) -> bytes:
    """Return the body of a `loader.json`, unknown fields included; `parse_heartbeat` is the inverse."""
    return dumps(
        with_extra(
            {
                "schema": heartbeat.schema,
                "loader": heartbeat.loader,
                "at": format_utc_or_none(heartbeat.at),
                "started_at": format_utc_or_none(heartbeat.started_at),
                "state": heartbeat.state,
                "reason": heartbeat.reason,
                "campaign": heartbeat.campaign,
                "rate_bps": heartbeat.rate_bps,
                "stores": [
                    with_extra({"path": s.path, "total": s.total, "free": s.free}, s.extra) for s in heartbeat.stores
                ],
                "queue_version": heartbeat.queue_version,
                "held": [
                    with_extra(
                        {"campaign": h.campaign, "items": h.items, "bytes": h.bytes, "verified": h.verified}, h.extra
                    )
                    for h in heartbeat.held
                ],
            },
            heartbeat.extra,
        )
    )
