"""Texts and values of the tail page besides its rows: groups of loads, disk space, forecasts, verification.

Pure. `now` is the portal's clock. Bytes; UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from campaigns.models import Campaign, ContentItem
from fleet.choices import Status, Verification
from fleet.models import Load, Tail, Transfer
from fleet.state.forecast import Forecast, forecast_load, start_of_day
from fleet.state.verification import heartbeat_entry, verification_level
from ifeportal import formatting

PAST_SHOWN = 10


@dataclass(frozen=True)
class LoadGroup:
    """Loads of one group; `hidden` more are not shown."""

    name: str
    loads: Sequence[Load]
    hidden: int = 0

    @property
    def hidden_text(self) -> str:
        """The number of loads not shown; empty for none."""
        if not self.hidden:
            return ""
        return f"{self.hidden:,} older {'load' if self.hidden == 1 else 'loads'} not shown."


def load_groups(loads: Sequence[Load], now: datetime, *, show_all: bool = False) -> list[LoadGroup]:
    """Group the loads into current, queued and past ones, in the given order."""
    groups: dict[str, list[Load]] = {"current": [], "queued": [], "past": []}
    for load in loads:
        groups[_group_of(load, now)].append(load)
    past = groups["past"] if show_all else groups["past"][:PAST_SHOWN]
    return [
        LoadGroup("current", groups["current"]),
        LoadGroup("queued", groups["queued"]),
        LoadGroup("past", past, len(groups["past"]) - len(past)),
    ]


def _group_of(load: Load, now: datetime) -> str:
    ends = load.campaign.exhibition_ends
    over = ends is not None and start_of_day(ends) < start_of_day(now.date())
    if load.status in (Status.COMPLETE, Status.DELETED) or load.archived_at or (over and load.status != Status.LOADING):
        return "past"
    return "queued" if load.status == Status.PENDING else "current"


@dataclass(frozen=True)
class DiskFit:
    """Bytes left to load, and bytes free on all disks together; None if unknown."""

    left: int
    free: int | None
    unknown: int

    @property
    def shortfall(self) -> int | None:
        """Bytes missing on the disks; None if unknown."""
        return None if self.free is None else max(self.left - self.free, 0)

    @property
    def text(self) -> str:
        if self.shortfall is None:
            return f"{formatting.size(self.left)}, free space unknown"
        if self.shortfall:
            return f"{formatting.size(self.left)}, {formatting.size(self.shortfall)} more than the free space"
        return f"{formatting.size(self.left)}, fits on the disk"

    @property
    def unknown_text(self) -> str:
        """The number of loads of unknown size; empty for none."""
        return f"({formatting.quantity(self.unknown, 'load')} of unknown size not counted)" if self.unknown else ""


def disk_fit(stores: object, loads: Sequence[Load]) -> DiskFit:
    """Compare the bytes left of these loads with free space; `unknown` counts loads of unknown size."""
    known = [load for load in loads if load.bytes_total is not None]
    left = sum((load.bytes_total or 0) - load.bytes_done for load in known)
    reported = [store.get("free") for store in stores if isinstance(store, dict)] if isinstance(stores, list) else []
    free = [value for value in reported if isinstance(value, int) and not isinstance(value, bool) and value >= 0]
    return DiskFit(left, sum(free) if free else None, len(loads) - len(known))


def expected_completion(load: Load, now: datetime) -> Forecast | None:
    """Forecast completion from the observed rates; None if the load is not loading or its size is unknown."""
    if load.status != Status.LOADING or load.bytes_total is None:
        return None
    return forecast_load(load, now)


def completion(load: Load, expected: Forecast | None) -> str:
    """Return when the load was or will be complete; empty for a load that is neither complete nor loading."""
    if load.status == Status.COMPLETE:
        since = f" since {formatting.instant(load.finished_at)}" if load.finished_at else ""
        return f"complete{since} ({load.get_proof_display() or 'claimed'})"
    if expected is None:
        return "completion time unknown" if load.status == Status.LOADING else ""
    moments = dict.fromkeys(formatting.instant(moment) for moment in (expected.earliest, expected.latest))
    return " to ".join(moments)


def idle(tail: Tail) -> str:
    """Return that nothing is loading, with the reason that the loader reports."""
    sentence = f"Nothing is loading on {tail.name}."
    if tail.loader_state not in ("waiting", "paused"):
        return sentence
    reason = f": {tail.loader_reason}" if tail.loader_reason else ""
    return f"{sentence} Its loader is {tail.loader_state}{reason}."


def manifest_label(campaign: Campaign) -> str:
    """Return the version of the manifest and whether it is signed; empty without a version."""
    if campaign.version is None:
        return ""
    return f"version {campaign.version}, {'signed' if campaign.signed else 'not signed'}"


def checked_by(item: ContentItem | None) -> str:
    """Return how an item can be verified; empty if it is not in the manifest."""
    if item is None:
        return ""
    return "SHA-256" if item.sha256 else "size only"


def transfer_verification(transfer: Transfer, item: ContentItem | None, load: Load) -> str:
    """Return the label of the `Verification` of a complete item; empty if it is not complete."""
    if transfer.status != Status.COMPLETE or item is None:
        return ""
    level = verification_level(
        hashed=bool(item.sha256),
        held=heartbeat_entry(load.tail.held, load.campaign.name),
        items=load.items_total,
        signed=load.campaign.signed,
        policy=load.tail.signatures,
    )
    return str(Verification(level).label)
