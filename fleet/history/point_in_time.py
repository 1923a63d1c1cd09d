"""A campaign at an earlier time, from samples and events, and what is unknown of that time.

`snapshot_at` reads the database only, below a campaign that its caller has reached by `visible_to`, in three queries.
Samples bear the portal's clock; events and the moments at which items began and ended bear that of the object store.
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
    """What an event says, named as in the model."""

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
    """A load at that moment, named as in the model. `state` is "" and bytes are None where they are not known.

    `bytes_at`: when the bytes were seen; `since`: when it had come into its state.
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
        """Whole percent of the bytes, rounded down; None while one of them is unknown."""
        if self.state == State.COMPLETE:
            return 100
        if self.bytes_done is None or not self.bytes_total:
            return None
        return min(self.bytes_done * 100 // self.bytes_total, 100)


@dataclass(frozen=True)
class CampaignSnapshot:
    """A campaign at a moment: the loads that had begun by then in order of their tails, and how sure all this is.

    `not_started`: how many of today's loads had not. `notes` are sentences on what is not known of that moment.
    """

    at: datetime
    loads: list[LoadSnapshot]
    not_started: int
    notes: list[str]
    _transfer_states: Mapping[tuple[int, str], str] = field(repr=False)

    def transfer_state(self, load: int, content: str) -> str:
        """The state of an item of a load (its id); "" where it is not known."""
        return self._transfer_states.get((load, content), UNKNOWN)

    @property
    def counts(self) -> Counter[str]:
        """How many loads were in each state."""
        return Counter(load.state for load in self.loads)


def snapshot_at(campaign: Campaign, at: datetime, now: datetime) -> CampaignSnapshot:
    """The campaign as it was at that moment; a moment still to come is now."""
    at = min(at, now)
    told = _last_events(campaign, at)
    cells = _transfer_states(campaign, at, told)
    items: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for (load, _), state in cells.items():
        items[load][state] += 1
    rows = list(_loads(campaign, at))
    loads = [_load_snapshot(row, told.get((row.pk, "")), items[row.pk], at) for row in rows]
    begun = [load for load in loads if load is not None]
    return CampaignSnapshot(at, begun, len(rows) - len(begun), _notes(campaign, begun, rows, at, now), cells)


def _last_events(campaign: Campaign, at: datetime) -> dict[tuple[int, str], LastEvent]:
    """The last event up to the moment of each load and item. They are written in order, so that is the last written."""
    last = Event.objects.filter(load__campaign=campaign, at__lte=at).order_by().values("load", "content")
    newest = Event.objects.filter(pk__in=last.annotate(last=Max("pk")).values("last")).order_by()
    return {(row[0], row[1]): LastEvent._make(row) for row in newest.values_list(*LastEvent._fields)}


def _transfer_states(
    campaign: Campaign, at: datetime, told: Mapping[tuple[int, str], LastEvent]
) -> dict[tuple[int, str], str]:
    """The state of each item, by the id of its load and its name."""
    moments = Case(
        When(finished_at__lte=at, then=Value(State.COMPLETE.value)),
        When(started_at__lte=at, then=Value(State.LOADING.value)),
        default=Value(UNKNOWN),
    )
    rows = Transfer.objects.filter(load__campaign=campaign, listed=True).order_by().annotate(then=moments)
    found = {}
    for load, content, then in rows.values_list("load", "content", "then"):
        event = told.get((load, content))
        found[load, content] = transfer_state_at(event and event.state, then, load_started=(load, "") in told)
    return found


def transfer_state_at(told: str | None, then: str, *, load_started: bool) -> str:
    """What an item was in. `then` is what the moments of its objects say of it: complete, loading or nothing.

    Once complete it has been so ever since; else it is as it was told last, or not begun if its load had.
    """
    if then == State.COMPLETE:
        return then
    return told or then or (State.PENDING.value if load_started else UNKNOWN)


def _loads(campaign: Campaign, at: datetime) -> Any:
    samples = ProgressSample.objects.filter(load=OuterRef("pk"), at__lte=at).order_by("-at")
    first = Event.objects.filter(load=OuterRef("pk")).order_by("at", "pk")
    return (
        Load.objects.filter(campaign=campaign)
        .select_related("tail")
        .annotate(
            then_bytes=Subquery(samples.values("bytes_done")[:1]),
            then_at=Subquery(samples.values("at")[:1]),
            known_at=Subquery(first.values("at")[:1]),
        )
        .order_by("tail__name")
    )


def _load_snapshot(row: Any, told: LastEvent | None, items: Counter[str], at: datetime) -> LoadSnapshot | None:
    """The load at that moment; None if nothing says that it had begun."""
    complete = row.finished_at is not None and row.finished_at <= at
    begun = row.started_at is not None and row.started_at <= at
    if told is None and row.then_at is None and not (complete or begun):
        return None
    state = State.COMPLETE.value if complete else told.state if told else State.LOADING.value if begun else UNKNOWN
    done, seen_at = row.then_bytes, row.then_at
    if told is not None and (seen_at is None or told.at > seen_at):
        done, seen_at = told.bytes_done, told.at
    total = told.bytes_total if told is not None else row.bytes_total
    if state == State.COMPLETE:
        done, seen_at, total = row.bytes_total, at, row.bytes_total
    return LoadSnapshot(
        pk=row.pk,
        tail=row.tail.name,
        state=state,
        bytes_done=done,
        bytes_total=total,
        bytes_at=seen_at,
        since=told.at if told is not None else None,
        items_done=items[State.COMPLETE.value],
        items_failed=items[State.FAILED.value],
        items_total=items.total(),
        error_code=told.error_code if told is not None and state == State.FAILED else "",
        error=told.text if told is not None and state == State.FAILED else "",
    )


def _notes(campaign: Campaign, begun: list[LoadSnapshot], rows: list[Any], at: datetime, now: datetime) -> list[str]:
    """What is not known of that moment, a sentence each."""
    notes = []
    first = min((row.known_at for row in rows if row.known_at is not None), default=None)
    if first is None or at < first:
        since = "nothing was recorded of this campaign" if first is None else f"its records begin on {instant(first)}"
        notes.append(f"Of this moment little is known: {since}. What is shown follows from the times its objects bear.")
    elif guessed := sum(load.since is None for load in begun):
        notes.append(f"Of {guessed} loads nothing was recorded by then: they follow from the times their objects bear.")
    if now - at > HOUR_RESOLUTION_FOR:
        notes.append("Of times more than a year ago only turns are kept: bytes are those held at the last turn before.")
    elif now - at > MINUTE_RESOLUTION_FOR:
        notes.append("Of times more than two days ago one figure an hour is kept: bytes may be an hour older.")
    if campaign.manifest_as_of is not None and campaign.manifest_as_of > at:
        notes.append("The manifest is a newer one today: items and their sizes are those of today.")
    return notes
