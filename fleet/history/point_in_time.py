"""A campaign at an earlier time, from samples and events, and what is unknown of that time.

`snapshot_at` only reads the database, below a campaign that its caller has reached by `visible_to`, in three queries.
Samples have the portal's clock; events and the start and end of items have that of the object store.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db.models import Case, Max, OuterRef, Subquery, Value, When

from campaigns.models import Campaign
from fleet.choices import State
from fleet.history.retention import HOUR_RESOLUTION_FOR, MINUTE_RESOLUTION_FOR
from fleet.models import Event, Load, ProgressSample, Transfer
from ifeportal.formatting import instant

UNKNOWN: Final = ""


class LastEvent(NamedTuple):
    """The last event of a load or an item, named as in the model."""

    load_id: int
    content: str
    at: datetime
    state: str
    error_code: str
    text: str
    bytes_done: int
    bytes_total: int | None


@dataclass(frozen=True)
class LoadSnapshot:
    """A load at that time, named as in the model. Unknown: `state` is "", bytes are None.

    `bytes_at`: when the bytes were seen; `since`: when the load entered its state.
    """

    pk: int
    tail: str
    state: str
    bytes_done: int | None
    bytes_total: int | None
    bytes_at: datetime | None
    since: datetime | None
    items_done: int
    items_failed: int
    items_total: int
    error_code: str = ""
    error: str = ""

    @property
    def percent(self) -> int | None:
        """Return whole percent of the bytes, rounded down; None while one of them is unknown."""
        if self.state == State.COMPLETE:
            return 100
        if self.bytes_done is None or not self.bytes_total:
            return None
        return min(self.bytes_done * 100 // self.bytes_total, 100)


@dataclass(frozen=True)
class CampaignSnapshot:
    """A campaign at a time: the loads that had started by then, in order of their tails.

    `not_started` counts today's loads that had not started. `notes` are sentences on what is unknown of that time.
    """

    at: datetime
    loads: list[LoadSnapshot]
    not_started: int
    notes: list[str]
    _transfer_states: Mapping[tuple[int, str], str] = field(repr=False)

    def transfer_state(self, load: int, content: str) -> str:
        """Return the state of an item of a load (by id); "" if unknown."""
        return self._transfer_states.get((load, content), UNKNOWN)

    @property
    def counts(self) -> Counter[str]:
        """Return how many loads were in each state."""
        return Counter(load.state for load in self.loads)


def snapshot_at(campaign: Campaign, at: datetime, now: datetime) -> CampaignSnapshot:
    """Return the campaign at `at`; a time in the future is cut to `now`."""
    at = min(at, now)
    last_events = _last_events(campaign, at)
    transfer_states = _transfer_states(campaign, at, last_events)
    items: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for (load, _), state in transfer_states.items():
        items[load][state] += 1
    rows = list(_loads(campaign, at))
    loads = [_load_snapshot(row, last_events.get((row.pk, "")), items[row.pk], at) for row in rows]
    started = [load for load in loads if load is not None]
    notes = _notes(campaign, started, rows, at, now)
    return CampaignSnapshot(at, started, len(rows) - len(started), notes, transfer_states)


def _last_events(campaign: Campaign, at: datetime) -> dict[tuple[int, str], LastEvent]:
    """Return the last event up to `at` of each load and item: they are written in order, so it has the highest id."""
    last = Event.objects.filter(load__campaign=campaign, at__lte=at).order_by().values("load", "content")
    newest = Event.objects.filter(pk__in=last.annotate(last=Max("pk")).values("last")).order_by()
    return {(row[0], row[1]): LastEvent._make(row) for row in newest.values_list(*LastEvent._fields)}


def _transfer_states(
    campaign: Campaign, at: datetime, last_events: Mapping[tuple[int, str], LastEvent]
) -> dict[tuple[int, str], str]:
    """Return the state of each item, by the id of its load and its name."""
    by_dates = Case(
        When(finished_at__lte=at, then=Value(State.COMPLETE.value)),
        When(started_at__lte=at, then=Value(State.LOADING.value)),
        default=Value(UNKNOWN),
    )
    rows = Transfer.objects.filter(load__campaign=campaign, listed=True).order_by().annotate(dated=by_dates)
    found = {}
    for load, content, dated in rows.values_list("load", "content", "dated"):
        event = last_events.get((load, content))
        started = (load, "") in last_events
        found[load, content] = transfer_state_at(event and event.state, dated, load_started=started)
    return found


def transfer_state_at(state: str | None, dated: str, *, load_started: bool) -> str:
    """Return the state of an item at a time.

    `state` is that of its last event (None: no event), `dated` the state by its timestamps: complete, loading or "". An
    item that was complete by then still is; otherwise its last event counts. Without one it is pending if its load
    started.
    """
    if dated == State.COMPLETE:
        return dated
    return state or dated or (State.PENDING.value if load_started else UNKNOWN)


def _loads(campaign: Campaign, at: datetime) -> Any:
    samples = ProgressSample.objects.filter(load=OuterRef("pk"), at__lte=at).order_by("-at")
    first = Event.objects.filter(load=OuterRef("pk")).order_by("at", "pk")
    return (
        Load.objects.filter(campaign=campaign)
        .select_related("tail")
        .annotate(
            sampled_bytes=Subquery(samples.values("bytes_done")[:1]),
            sampled_at=Subquery(samples.values("at")[:1]),
            recorded_since=Subquery(first.values("at")[:1]),
        )
        .order_by("tail__name")
    )


def _load_snapshot(row: Any, event: LastEvent | None, items: Counter[str], at: datetime) -> LoadSnapshot | None:
    """Return the load at that time; None if nothing shows that it had started."""
    complete = row.finished_at is not None and row.finished_at <= at
    started = row.started_at is not None and row.started_at <= at
    if event is None and row.sampled_at is None and not (complete or started):
        return None
    dated = State.COMPLETE.value if complete else State.LOADING.value if started else UNKNOWN
    state = event.state if event is not None and not complete else dated
    done, seen_at = row.sampled_bytes, row.sampled_at
    if event is not None and (seen_at is None or event.at > seen_at):
        done, seen_at = event.bytes_done, event.at
    total = event.bytes_total if event is not None else row.bytes_total
    failure = event if event is not None and state == State.FAILED else None
    if state == State.COMPLETE:
        done, seen_at, total = row.bytes_total, at, row.bytes_total
    return LoadSnapshot(
        pk=row.pk,
        tail=row.tail.name,
        state=state,
        bytes_done=done,
        bytes_total=total,
        bytes_at=seen_at,
        since=event.at if event is not None else None,
        items_done=items[State.COMPLETE.value],
        items_failed=items[State.FAILED.value],
        items_total=items.total(),
        error_code=failure.error_code if failure is not None else "",
        error=failure.text if failure is not None else "",
    )


def _notes(campaign: Campaign, started: list[LoadSnapshot], rows: list[Any], at: datetime, now: datetime) -> list[str]:
    """Return what is unknown of that time, a sentence each."""
    notes = []
    first = min((row.recorded_since for row in rows if row.recorded_since is not None), default=None)
    if first is None or at < first:
        reason = "this campaign has no records" if first is None else f"records start on {instant(first)}"
        notes.append(f"Little is known of this time: {reason}. The figures follow from the timestamps of the objects.")
    elif unrecorded := sum(load.since is None for load in started):
        loads = "1 load has" if unrecorded == 1 else f"{unrecorded} loads have"
        notes.append(f"{loads} no records at this time; the figures follow from the timestamps of the objects.")
    if now - at > HOUR_RESOLUTION_FOR:
        notes.append("For times more than a year ago only events are stored; bytes are those of the last event.")
    elif now - at > MINUTE_RESOLUTION_FOR:
        notes.append("For times more than two days ago one sample per hour is stored; bytes may be up to an hour old.")
    if campaign.manifest_as_of is not None and campaign.manifest_as_of > at:
        notes.append("The manifest has changed since then; items and sizes are today's.")
    return notes
