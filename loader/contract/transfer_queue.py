"""The transfer queue of a tail, `<airline>/.fleet/<tail>.json`: what the ground wants aboard, read strictly.

Standard library only; pure. A queue is taken whole or not at all. Unknown fields are kept, and so is an entry whose
action is not known here: a loader that is older than the portal passes it over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from loader.contract.manifest import ITEMS_LIMIT, PRIORITY_LIMIT
from loader.contract.names import TGZ, check_name, content_name
from loader.contract.strict_json import INT_LIMIT, Fields, dumps, kind_of, loads, said, utc_text
from loader.contract.time_window import Window, parse_window
from loader.contract.units import MIB, parse_size
from loader.errors import BadName, BadTransferQueue

ORDERS_LIMIT: Final = MIB
ENTRIES_LIMIT: Final = 1000
_ACTION_LIMIT: Final = 40


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the queue. `content`: names without `.tgz`; None is all of the campaign, () is none of it.

    `action`: "load" or "purge"; another one is passed over. Times aware, UTC.
    """

    campaign: str
    content: tuple[str, ...] | None = None
    action: str = "load"
    priority: int = 0
    not_before: datetime | None = None
    deadline: datetime | None = None
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Orders:
    """A whole queue. `entries` None: it says nothing about campaigns, all are loaded as without a queue; (): none is.

    `bandwidth_limit` in bytes a second, None and 0 are no limit; `window` None is any hour. The loader's own settings
    hold beside these: the lower limit, and the hours that both allow.
    """

    version: int
    entries: tuple[Entry, ...] | None = None
    paused: bool = False
    bandwidth_limit: int | None = None
    window: Window | None = None
    schema: int | None = 1
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)
    settings_extra: Mapping[str, object] = field(default_factory=dict, hash=False)


def parse_orders(body: bytes) -> Orders:
    """The queue in `body`.

    Raises:
        BadOrders: it breaks the contract anywhere; the sentence names the place. Its code is BAD_NAME where a name
            is the reason.
    """
    fields = Fields(loads(body, limit=ORDERS_LIMIT, error=BadTransferQueue), "", BadTransferQueue)
    version = fields.integer("version")
    if version is None:
        fields.refuse("version", "is missing")
    given = fields.take("settings")
    settings = Fields({} if given is None else given, "settings", BadTransferQueue)
    return Orders(
        version=version,
        entries=_entries(fields),
        paused=settings.boolean("paused", False),
        bandwidth_limit=_limit(settings),
        window=_window(settings),
        schema=fields.integer("schema"),
        extra=fields.extra,
        settings_extra=settings.extra,
    )


def _entries(fields: Fields) -> tuple[Entry, ...] | None:
    if fields.extra.get("entries") is None:
        fields.take("entries")
        return None
    listed = fields.items("entries")
    if len(listed) > ENTRIES_LIMIT:
        fields.refuse("entries", f"has {len(listed):,} entries; {ENTRIES_LIMIT:,} are allowed")
    return tuple(_entry(entry, f"entries[{index}]") for index, entry in enumerate(listed))


def _entry(entry: object, place: str) -> Entry:
    fields = Fields(entry, place, BadTransferQueue)
    return Entry(
        campaign=_campaign(fields),
        content=_content(fields),
        action=_action(fields),
        priority=fields.integer("priority", -PRIORITY_LIMIT, PRIORITY_LIMIT) or 0,
        not_before=fields.time("not_before"),
        deadline=fields.time("deadline"),
        extra=fields.extra,
    )


def _campaign(fields: Fields) -> str:
    name = fields.take("campaign")
    if not isinstance(name, str):
        fields.refuse("campaign", "is missing" if name is None else f"must be a string, not {kind_of(name)}")
    try:
        return check_name(name)
    except BadName as exc:
        fields.refuse("campaign", str(exc), code="BAD_NAME")


def _content(fields: Fields) -> tuple[str, ...] | None:
    if fields.extra.get("content") is None:
        fields.take("content")
        return None
    listed = fields.items("content")
    if len(listed) > ITEMS_LIMIT:
        fields.refuse("content", f"has {len(listed):,} names; {ITEMS_LIMIT:,} are allowed")
    return tuple(_name(fields, f"content[{index}]", name) for index, name in enumerate(listed))


def _name(fields: Fields, place: str, name: object) -> str:
    if not isinstance(name, str):
        fields.refuse(place, f"must be a string, not {kind_of(name)}")
    try:
        return content_name(name)
    except BadName as exc:
        fields.refuse(place, str(exc), code="BAD_NAME")


def _action(fields: Fields) -> str:
    action = fields.text("action", "load")
    if len(action) > _ACTION_LIMIT or not action.isprintable():
        fields.refuse("action", f"must be load or purge, not {action[:_ACTION_LIMIT]!a}")
    return action


def _limit(settings: Fields) -> int | None:
    if not isinstance(settings.extra.get("bandwidth_limit"), str):
        return settings.integer("bandwidth_limit")
    try:
        limit = parse_size(settings.text("bandwidth_limit"))
    except ValueError as error:
        settings.refuse("bandwidth_limit", str(error))
    if limit > INT_LIMIT:
        settings.refuse("bandwidth_limit", f"must be at most {INT_LIMIT} bytes a second")
    return limit


def _window(settings: Fields) -> Window | None:
    if settings.extra.get("window") is None:
        settings.take("window")
        return None
    try:
        return parse_window(settings.text("window"))
    except ValueError as error:
        settings.refuse("window", str(error))


def build_orders(orders: Orders) -> bytes:
    """The body of a queue; parsing it gives the same orders, unknown fields included.

    Raises:
        BadOrders: it would be longer than `ORDERS_LIMIT`.
    """
    settings = {
        "paused": orders.paused or None,
        "bandwidth_limit": orders.bandwidth_limit,
        "window": None if orders.window is None else str(orders.window),
    }
    known = {
        "schema": orders.schema,
        "version": orders.version,
        "entries": None if orders.entries is None else [_entry_fields(entry) for entry in orders.entries],
        "settings": said(settings, orders.settings_extra) or None,
    }
    body = dumps(said(known, orders.extra))
    if len(body) > ORDERS_LIMIT:
        raise BadTransferQueue(f"it would have {len(body):,} bytes; {ORDERS_LIMIT:,} are allowed")
    return body


def _entry_fields(entry: Entry) -> dict[str, object]:
    content = entry.content
    known = {
        "campaign": entry.campaign,
        # A name that itself ends in .tgz needs a second one, or a reader would take the first off.
        "content": None if content is None else [name + TGZ if name.endswith(TGZ) else name for name in content],
        "action": entry.action,
        "priority": entry.priority or None,
        "not_before": utc_text(entry.not_before),
        "deadline": utc_text(entry.deadline),
    }
    return said(known, entry.extra)
