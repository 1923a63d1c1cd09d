"""Tables of the tail page: loads, items of a load, current transfers and events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from operator import attrgetter, itemgetter
from typing import Any, Final
from urllib.parse import quote

from django.db.models import F

from campaigns.models import ContentItem
from fleet.models import Event, Load, Transfer
from fleet.pages import cells
from fleet.pages.columns import LOAD_COLUMNS, LOAD_PAGE, TRANSFER_COLUMNS, changed
from fleet.pages.orderings import TRANSFER_ORDERINGS
from fleet.pages.tail import presenter
from fleet.serialization import serialize_load, serialize_transfer
from ifeportal import formatting
from ifeportal.tables.cells import age, bar, figure, held, labelled, state, titled
from ifeportal.tables.columns import Cell, Column, Table, template_cell


@dataclass(frozen=True)
class ItemRow:
    """A transfer, its item in the manifest, its verification, and its events, newest first."""

    transfer: Transfer
    item: ContentItem | None
    proof: str
    events: Sequence[Event]
    is_requested: bool

    @property
    def checked_by(self) -> str:
        return presenter.checked_by(self.item)


def _campaign(row: Load, context: Any) -> str:
    """Link to the items of the campaign on this page."""
    campaign, chosen = row.campaign, context["load"]
    current = ' aria-current="true"' if chosen and row.pk == chosen.pk else ""
    return titled(
        f'<a href="?campaign={quote(campaign.name, "")}#items"{current}>{escape(campaign.name)}</a>', campaign.title
    )


# Not sortable: the page groups the loads, see `presenter.load_groups`.
LOADS: Final = Table(
    "loads",
    (
        *changed(
            LOAD_COLUMNS,
            Column("campaign", "Campaign", itemgetter("campaign"), css="c-name name", header_css="", render=_campaign),
        ),
        Column(
            "exhibition", "Exhibition",
            css="c-campaign", header_css="", render=template_cell("fleet/tail/exhibition_cell.html"),
        ),
    ),
    page=("campaign", "exhibition", *LOAD_PAGE),
    serialize=serialize_load,
)  # fmt: skip


def _state(row: Transfer, context: Any) -> str:
    return state(row.state)


def _progress(row: Transfer, context: Any) -> str:
    return f'<div class="gauge">{bar(row.percent, row.content)}{figure(row.percent, "percent", "percent")}</div>'


def _held(row: Transfer, context: Any) -> str:
    return labelled("Loaded", held(row.bytes_done, row.bytes_total))


def _rate(row: Transfer, context: Any) -> str:
    return labelled("Rate", figure(row.rate_bps, "rate_bps", "rate"))


def _left(row: Transfer, context: Any) -> str:
    return labelled("Left", figure(row.eta_seconds, "eta_seconds", "duration"))


def _of_item(render: Cell) -> Cell:
    """Wrap the cell of a transfer for rows that are `ItemRow`."""
    return lambda row, context: render(row.transfer, context)


def _item(row: ItemRow, context: Any) -> str:
    return titled(escape(row.transfer.content), row.item.title if row.item else "")


# Rows are `ItemRow` on the page and transfers in the file.
ITEMS: Final = Table(
    "items",
    (
        *changed(
            TRANSFER_COLUMNS,
            Column(
                "content", "Item", itemgetter("content"), word="item",
                css="c-name name", header_css="", sort=F("content"), search="content__icontains", render=_item,
            ),
            Column(
                "state", "State", itemgetter("state"), word="status",
                css="c-state", header_css="", sort=TRANSFER_ORDERINGS["status"], render=_of_item(_state),
            ),
            Column(
                "percent", "Percent", itemgetter("percent"), label="Progress",
                css="c-bar", header_css="bar-col", sort=TRANSFER_ORDERINGS["percent"], render=_of_item(_progress),
            ),
            Column(
                "bytes_done", "Bytes loaded", itemgetter("bytes_done"), word="bytes", label="Loaded",
                css="c-held num", header_css="num", sort=TRANSFER_ORDERINGS["bytes"], render=_of_item(_held),
            ),
            Column(
                "rate_bps", "Bytes per second", itemgetter("rate_bps"), word="rate", label="Rate",
                css="c-rate num", header_css="num", sort=TRANSFER_ORDERINGS["rate"], render=_of_item(_rate),
            ),
            Column(
                "eta_seconds", "Seconds left", itemgetter("eta_seconds"), word="eta", label="Left",
                css="c-eta num", header_css="num", sort=TRANSFER_ORDERINGS["eta"], render=_of_item(_left),
            ),
            Column("error_code", "Error code", itemgetter("error_code"), search="error_code__iexact"),
            Column(
                "as_of", "As of", itemgetter("as_of"),
                css="c-heard num", header_css="num", sort=TRANSFER_ORDERINGS["as_of"], render=_of_item(cells.as_of),
            ),
        ),
        Column(
            "checked_by", "Checked by",
            css="c-campaign", header_css="", render=template_cell("fleet/tail/checked_by_cell.html"),
        ),
    ),
    order="status",
    page=("item", "checked_by", "status", "percent", "bytes", "rate", "eta", "as_of"),
    serialize=serialize_transfer,
)  # fmt: skip


def _moving_item(row: Transfer, context: Any) -> str:
    return f'{escape(row.content)} <span class="muted">{escape(row.load.campaign.name)}</span>'


# Rows are transfers.
MOVING: Final = Table(
    "moving",
    (
        Column("content", "Item", css="c-name name", header_css="", render=_moving_item),
        Column("state", "State", css="c-state", header_css="", render=_state),
        Column("percent", "Progress", css="c-bar", header_css="bar-col", render=_progress),
        Column("bytes_done", "Loaded", css="c-held num", header_css="num", render=_held),
        Column("rate_bps", "Rate", css="c-rate num", header_css="num", render=_rate),
        Column("eta_seconds", "Left", css="c-eta num", header_css="num", render=_left),
    ),
)


def _event_state(row: Event, context: Any) -> str:
    return f'<span class="state" data-state="{row.state}">{row.state}</span>'


def _event_at(row: Event, context: Any) -> str:
    return age(row.at, context["now"])


def _event_of(row: Event, context: Any) -> str:
    """Link to the item or load on this page, with its campaign."""
    name = row.load.campaign.name
    address = f"?campaign={quote(name, '')}"
    address += f"&amp;item={quote(row.content, '')}#item" if row.content else "#items"
    return f'<a href="{address}">{escape(row.content) or "load"}</a> <span class="muted">{escape(name)}</span>'


def _event_text(row: Event, context: Any) -> str:
    code = f'<span class="code">{escape(row.error_code)}</span> ' if row.error_code else ""
    amount = f"{formatting.size(row.bytes_done)} of {formatting.size(row.bytes_total)}"
    return f'{code}{escape(row.text)} <span class="muted">{amount}</span>'


EVENTS: Final = Table(
    "events",
    (
        Column("campaign", "Campaign", attrgetter("load.campaign.name")),
        Column("at", "At", attrgetter("at"), label="When", css="c-name nowrap", header_css="", render=_event_at),
        Column(
            "content", "Item", attrgetter("content"), label="Item",
            css="c-campaign name", header_css="", render=_event_of,
        ),
        Column("state", "State", attrgetter("state"), css="c-state", header_css="", render=_event_state),
        Column("error_code", "Error code", attrgetter("error_code")),
        Column(
            "text", "Text", attrgetter("text"), label="Event",
            css="c-campaign what", header_css="", render=_event_text,
        ),
        Column("bytes_done", "Bytes loaded", attrgetter("bytes_done")),
        Column("bytes_total", "Bytes total", attrgetter("bytes_total")),
    ),
    page=("at", "state", "content", "text"),
)  # fmt: skip
