"""Rows of the tail page: current transfers, items of a load with their events, timeline, queued campaigns.

Reads the database only, for a tail that the caller selected with `visible_to`, in a number of queries that does not
grow with the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.core.paginator import Page, Paginator
from django.db.models import Count, Exists, F, Max, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import JSONObject

from campaigns.models import Campaign, ContentItem, ManifestState
from fleet.choices import State
from fleet.models import Event, Load, Tail, Transfer
from fleet.pages.tail import presenter
from fleet.pages.tail.columns import ITEMS, ItemRow
from fleet.state.precedence import IS_LOADING, STATES, primary_load_order, transfer_in_state
from ifeportal.access import Role, ScopedQuerySet
from ifeportal.live.feed import rev_subquery
from ifeportal.tables.query import PAGE_ROWS, TableQuery, select_rows
from ifeportal.tables.search import SEARCH_LIMIT


def tails_for(user: AbstractUser | AnonymousUser) -> ScopedQuerySet[Tail]:
    """Return tails with the revision of the feed (`rev`) and whether the user is operator of each (`operated`).

    All of it is of one moment, as it is one statement.
    """
    operated = Tail.objects.with_role(user, Role.OPERATOR).filter(pk=OuterRef("pk"))
    rows: Any = Tail.objects.select_related("airline")
    found: ScopedQuerySet[Tail] = rows.annotate(rev=rev_subquery(), operated=Exists(operated.order_by()))
    return found


def loads_of(tail: Tail) -> list[Load]:
    """Return the tail's loads, primary load first, with the number of their items in each state (`in_loading`)."""
    in_states = {
        f"in_{state}": Count("transfers", filter=transfer_in_state(state, "transfers__", load="")) for state in STATES
    }
    rows = Load.objects.filter(tail=tail).select_related("campaign__airline").order_by(*primary_load_order())
    loads = list(rows.annotate(newest=Max("transfers__pk"), **in_states))
    for load in loads:
        load.tail = tail
    return loads


LOADING_ROWS: Final = 12

QUEUE_ROWS: Final = 12

EVENT_ROWS: Final = 25

EVENT_STATES: Final = tuple(state.value for state in State if state not in (State.PENDING, State.DELETED))

ITEM_COLUMNS: Final = ("name", "title", "sha256")  # of the manifest's items

EVENTS_READ: Final = 1_000  # for the items of one page

EVENTS_SHOWN: Final = 20  # per item


@dataclass(frozen=True)
class StateCounts:
    """Number of items of the load by state (and `all`), and the highest transfer id of the tail."""

    states: dict[str, int]
    newest: int


def counts(loads: Sequence[Load], load: Load | None) -> StateCounts:
    """Return the numbers of items of the load, from what `loads_of` counted."""
    states = {state: getattr(load, f"in_{state}") if load else 0 for state in STATES}
    total = sum(count for state, count in states.items() if state != State.DELETED)
    newest = max((getattr(each, "newest") or 0 for each in loads), default=0)  # noqa: B009  (an annotation)
    return StateCounts({**states, "all": total}, newest)


def filtered_items(load: Load, choice: TableQuery) -> QuerySet[Transfer]:
    """Select and order the items of the load."""
    return select_rows(Transfer.objects.filter(transfer_in_state(choice.state), load=load), ITEMS, choice, "content")


def item_page(load: Load, choice: TableQuery, counts: StateCounts, wanted: str) -> tuple[Page[Transfer], list[ItemRow]]:
    """Return the requested page of items, or the page that contains the `wanted` item."""
    rows: Any = filtered_items(load, choice).annotate(item=_item_of(load))
    paginator = Paginator(rows, PAGE_ROWS)
    known_count = counts.states.get(choice.state or "all")
    if known_count is not None and not choice.search:
        paginator.count = known_count
    page = paginator.get_page(_page_with(rows, wanted) if wanted else choice.page)
    transfers = list(page.object_list)
    for transfer in transfers:
        transfer.load = load
    events = _events_of(load, {transfer.content for transfer in transfers})
    return page, [
        ItemRow(
            transfer,
            item := _content_item(transfer),
            presenter.transfer_verification(transfer, item, load),
            events.get(transfer.content, ()),
            transfer.content == wanted,
        )
        for transfer in transfers
    ]


