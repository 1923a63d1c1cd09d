"""The tables of the page of an aircraft: its loads, the items of a load, and what happened."""

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
from ifeportal.tables.cells import bar, figure, held, labelled, state, titled
from ifeportal.tables.columns import Column, Table, template_cell


@dataclass(frozen=True)
class ItemRow:
    """A transfer, what the manifest says of its item, what is proven of it, and its turns, newest first."""

    transfer: Transfer
    item: ContentItem | None
    proof: str
    events: Sequence[Event]
    is_requested: bool

    @property
    def checked_by(self) -> str:
        """What it can be checked by."""
        return presenter.checked_by(self.item)


def _campaign(row: Load, context: Any) -> str:
    """The campaign, as a link to its items on this page."""
    campaign, chosen = row.campaign, context["load"]
    current = ' aria-current="true"' if chosen and row.pk == chosen.pk else ""
    return titled(
        f'<a href="?campaign={quote(campaign.name, "")}#items"{current}>{escape(campaign.name)}</a>', campaign.title
    )


# Without an order of their own: they stand in groups, as `presenter.load_groups` has them.
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


def _item(row: ItemRow, context: Any) -> str:
    return titled(escape(row.transfer.content), row.item.title if row.item else "")


def _state(row: ItemRow, context: Any) -> str:
    return state(row.transfer.state)


def _progress(row: ItemRow, context: Any) -> str:
    percent = row.transfer.percent
    return f'<div class="gauge">{bar(percent, row.transfer.content)}{figure(percent, "percent", "percent")}</div>'


def _held(row: ItemRow, context: Any) -> str:
    return labelled("Held", held(row.transfer.bytes_done, row.transfer.bytes_total))


def _rate(row: ItemRow, context: Any) -> str:
    return labelled("Rate", figure(row.transfer.rate_bps, "rate_bps", "rate"))


def _left(row: ItemRow, context: Any) -> str:
    return labelled("Left", figure(row.transfer.eta_seconds, "eta_seconds", "duration"))


def _as_of(row: ItemRow, context: Any) -> str:
    return cells.as_of(row.transfer, context)


# On the page: rows are `ItemRow`; in the file: transfers.
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
                css="c-state", header_css="", sort=TRANSFER_ORDERINGS["status"], render=_state,
            ),
            Column(
                "percent", "Percent", itemgetter("percent"), label="Progress",
                css="c-bar", header_css="bar-col", sort=TRANSFER_ORDERINGS["percent"], render=_progress,
            ),
            Column(
                "bytes_done", "Bytes held", itemgetter("bytes_done"), word="bytes", label="Held",
                css="c-held num", header_css="num", sort=TRANSFER_ORDERINGS["bytes"], render=_held,
            ),
            Column(
                "rate_bps", "Bytes per second", itemgetter("rate_bps"), word="rate", label="Rate",
                css="c-rate num", header_css="num", sort=TRANSFER_ORDERINGS["rate"], render=_rate,
            ),
            Column(
                "eta_seconds", "Seconds left", itemgetter("eta_seconds"), word="eta", label="Left",
                css="c-eta num", header_css="num", sort=TRANSFER_ORDERINGS["eta"], render=_left,
            ),
            Column("error_code", "Error code", itemgetter("error_code"), search="error_code__iexact"),
            Column(
                "as_of", "As of", itemgetter("as_of"),
                css="c-heard num", header_css="num", sort=TRANSFER_ORDERINGS["as_of"], render=_as_of,
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
EVENTS: Final = Table(
    "events",
    (
        Column("campaign", "Campaign", attrgetter("load.campaign.name")),
        Column("at", "At", attrgetter("at")),
        Column("content", "Item", attrgetter("content")),
        Column("state", "State", attrgetter("state")),
        Column("error_code", "Error code", attrgetter("error_code")),
        Column("text", "Text", attrgetter("text")),
        Column("bytes_done", "Bytes held", attrgetter("bytes_done")),
        Column("bytes_total", "Bytes in all", attrgetter("bytes_total")),
    ),
)
