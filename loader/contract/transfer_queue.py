"""The transfer queue of a tail, `<airline>/.fleet/<tail>.json`: parsed strictly, built with unknown fields preserved.

Standard library only; pure. One invalid field refuses the complete queue. Entries with an unknown action are valid: a
loader that is older than the portal ignores them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from datetime import datetime
from typing import Final

from loader.contract.manifest import ITEMS_LIMIT, PRIORITY_LIMIT
from loader.contract.names import check_name, content_name, listed_name
from loader.contract.strict_json import INT_LIMIT, Fields, dumps, format_utc_or_none, json_type_name, loads, with_extra
from loader.contract.time_window import TimeWindow, parse_time_window
from loader.contract.units import MIB, parse_size
from loader.errors import BadName, BadTransferQueue, Code
from loader.frozen import frozen

QUEUE_LIMIT: Final = MIB
ENTRIES_LIMIT: Final = 1000
VERSION_STEP_LIMIT: Final = 1_000_000  # so that no single queue can use up the numbers of all later ones
_SIGNED_LISTS: Final = ("stores", "uploads")  # top-level lists that take effect only in a signed queue
_ACTION_LIMIT: Final = 40


@frozen
class QueueEntry:
    """An entry of the queue. `content`: names without `.tgz`; None means the complete campaign, () no item.

    `action`: "load" or "purge"; entries with any other action are ignored. Times are aware, in UTC.
    """

    campaign: str
    content: tuple[str, ...] | None = None
    action: str = "load"
    priority: int = 0
    not_before: datetime | None = None
    deadline: datetime | None = None
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)


@frozen
class TransferQueue:
    """A transfer queue. `entries`: None to load every campaign, as without a queue; () to load none.

    `bandwidth_limit` in bytes per second, None and 0 mean no limit; `window` None means any hour. The settings of the
    loader apply too: the lower limit, and the hours that both allow.
    """

    version: int
    entries: tuple[QueueEntry, ...] | None = None
    paused: bool = False
    bandwidth_limit: int | None = None
    window: TimeWindow | None = None
    schema: int | None = 1
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)
    settings_extra: Mapping[str, object] = field(default_factory=dict, hash=False)


def parse_transfer_queue(body: bytes) -> TransferQueue:
    """Return the queue in `body`.

    Raises:
        BadTransferQueue: the body breaks the contract; the sentence names the field. The code is BAD_NAME if a name
            is the reason.
    """
    fields = Fields(loads(body, limit=QUEUE_LIMIT, error=BadTransferQueue), "", BadTransferQueue)
    version = fields.integer("version")
    if version is None:
        fields.fail("version", "is missing")
    given = fields.pop("settings")
    settings = Fields({} if given is None else given, "settings", BadTransferQueue)
    return TransferQueue(
        version=version,
        entries=_entries(fields),
        paused=settings.boolean("paused", False),
        bandwidth_limit=_limit(settings),
        window=_window(settings),
        schema=fields.integer("schema"),
        extra=fields.extra,
        settings_extra=settings.extra,
    )


def check_version_step(queue: TransferQueue, current: int | None) -> None:
    """Check the version of a queue that follows version `current`; None if there is none, which counts as 0.

    Raises:
        BadTransferQueue: the version is lower (ROLLBACK), or higher by more than `VERSION_STEP_LIMIT`.
    """
    before = current or 0
    if queue.version < before:
        raise BadTransferQueue(f"its version {queue.version} is older than version {before}", code=Code.ROLLBACK)
    if queue.version - before > VERSION_STEP_LIMIT:
        raise BadTransferQueue(
            f"its version {queue.version} is more than {VERSION_STEP_LIMIT:,} above "
            + (f"version {before}" if current is not None else "0, and there is no current version")
        )


def without_privileges(queue: TransferQueue) -> tuple[TransferQueue, tuple[str, ...]]:
    """Return what an unsigned queue may decide where signatures are required: order, window and bandwidth.

    The second value names what was left out, for a sentence: removals, a pause, an empty list of entries (which would
    pause loading too), stores and uploads.
    """
    purged = [entry.campaign for entry in queue.entries or () if entry.action == "purge"]
    entries = tuple(entry for entry in queue.entries or () if entry.action != "purge")
    lists = [name for name in _SIGNED_LISTS if name in queue.extra]
    ignored = (
        *([f"the removal of {_quoted(purged)}"] if purged else []),
        *(["the pause"] if queue.paused else []),
        *(["the empty list of entries"] if queue.entries == () else []),
        *(f"its {name}" for name in lists),
    )
    extra = {name: value for name, value in queue.extra.items() if name not in lists}
    return replace(queue, entries=entries or None, paused=False, extra=extra), ignored


def _quoted(campaigns: list[str]) -> str:
    names = list(dict.fromkeys(campaigns))
    more = f" and {len(names) - 3} more campaigns" if len(names) > 3 else ""
    return ", ".join(f"{name[:80]!a}" for name in names[:3]) + more


def _entries(fields: Fields) -> tuple[QueueEntry, ...] | None:
    if fields.extra.get("entries") is None:
        fields.pop("entries")
        return None
    listed = fields.array("entries")
    if len(listed) > ENTRIES_LIMIT:
        fields.fail("entries", f"has {len(listed):,} entries; the limit is {ENTRIES_LIMIT:,}")
    return tuple(_entry(entry, f"entries[{index}]") for index, entry in enumerate(listed))


def _entry(entry: object, path: str) -> QueueEntry:
    fields = Fields(entry, path, BadTransferQueue)
    return QueueEntry(
        campaign=_campaign(fields),
        content=_content(fields),
        action=_action(fields),
        priority=fields.integer("priority", -PRIORITY_LIMIT, PRIORITY_LIMIT) or 0,
        not_before=fields.datetime_or_utc("not_before"),
        deadline=fields.datetime_or_utc("deadline"),
        extra=fields.extra,
    )


def _campaign(fields: Fields) -> str:
    name = fields.pop("campaign")
    if not isinstance(name, str):
        fields.fail("campaign", "is missing" if name is None else f"must be a string, not {json_type_name(name)}")
    try:
        return check_name(name)
    except BadName as exc:
        fields.fail("campaign", str(exc), code=Code.BAD_NAME)


def _content(fields: Fields) -> tuple[str, ...] | None:
    if fields.extra.get("content") is None:
        fields.pop("content")
        return None
    listed = fields.array("content")
    if len(listed) > ITEMS_LIMIT:
        fields.fail("content", f"has {len(listed):,} names; the limit is {ITEMS_LIMIT:,}")
    return tuple(_name(fields, f"content[{index}]", name) for index, name in enumerate(listed))


def _name(fields: Fields, path: str, name: object) -> str:
    if not isinstance(name, str):
        fields.fail(path, f"must be a string, not {json_type_name(name)}")
    try:
        return content_name(name)
    except BadName as exc:
        fields.fail(path, str(exc), code=Code.BAD_NAME)


def _action(fields: Fields) -> str:
    action = fields.text("action", "load")
    if len(action) > _ACTION_LIMIT or not action.isprintable():
        fields.fail("action", f"must be load or purge, not {action[:_ACTION_LIMIT]!a}")
    return action


def _limit(settings: Fields) -> int | None:
    if not isinstance(settings.extra.get("bandwidth_limit"), str):
        return settings.integer("bandwidth_limit")
    try:
        limit = parse_size(settings.text("bandwidth_limit"))
    except ValueError as error:
        settings.fail("bandwidth_limit", str(error))
    if limit > INT_LIMIT:
        settings.fail("bandwidth_limit", f"must be at most {INT_LIMIT} bytes per second")
    return limit


def _window(settings: Fields) -> TimeWindow | None:
    if settings.extra.get("window") is None:
        settings.pop("window")
        return None
    try:
        return parse_time_window(settings.text("window"))
    except ValueError as error:
        settings.fail("window", str(error))


def build_transfer_queue(queue: TransferQueue) -> bytes:
    """Return the body of a queue, unknown fields included; `parse_transfer_queue` is the inverse.

    Raises:
        BadTransferQueue: the body exceeds `QUEUE_LIMIT`.
    """
    settings = {
        "paused": queue.paused or None,
        "bandwidth_limit": queue.bandwidth_limit,
        "window": None if queue.window is None else str(queue.window),
    }
    known = {
        "schema": queue.schema,
        "version": queue.version,
        "entries": None if queue.entries is None else [_entry_fields(entry) for entry in queue.entries],
        "settings": with_extra(settings, queue.settings_extra) or None,
    }
    body = dumps(with_extra(known, queue.extra))
    if len(body) > QUEUE_LIMIT:
        raise BadTransferQueue(f"the queue has {len(body):,} bytes; the limit is {QUEUE_LIMIT:,}")
    return body


def _entry_fields(entry: QueueEntry) -> dict[str, object]:
    content = entry.content
    known = {
        "campaign": entry.campaign,
        "content": None if content is None else [listed_name(name) for name in content],
        "action": entry.action,
        "priority": entry.priority or None,
        "not_before": format_utc_or_none(entry.not_before),
        "deadline": format_utc_or_none(entry.deadline),
    }
    return with_extra(known, entry.extra)