def _item_of(load: Load) -> Subquery:
    """Return what the page shows of the manifest's item of the same name, as JSON."""
    found = ContentItem.objects.filter(campaign=load.campaign_id, name=OuterRef("content")).order_by()
    return Subquery(found.values(found=JSONObject(**{name: name for name in ITEM_COLUMNS}))[:1])


def _content_item(transfer: Transfer) -> ContentItem | None:
    values = getattr(transfer, "item")  # noqa: B009  (an annotation)
    return ContentItem(**values) if values else None


def _page_with(rows: QuerySet[Transfer], wanted: str) -> int:
    names = list(rows.values_list("content", flat=True))
    return names.index(wanted) // PAGE_ROWS + 1 if wanted in names else 1


def _events_of(load: Load, names: set[str]) -> dict[str, list[Event]]:
    """Return the newest events by item, newest first; one query."""
    events: dict[str, list[Event]] = {}
    rows = Event.objects.filter(load=load, content__in=names).order_by("-at", "-pk")
    for event in rows[:EVENTS_READ]:
        of_item = events.setdefault(event.content, [])
        if len(of_item) < EVENTS_SHOWN:
            of_item.append(event)
    return events


def loading_now(tail: Tail) -> list[Transfer]:
    """Return loading transfers of all loads, stalled ones first; one more than is shown."""
    rows = Transfer.objects.filter(IS_LOADING, load__tail=tail).select_related("load__campaign")
    return list(rows.order_by("-stalled", "-as_of", "content")[: LOADING_ROWS + 1])


def not_started(tail: Tail, today: datetime) -> list[Campaign]:
    """Return campaigns that the loader may start and has not started, nearest exhibition first."""
    rows = Campaign.objects.filter(airline=tail.airline_id, manifest_state=ManifestState.OK, withdrawn_at=None)
    rows = rows.filter(Q(exhibition_ends=None) | Q(exhibition_ends__gte=today.date())).exclude(loads__tail=tail)
    return list(
        rows.select_related("airline").order_by(F("exhibition_starts").asc(nulls_last=True), "name")[:QUEUE_ROWS]
    )


@dataclass(frozen=True)
class EventPage:
    """A page of the timeline. `state` is the filter; `more`: whether there are older events."""

    events: Sequence[Event]
    state: str
    number: int
    more: bool

    @property
    def label(self) -> str:
        """The order and the page number."""
        return f"Newest first, page {self.number + 1}." if self.number else "Newest first."


def filtered_events(tail: Tail, state: str) -> QuerySet[Event]:
    """Select the events of the tail's loads and items, newest first; a valid state filters them."""
    rows = Event.objects.filter(load__tail=tail).order_by("-at", "-pk")
    return rows.filter(state=state) if state in State.values else rows


def event_page(tail: Tail, params: Any) -> EventPage:
    """Return the page of the timeline for `turns` (a state) and `older` (number of pages back); one query."""
    state, older = params.get("turns", ""), params.get("older", "")
    number = int(older) if older.isascii() and older.isdigit() and len(older) < 5 else 0
    rows = filtered_events(tail, state).select_related("load__campaign")
    events = list(rows[number * EVENT_ROWS : (number + 1) * EVENT_ROWS + 1])
    return EventPage(events[:EVENT_ROWS], state if state in State.values else "", number, len(events) > EVENT_ROWS)


def requested_item(params: Any) -> str:
    """Return the item that the address links to; empty for none."""
    return str(params.get("item", ""))[:SEARCH_LIMIT].replace("\0", "")
