"""Data of a campaign's heat map: tails by items, one letter per cell, details for items in progress.

Reads the database only, in five queries, for a campaign that the caller selected with `visible_to`. Tails in service
that have not started the campaign are rows. Stored and retired tails are only counted.
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
UNKNOWN: Final = "unknown"  # state of a load without records
NOT_REPORTED: Final = "."  # the aircraft has not reported the item
STATE_CODES: Final[Mapping[str, str]] = MappingProxyType(
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
SETTLED: Final = (Status.PENDING, Status.COMPLETE)  # these need no details; they have the time of their row


class HeatMapItem(NamedTuple):
    """A column. `size` in bytes; None if no manifest states it."""

    name: str
    title: str = ""
    size: int | None = None
    listed: bool = False


class HeatMapRow(NamedTuple):
    """A tail. `load` is None if it has not started; then `state`, `percent` and `as_of` are empty."""

    tail: str
    load: int | None = None
    state: str = ""
    percent: int | None = None
    as_of: datetime | None = None


class HeatMapCell(NamedTuple):
    """An item of a load. `percent`, `code` and `as_of` apply only to states that are not `SETTLED`."""

    load: int
    content: str
    state: str
    percent: int | None = None
    code: str = ""
    as_of: datetime | None = None


@dataclass(frozen=True)
class HeatMap:
    """The heat map. `out`: number of stored or retired tails. `at`: the time it shows, None for the current state."""

    items: Sequence[HeatMapItem]
    rows: Sequence[HeatMapRow]
    cells: Iterable[HeatMapCell]
    out: int
    at: datetime | None = None


def load_heat_map(campaign: Campaign) -> HeatMap:
    """Load the current heat map."""
    tails = Tail.objects.filter(airline=campaign.airline_id).order_by("name").values_list("pk", "name", "duty")
    serving = {pk: name for pk, name, duty in tails if duty == ServiceStatus.ACTIVE}
    loads = {load.tail_id: load for load in campaign.loads.all() if load.tail_id in serving}
    lines = [_row(name, loads.get(pk)) for pk, name in serving.items()]
    cells = _cells({load.pk: load for load in loads.values()})
    return HeatMap(items_of(campaign), lines, cells, len(tails) - len(serving))


def heat_map_at(campaign: Campaign, snapshot: CampaignSnapshot) -> HeatMap:
    """Return the heat map at an earlier time, for the tails in service today."""
    tails = Tail.objects.filter(airline=campaign.airline_id).order_by("name").values_list("name", "duty")
    serving = [name for name, duty in tails if duty == ServiceStatus.ACTIVE]
    loads = {load.tail: load for load in snapshot.loads}
    lines = [_row_at(name, loads.get(name)) for name in serving]
    items = items_of(campaign)
    cells = (
        HeatMapCell(line.load, item.name, state)
        for line in lines
        if line.load is not None
        for item in items
        if (state := snapshot.transfer_state(line.load, item.name))
    )
    return HeatMap(items, lines, cells, len(tails) - len(serving), snapshot.at)


def items_of(campaign: Campaign) -> list[HeatMapItem]:
    """Return the items of all manifests of the campaign, in manifest order, those no longer listed last."""
    known = ContentItem.objects.filter(campaign=campaign).order_by("-listed", "position", "name")
    return [HeatMapItem(*row) for row in known.values_list("name", "title", "size", "listed")]


def _row(tail: str, load: Load | None) -> HeatMapRow:
    return HeatMapRow(tail) if load is None else HeatMapRow(tail, load.pk, load.state, load.percent, load.as_of)


def _row_at(tail: str, load: LoadSnapshot | None) -> HeatMapRow:
    if load is None:
        return HeatMapRow(tail)
    return HeatMapRow(tail, load.pk, load.state or UNKNOWN, load.percent, load.bytes_at or load.since)


def _cells(loads: Mapping[int, Load]) -> Iterator[HeatMapCell]:
    """Yield the cells of loads of one campaign. Most are settled; only their status is read."""
    campaign = next((load.campaign_id for load in loads.values()), None)
    rows = Transfer.objects.filter(load__campaign=campaign).order_by()
    for load, content, status in rows.filter(status__in=SETTLED).values_list("load_id", "content", "status"):
        yield HeatMapCell(load, content, status)
    for row in rows.exclude(status__in=SETTLED).defer("error", "progress_etag", "error_etag"):
        if row.load_id in loads:
            row.load = loads[row.load_id]
            yield HeatMapCell(row.load_id, row.content, row.state, row.percent, row.error_code, row.as_of)


def as_json(heat_map: HeatMap) -> dict[str, Any]:
    """Encode the heat map: a string of letters per tail, and details as [column, percent, code, seconds since 1970].

    A settled cell has the time of its row. Tails and items beyond the limits are counted in `cut`.
    """
    lines, cells = heat_map.rows[:TAILS_LIMIT], list(heat_map.cells)
    items = _with_unlisted(heat_map.items, cells)
    columns = {item.name: place for place, item in enumerate(items[:ITEMS_LIMIT])}
    rows = {line.load: place for place, line in enumerate(lines) if line.load is not None}
    letters = [[NOT_REPORTED] * len(columns) for _ in lines]
    moving: list[list[list[object]]] = [[] for _ in lines]
    codes: dict[str, int] = {}
    for cell in cells:
        row, column = rows.get(cell.load), columns.get(cell.content)
        if row is None or column is None:
            continue
        letters[row][column] = STATE_CODES[cell.state]
        if cell.state not in SETTLED:
            code = codes.setdefault(cell.code, len(codes)) if cell.code else None
            moving[row].append([column, cell.percent, code, _seconds(cell.as_of)])
    return {
        "at": heat_map.at and iso(heat_map.at),
        "items": [[item.name, item.title, item.size, int(item.listed)] for item in items[:ITEMS_LIMIT]],
        "tails": [[line.tail, line.state, line.percent, _seconds(line.as_of)] for line in lines],
        "states": {code: state for state, code in STATE_CODES.items()},
        "cells": ["".join(row) for row in letters],
        "moving": moving,
        "codes": list(codes),
        "out": heat_map.out,
        "cut": {"tails": len(heat_map.rows) - len(lines), "items": len(items) - len(columns)},
    }


def _with_unlisted(items: Sequence[HeatMapItem], cells: Collection[HeatMapCell]) -> list[HeatMapItem]:
    """Return the items, followed by those that only aircraft report."""
    known = {item.name for item in items}
    return [*items, *(HeatMapItem(name) for name in sorted({cell.content for cell in cells} - known))]


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
