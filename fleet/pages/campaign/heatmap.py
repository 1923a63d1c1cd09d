"""The campaign's picture as a browser draws it: tails by items, one letter a cell, and a little more of what moves.

Reads the database only, and only below a campaign that its caller has reached by `visible_to`: five queries, whatever
there is. Tails that are stored or retired are left out and counted; one in service that has not begun is there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from campaigns.models import Campaign, ContentItem
from fleet.choices import ServiceStatus, State, Status
from fleet.history.point_in_time import CampaignSnapshot, LoadSnapshot
from fleet.models import Load, Tail, Transfer
from ifeportal.formatting import iso

ITEMS_LIMIT: Final = 500
TAILS_LIMIT: Final = 3_000
UNKNOWN: Final = "unknown"  # the state of a load of which nothing was recorded
NOTHING: Final = "."  # the aircraft has said nothing of the item
LETTERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        State.FAILED: "f",
        State.SILENT: "i",
        State.STALLED: "s",
        State.CONTRADICTION: "x",
        State.WAITING: "w",
        State.RESTARTED: "r",
        State.LOADING: "l",
        State.PENDING: "p",
        State.COMPLETE: "c",
        State.DELETED: "d",
    }
)
SETTLED: Final = (Status.PENDING, Status.COMPLETE)  # of these the letter says it all, and the line when it was true


class Item(NamedTuple):
    """A column. `size` in bytes; None where no manifest tells it."""

    name: str
    title: str = ""
    size: int | None = None
    listed: bool = False


class Line(NamedTuple):
    """A tail. `load` is None where it has not begun; then there is no `state`, `percent` nor `as_of`."""

    tail: str
    load: int | None = None
    state: str = ""
    percent: int | None = None
    as_of: datetime | None = None


class Cell(NamedTuple):
    """An item on a tail; `load` tells the tail. `percent`, `code` and `as_of` matter only where it is not settled."""

    load: int
    content: str
    state: str
    percent: int | None = None
    code: str = ""
    as_of: datetime | None = None


@dataclass(frozen=True)
class Picture:
    """Everything there is to draw. `out`: tails stored or retired; `at`: the moment it shows, None for the present."""

    items: Sequence[Item]
    lines: Sequence[Line]
    cells: Iterable[Cell]
    out: int
    at: datetime | None = None


def picture(campaign: Campaign) -> Picture:
    """The campaign as it stands."""
    tails = Tail.objects.filter(airline=campaign.airline_id).order_by("name").values_list("pk", "name", "duty")
    serving = {pk: name for pk, name, duty in tails if duty == ServiceStatus.ACTIVE}
    loads = {load.tail_id: load for load in campaign.loads.all() if load.tail_id in serving}
    lines = [_line(name, loads.get(pk)) for pk, name in serving.items()]
    cells = _cells({load.pk: load for load in loads.values()})
    return Picture(items_of(campaign), lines, cells, len(tails) - len(serving))


def picture_then(campaign: Campaign, then: CampaignSnapshot) -> Picture:
    """The campaign as it stood at an earlier moment, on the tails that are in service today."""
    tails = Tail.objects.filter(airline=campaign.airline_id).order_by("name").values_list("name", "duty")
    serving = [name for name, duty in tails if duty == ServiceStatus.ACTIVE]
    loads = {load.tail: load for load in then.loads}
    lines = [_line_then(name, loads.get(name)) for name in serving]
    items = items_of(campaign)
    cells = (
        Cell(line.load, item.name, state)
        for line in lines
        if line.load is not None
        for item in items
        if (state := then.transfer_state(line.load, item.name))
    )
    return Picture(items, lines, cells, len(tails) - len(serving), then.at)


def items_of(campaign: Campaign) -> list[Item]:
    """The items any manifest of the campaign has named, in its order, those no longer listed last."""
    known = ContentItem.objects.filter(campaign=campaign).order_by("-listed", "position", "name")
    return [Item(*row) for row in known.values_list("name", "title", "size", "listed")]


def _line(tail: str, load: Load | None) -> Line:
    return Line(tail) if load is None else Line(tail, load.pk, load.state, load.percent, load.as_of)


def _line_then(tail: str, load: LoadSnapshot | None) -> Line:
    if load is None:
        return Line(tail)
    return Line(tail, load.pk, load.state or UNKNOWN, load.percent, load.bytes_at or load.since)


def _cells(loads: Mapping[int, Load]) -> Iterator[Cell]:
    """Of loads of one campaign. What is settled is by far the most: only its word is read."""
    campaign = next((load.campaign_id for load in loads.values()), None)
    rows = Transfer.objects.filter(load__campaign=campaign).order_by()
    for load, content, status in rows.filter(status__in=SETTLED).values_list("load_id", "content", "status"):
        yield Cell(load, content, status)
    for row in rows.exclude(status__in=SETTLED).defer("error", "progress_etag", "error_etag"):
        if row.load_id in loads:
            row.load = loads[row.load_id]
            yield Cell(row.load_id, row.content, row.state, row.percent, row.error_code, row.as_of)


def as_json(drawn: Picture) -> dict[str, Any]:
    """The picture, compact: a string of letters a tail, and what moves as [column, percent, code, seconds since 1970].

    A settled cell is as of its tail. Beyond the limits tails and items are left out and counted in `cut`.
    """
    lines, cells = drawn.lines[:TAILS_LIMIT], list(drawn.cells)
    items = _with_strangers(drawn.items, cells)
    columns = {item.name: place for place, item in enumerate(items[:ITEMS_LIMIT])}
    rows = {line.load: place for place, line in enumerate(lines) if line.load is not None}
    letters = [[NOTHING] * len(columns) for _ in lines]
    moving: list[list[list[object]]] = [[] for _ in lines]
    codes: dict[str, int] = {}
    for cell in cells:
        row, column = rows.get(cell.load), columns.get(cell.content)
        if row is None or column is None:
            continue
        letters[row][column] = LETTERS[cell.state]
        if cell.state not in SETTLED:
            code = codes.setdefault(cell.code, len(codes)) if cell.code else None
            moving[row].append([column, cell.percent, code, _seconds(cell.as_of)])
    return {
        "at": drawn.at and iso(drawn.at),
        "items": [[item.name, item.title, item.size, int(item.listed)] for item in items[:ITEMS_LIMIT]],
        "tails": [[line.tail, line.state, line.percent, _seconds(line.as_of)] for line in lines],
        "cells": ["".join(row) for row in letters],
        "moving": moving,
        "codes": list(codes),
        "out": drawn.out,
        "cut": {"tails": len(drawn.lines) - len(lines), "items": len(items) - len(columns)},
    }


def _with_strangers(items: Sequence[Item], cells: Collection[Cell]) -> list[Item]:
    """The items, and after them those that only aircraft know of."""
    known = {item.name for item in items}
    return [*items, *(Item(name) for name in sorted({cell.content for cell in cells} - known))]


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
