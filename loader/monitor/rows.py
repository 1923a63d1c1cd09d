"""Rows of the status board: items and totals, and how a new plan changes them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from loader.contract.strict_json import format_utc_or_none
from loader.errors import ERRORS, Code
from loader.monitor.events import (
    HookRecovered,
    ItemEvent,
    ItemFailed,
    ItemFinished,
    ItemRetrying,
    ItemStarted,
    ItemStopped,
)
from loader.planning.model import PlanStep
from loader.s3.throughput import RateMeter, eta

StatusWord = Literal["pending", "loading", "complete", "failed"]


@dataclass(slots=True)
class ItemStatus:
    """One item. `staged`: it gets its final name with its campaign. `changed`: revision of its last change."""

    campaign: str
    content: str
    title: str
    bytes_total: int
    hashed: bool
    status: StatusWord = "pending"
    bytes_done: int = 0
    staged: bool = False
    code: Code | None = None
    error: str = ""
    retry_at: datetime | None = None
    meter: RateMeter | None = field(default=None, compare=False)
    changed: int = field(default=0, compare=False)

    @property
    def verified(self) -> bool:
        """Whether the item is complete and has the hash of the manifest."""
        return self.hashed and self.is_on_disk and self.status != "failed"

    @property
    def is_on_disk(self) -> bool:
        """Whether every byte is on disk and no transfer runs."""
        return self.bytes_done == self.bytes_total and self.meter is None

    def clear_error(self) -> None:
        self.code, self.error, self.retry_at = None, "", None


def apply_event(entry: ItemStatus, event: ItemEvent, clock: float, now: datetime) -> None:
    """Update an item for an event other than progress. `clock`: seconds of the meter's clock; `now`: in UTC."""
    match event:
        case ItemStarted():
            entry.status, entry.bytes_done, entry.bytes_total = "loading", event.bytes_done, event.bytes_total
            entry.meter = RateMeter(clock)
        case ItemRetrying():
            entry.code, entry.error = event.code, event.error
            entry.retry_at = now + timedelta(seconds=event.seconds)
        case ItemStopped():
            entry.status, entry.meter, entry.retry_at = "failed" if entry.code else "pending", None, None
        case ItemFinished():
            # A staged item waits for its campaign; an older version may still have its final name.
            entry.status = "loading" if entry.staged else "complete"
            entry.bytes_done, entry.hashed, entry.meter = event.bytes_total, event.verified, None
            entry.clear_error()
        case ItemFailed():
            entry.status, entry.code, entry.error = "failed", event.code, event.error
            entry.meter = entry.retry_at = None
        case HookRecovered() if entry.bytes_done == entry.bytes_total:
            entry.status = "complete"
            entry.clear_error()


def carried_over(step: PlanStep, before: ItemStatus | None) -> ItemStatus:
    """Return the item after a new plan, with what is still true of its status `before`."""
    item = step.item
    entry = ItemStatus(step.campaign, item.name, item.title, item.size, item.sha256 is not None, staged=step.staged)
    same = before is not None and (before.bytes_total, before.hashed) == (entry.bytes_total, entry.hashed)
    if before is not None and same and before.meter is not None and step.action not in ("keep", "refuse", "blocked"):
        # A transfer runs: its events are newer than the disk state in the plan.
        entry.status, entry.bytes_done, entry.meter = before.status, before.bytes_done, before.meter
        entry.code, entry.error, entry.retry_at = before.code, before.error, before.retry_at
        return entry
    entry.bytes_done = step.bytes_done
    if step.action == "keep":
        entry.bytes_done = item.size
        entry.status = "loading" if step.staged else "complete"
        if before is not None and same and before.code == Code.HOOK_FAILED:
            entry.status, entry.code, entry.error = "failed", before.code, before.error
    elif step.code:
        known = before is not None and before.code == step.code
        entry.status, entry.code = "failed", step.code
        entry.error = step.reason or (before.error if before and known else ERRORS[step.code].sentence)
    elif before is not None and before.status == "failed" and before.code != Code.NO_SPACE and same:
        # The error remains until the next transfer starts.
        entry.status, entry.code, entry.error = "failed", before.code, before.error
    return entry


def percent(bytes_done: int, bytes_total: int, *, is_complete: bool) -> int:
    """Return the percentage, rounded down: 100 means every byte."""
    return bytes_done * 100 // bytes_total if bytes_total else 100 * is_complete


def item_row(entry: ItemStatus, now: float) -> dict[str, object]:
    """Return the item as JSON fields. `now`: seconds of the meter's clock."""
    rate = entry.meter.rate(now) if entry.meter else None
    return {
        "campaign": entry.campaign,
        "content": entry.content,
        "title": entry.title,
        "status": entry.status,
        "bytes_done": entry.bytes_done,
        "bytes_total": entry.bytes_total,
        "percent": percent(entry.bytes_done, entry.bytes_total, is_complete=entry.status == "complete"),
        "verified": entry.verified,
        "rate_bps": rate,
        "eta_seconds": eta(entry.bytes_total - entry.bytes_done, rate),
        "error_code": entry.code or "",
        "error": entry.error,
        "retry_at": format_utc_or_none(entry.retry_at, "milliseconds"),
    }


@dataclass(slots=True)
class Totals:
    """Counts and bytes of several items. `missing`: bytes still to load, without those of failed items."""

    items: int = 0
    done: int = 0
    failed: int = 0
    loading: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    missing: int = 0

    @classmethod
    def add_up(cls, entries: Iterable[ItemStatus]) -> Totals:
        totals = cls()
        for entry in entries:
            totals.items += 1
            totals.done += entry.status == "complete"
            totals.failed += entry.status == "failed"
            totals.loading += entry.status == "loading"
            totals.bytes_done += entry.bytes_done
            totals.bytes_total += entry.bytes_total
            totals.missing += 0 if entry.status == "failed" else entry.bytes_total - entry.bytes_done
        return totals

    @property
    def status(self) -> StatusWord:
        """The most important status of the items: failed, loading, pending, complete."""
        if self.failed:
            return "failed"
        if self.loading or 0 < self.done < self.items:
            return "loading"
        return "complete" if self.items and self.done == self.items else "pending"

    def row(self, rate: int | None) -> dict[str, object]:
        """Return the totals as JSON fields. `rate`: bytes per second."""
        return {
            "items_total": self.items,
            "items_done": self.done,
            "items_failed": self.failed,
            "bytes_done": self.bytes_done,
            "bytes_total": self.bytes_total,
            "percent": percent(
                self.bytes_done, self.bytes_total, is_complete=self.items > 0 and self.done == self.items
            ),
            "rate_bps": rate,
            "eta_seconds": eta(self.missing, rate),
        }


def campaign_row(
    name: str, title: str, totals: Totals, rate: int | None, refused: tuple[str, str]
) -> dict[str, object]:
    """Return a campaign as JSON fields. `refused`: code and sentence of an error of the complete campaign, or empty."""
    row = totals.row(rate)
    if not totals.items:  # without a manifest the totals are unknown, not 0
        row |= {"items_total": None, "bytes_total": None, "percent": None}
    status = "failed" if refused[0] else totals.status
    return {"campaign": name, "title": title, "status": status, **row, "error_code": refused[0], "error": refused[1]}
