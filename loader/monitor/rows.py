"""One item as the board keeps it: what a new plan makes of it, and how it is told, alone and summed up. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from loader.errors import ERRORS
from loader.planning.model import PlanStep
from loader.s3.throughput import RateMeter, eta

Status = Literal["pending", "loading", "complete", "failed"]


@dataclass(slots=True)
class Entry:
    """One item. `beside`: it will wait for its campaign before it gets its final name. `changed`: in which revision."""

    campaign: str
    content: str
    title: str
    total: int
    hashed: bool
    status: Status = "pending"
    done: int = 0
    beside: bool = False
    code: str = ""
    error: str = ""
    retry_at: datetime | None = None
    meter: RateMeter | None = field(default=None, compare=False)
    changed: int = field(default=0, compare=False)

    @property
    def verified(self) -> bool:
        """Whole, and its hash was that of the manifest."""
        return self.hashed and self.done == self.total and self.meter is None and self.status != "failed"

    def well(self) -> None:
        """No error any more."""
        self.code, self.error, self.retry_at = "", "", None


def merged(step: PlanStep, before: Entry | None) -> Entry:
    """What the board keeps of an item after a new plan, given what it knew."""
    item = step.item
    entry = Entry(step.campaign, item.name, item.title, item.size, item.sha256 is not None, beside=step.staged)
    same = before is not None and (before.total, before.hashed) == (entry.total, entry.hashed)
    if before is not None and same and before.meter is not None and step.action not in ("keep", "refuse", "leave"):
        # On its way: what the plan saw on disk is older than what was heard since.
        entry.status, entry.done, entry.meter = before.status, before.done, before.meter
        entry.code, entry.error, entry.retry_at = before.code, before.error, before.retry_at
        return entry
    entry.done = step.bytes_done
    if step.action == "keep":
        entry.done = item.size
        entry.status = "loading" if step.staged else "complete"
        if before is not None and same and before.code == "HOOK_FAILED":
            entry.status, entry.code, entry.error = "failed", before.code, before.error
    elif step.code:
        known = before is not None and before.code == step.code
        entry.status, entry.code = "failed", step.code
        entry.error = step.reason or (before.error if before and known else ERRORS[step.code].sentence)
    elif before is not None and before.status == "failed" and before.code != "NO_SPACE" and same:
        # Until it begins again nothing is known to be better.
        entry.status, entry.code, entry.error = "failed", before.code, before.error
    return entry


def utc(moment: datetime | None) -> str | None:
    """As the contract writes times."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None


def percent(done: int, total: int, *, whole: bool) -> int:
    """Whole percent, rounded down so that 100 means every byte."""
    return done * 100 // total if total else 100 * whole


def row(entry: Entry, now: float) -> dict[str, object]:
    """The item as a program reads it; `now` is the meter's."""
    rate = entry.meter.rate(now) if entry.meter else None
    return {
        "campaign": entry.campaign,
        "content": entry.content,
        "title": entry.title,
        "status": entry.status,
        "bytes_done": entry.done,
        "bytes_total": entry.total,
        "percent": percent(entry.done, entry.total, whole=entry.status == "complete"),
        "verified": entry.verified,
        "rate_bps": rate,
        "eta_seconds": eta(entry.total - entry.done, rate),
        "error_code": entry.code,
        "error": entry.error,
        "retry_at": utc(entry.retry_at),
    }


@dataclass(slots=True)
class Sums:
    """Counts and bytes of several items. `missing`: bytes that are still to come, those of failed items left out."""

    items: int = 0
    done: int = 0
    failed: int = 0
    loading: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    missing: int = 0

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Sums:
        """Add them up."""
        sums = cls()
        for entry in entries:
            sums.items += 1
            sums.done += entry.status == "complete"
            sums.failed += entry.status == "failed"
            sums.loading += entry.status == "loading"
            sums.bytes_done += entry.done
            sums.bytes_total += entry.total
            sums.missing += 0 if entry.status == "failed" else entry.total - entry.done
        return sums

    @property
    def status(self) -> Status:
        """The word that matters most: failed before loading before pending before complete."""
        if self.failed:
            return "failed"
        if self.loading or 0 < self.done < self.items:
            return "loading"
        return "complete" if self.items and self.done == self.items else "pending"

    def row(self, rate: int | None) -> dict[str, object]:
        """As a program reads it."""
        return {
            "items_total": self.items,
            "items_done": self.done,
            "items_failed": self.failed,
            "bytes_done": self.bytes_done,
            "bytes_total": self.bytes_total,
            "percent": percent(self.bytes_done, self.bytes_total, whole=self.items > 0 and self.done == self.items),
            "rate_bps": rate,
            "eta_seconds": eta(self.missing, rate),
        }


def campaign_row(name: str, title: str, sums: Sums, rate: int | None, refused: tuple[str, str]) -> dict[str, object]:
    """A campaign as a program reads it; `refused`: code and sentence of what is wrong with all of it, or empty."""
    told = sums.row(rate)
    if not sums.items:  # unknown is not nothing
        told |= {"items_total": None, "bytes_total": None, "percent": None}
    status = "failed" if refused[0] else sums.status
    return {"campaign": name, "title": title, "status": status, **told, "error_code": refused[0], "error": refused[1]}
