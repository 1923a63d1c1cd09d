"""Status board: items of the plan, campaigns, rates, state, queue, link and disks as JSON fields.

An `EventListener` that returns `snapshot` and `changes`, with names as in the portal's API. One lock guards it. The hot
path, `ItemProgress`, adds a few numbers and wakes waiters at most four times a second. Touches no disk and no network.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from loader.contract.heartbeat import StoreUsage
from loader.contract.strict_json import format_utc
from loader.errors import WorldError
from loader.monitor.events import (
    CampaignActivated,
    CampaignFailed,
    Event,
    EventListener,
    ItemEvent,
    ItemProgress,
    ItemStarted,
    LinkChanged,
    LoaderState,
    PlanChanged,
    QueueState,
)
from loader.monitor.rows import (
    ItemStatus,
    StatusWord,
    Totals,
    apply_event,
    campaign_row,
    carried_over,
    item_row,
)
from loader.s3.throughput import RateMeter

ITEMS_LIMIT: Final = 10_000  # items on the board; unfinished ones first
PROGRESS_INTERVAL: Final = 0.25  # minimum seconds between two revisions with nothing but progress
_STALE: Final = 1.0  # seconds after which rates are computed again without progress


class StatusBoard(EventListener):
    """The current status of the loader, from its events. `space` returns the usage of the content directories."""

    def __init__(
        self,
        airline: str,
        tail: str,
        version: str = "",
        *,
        space: Callable[[], Sequence[StoreUsage]] = tuple,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._identity = {
            "loader": version,
            "airline": airline,
            "tail": tail,
            "started_at": format_utc(now(), "milliseconds"),
        }
        self._space, self._clock, self._now = space, clock, now
        self._entries: dict[tuple[str, str], ItemStatus] = {}
        self._left_out = 0
        self._meters: dict[str, RateMeter] = {}
        self._titles: Mapping[str, str] = MappingProxyType({})
        self._refused: dict[str, tuple[str, str]] = {}
        self._loader, self._link, self._queue = LoaderState(), LinkChanged(), QueueState()
        self._wake = threading.Condition()
        self._revision, self._list_revision, self._revised_at = 1, 1, clock()
        self._has_progress, self._waiters = False, 0

    def handle(self, event: Event) -> None:
        with self._wake:
            match event:
                case ItemProgress():
                    self._add_progress(event)
                case ItemEvent():
                    self._update_item(event)
                case PlanChanged():
                    self._apply_plan(event)
                case CampaignActivated():
                    self._activate(event.campaign)
                case CampaignFailed():
                    self._refused[event.campaign] = (event.code, event.error)
                    self._changed()
                case LoaderState() if event != self._loader:
                    self._loader = event
                    self._changed()
                case LinkChanged() if event != self._link:
                    self._link = event
                    self._changed()
                case QueueState() if event != self._queue:
                    self._queue = event
                    self._changed()

    def close(self) -> None:
        """Wake every waiter."""
        with self._wake:
            self._changed()

    # Each of these is called with the lock held.

    def _apply_plan(self, plan: PlanChanged) -> None:
        steps = plan.steps
        if len(steps) > ITEMS_LIMIT:
            steps = sorted(steps, key=lambda step: step.action == "keep")[:ITEMS_LIMIT]
        before = (self._entries, self._refused, self._titles)
        keys = [(step.campaign, step.item.name) for step in steps]
        self._entries = {key: carried_over(step, self._entries.get(key)) for key, step in zip(keys, steps, strict=True)}
        self._refused, self._titles = dict(plan.refused), dict(plan.titles)
        self._left_out = len(plan.steps) - len(self._entries)
        campaigns = {campaign for campaign, _ in self._entries}
        self._meters = {name: meter for name, meter in self._meters.items() if name in campaigns}
        if before != (self._entries, self._refused, self._titles):
            self._changed()
            self._list_revision = self._revision

    def _update_item(self, event: ItemEvent) -> None:
        entry = self._entries.get(event.key)
        if entry is not None:
            if isinstance(event, ItemStarted):
                self._meters.setdefault(event.campaign, RateMeter(self._clock()))
            apply_event(entry, event, self._clock(), self._now())
            self._changed(entry)

    def _add_progress(self, event: ItemProgress) -> None:
        entry = self._entries.get(event.key)
        if entry is None or entry.meter is None:
            return
        entry.bytes_done, entry.changed = event.bytes_done, self._revision + 1
        if event.gained:
            now = self._clock()
            entry.meter.add(event.gained, now)
            self._meters[event.campaign].add(event.gained, now)
            if entry.code:
                entry.clear_error()
        if not self._has_progress:
            self._has_progress = True
            if self._waiters:
                self._wake.notify_all()

    def _activate(self, campaign: str) -> None:
        """Complete the items that waited for the rest of their campaign."""
        for entry in self._entries.values():
            if entry.campaign == campaign and entry.staged and entry.is_on_disk:
                entry.status, entry.staged = "complete", False
                self._changed(entry)

    def _changed(self, entry: ItemStatus | None = None) -> None:
        """Begin a new revision."""
        self._revision += 1
        self._has_progress, self._revised_at = False, self._clock()
        if entry is not None:
            entry.changed = self._revision
        if self._waiters:
            self._wake.notify_all()

    @property
    def rate(self) -> int | None:
        """Bytes per second of all transfers over the last seconds; None if unknown."""
        with self._wake:
            return self._rate(self._clock())

    def status_of(self, campaign: str, content: str | None = None) -> StatusWord | None:
        """Return the status of an item, or of a campaign; None if it is not in the plan."""
        with self._wake:
            if content is not None:
                entry = self._entries.get((campaign, content))
                return entry.status if entry else None
            entries = [entry for entry in self._entries.values() if entry.campaign == campaign]
            return Totals.add_up(entries).status if entries else None

    def wait(self, revision: int, timeout: float) -> int:
        """Wait at most `timeout` seconds for a revision other than `revision`. Return the newest one."""
        deadline = self._clock() + timeout
        with self._wake:
            self._waiters += 1
            try:
                while self._revision == revision and (left := deadline - self._clock()) > 0:
                    if not self._refresh():
                        self._wake.wait(max(0.0, min(left, self._due() - self._clock())))
                return self._revision
            finally:
                self._waiters -= 1

    @property
    def revision(self) -> int:
        """Number of the newest status; grows with every change."""
        with self._wake:
            self._refresh()
            return self._revision

    def snapshot(self) -> dict[str, object]:
        return self.changes(0)

    def changes(self, since: int) -> dict[str, object]:
        """Return the status with the items that changed after revision `since`.

        `full` is true if the list of items changed, too: then it has all of them.
        """
        stores = self._stores()
        with self._wake:
            self._refresh()
            full, now = since < self._list_revision, self._clock()
            entries = [entry for entry in self._entries.values() if full or entry.changed > since or entry.meter]
            return self._head(stores, now) | {"full": full, "items": [item_row(entry, now) for entry in entries]}

    def _refresh(self) -> bool:
        """Begin a new revision if progress or rates are due. Returns whether they were."""
        due = self._clock() >= self._due()
        if due:
            self._changed()
        return due

    def _due(self) -> float:
        """Return when progress or rates are due."""
        if self._has_progress:
            return self._revised_at + PROGRESS_INTERVAL
        # Rates fall without any event.
        active = any(entry.meter for entry in self._entries.values())
        return self._revised_at + _STALE if active else math.inf

    def _rate(self, now: float) -> int | None:
        rates = [rate for meter in self._meters.values() if (rate := meter.rate(now)) is not None]
        return sum(rates) if rates else None

    def _stores(self) -> list[dict[str, object]]:
        try:
            return [{"path": one.path, "total": one.total, "free": one.free} for one in self._space()]
        except WorldError:
            return []

    def _head(self, stores: list[dict[str, object]], now: float) -> dict[str, object]:
        """Return all fields but the items."""
        return {
            "schema": 1,
            "revision": self._revision,
            "as_of": format_utc(self._now(), "milliseconds"),
            **self._identity,
            **asdict(self._loader),
            "link": asdict(self._link),
            "queue": asdict(self._queue),
            "stores": stores,
            **Totals.add_up(self._entries.values()).row(self._rate(now)),
            "campaigns": self._campaign_rows(now),
            "left_out": self._left_out,
        }

    def _campaign_rows(self, now: float) -> list[dict[str, object]]:
        entries: dict[str, list[ItemStatus]] = {}
        for entry in self._entries.values():
            entries.setdefault(entry.campaign, []).append(entry)
        rows = []
        for name in dict.fromkeys([*entries, *self._refused]):
            meter = self._meters.get(name)
            rate = meter.rate(now) if meter else None
            refused = self._refused.get(name, ("", ""))
            totals = Totals.add_up(entries.get(name, ()))
            rows.append(campaign_row(name, self._titles.get(name, ""), totals, rate, refused))
        return rows
