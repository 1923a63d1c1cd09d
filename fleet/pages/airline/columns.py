"""Tables of the airline page: tails, loads and campaigns; and the HTML of a row of tails.

Pure: rows in, HTML out. Cells of tails are functions, not templates: a page may have a thousand rows, and a template
takes ten times as long. All text goes through `escape`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from html import escape
from operator import attrgetter, itemgetter
from typing import Any, Final

from django.db.models import F, QuerySet, Subquery
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe

from fleet.choices import ServiceStatus
from fleet.models import Load
from fleet.pages.airline.queries import CampaignTotals
from fleet.pages.cells import error_row, row_url, tail_states
from fleet.pages.columns import LOAD_COLUMNS, TOTALS, changed
from fleet.serialization import serialize_campaign, serialize_load
from ifeportal import formatting
from ifeportal.models import Airline
from ifeportal.tables.cells import age, figure, figure_text, labelled, titled
from ifeportal.tables.columns import Cell, Column, Table, field_title, fields, template_cell


@dataclass(frozen=True, slots=True)
class TailRow:
    """A tail, its primary load with its campaign, and how many of its other loads are loading or failed.

    Tail and load are models in files; on the page they are tuples of the columns that it shows.
    """

    airline: Airline
    tail: Any
    load: Any
    campaign: str
    others_loading: int
    others_failed: int


@dataclass(frozen=True, slots=True)
class RowContext:
    """Values shared by all rows of a page: its time, and the URL prefixes of tails and campaigns."""

    now: datetime
    tails: str
    campaigns: str


def row_context(airline: str, now: datetime) -> RowContext:
    return RowContext(now, *(reverse(name, args=[airline, "-"])[:-2] for name in ("tail", "campaign")))


def _name(row: TailRow, context: RowContext) -> str:
    tail = row.tail
    duty = ""
    if tail.duty != ServiceStatus.ACTIVE:
        duty = f' <span class="badge">{escape(ServiceStatus(tail.duty).label)}</span>'
    discovered = ' <span class="sr">discovered</span>' if tail.discovered else ""
    return f'<a href="{row_url(context.tails, tail.name)}">{escape(tail.name)}</a>{duty}{discovered}'


def _type(row: TailRow, context: RowContext) -> str:
    return escape(row.tail.aircraft_type) or f'<span class="muted">{formatting.NONE}</span>'


def _campaign(row: TailRow, context: RowContext) -> str:
    if row.load is None:
        return '<span class="muted">no loads yet</span>'
    name = row.campaign
    loading = f' <span class="badge">+{row.others_loading} loading</span>' if row.others_loading else ""
    failed = ""
    if row.others_failed:
        tail = row_url(context.tails, row.tail.name)
        failed = f' <a class="badge bad" href="{tail}">+{row.others_failed} failed</a>'
    return f'<a href="{row_url(context.campaigns, name)}">{escape(name)}</a>{loading}{failed}'


def _heard(row: TailRow, context: RowContext) -> str:
    return labelled("Last contact", age(row.tail.heard_at, context.now, "tail.heard_at" if row.load else "heard_at"))


def _disk(row: TailRow, context: RowContext) -> str:
    field = "tail.stores" if row.load else "stores"
    return labelled("Free", figure_text(formatting.free(row.tail.stores), field, "free"))


# Sort expression of tails, made from the query set of a tail's loads with the primary load first.
TailSort = Callable[[QuerySet[Load]], F | Subquery]


def _by_tail(field: str) -> TailSort:
    return lambda loads: F(field)


def _by_load(value: Any) -> TailSort:
    return lambda loads: Subquery(loads.annotate(chosen=value).values("chosen")[:1])


def _load_cell(render: Cell) -> Cell:
    """Wrap the cell of a load for rows of tails; empty for a tail without a load."""
    return lambda row, context: render(row.load, context) if row.load else ""


def _of_load(key: str) -> Column:
    """Return the column of loads for the table of tails."""
    column = _COLUMNS[key]
    render = _load_cell(column.render) if column.render and key != "as_of" else None
    sort = F("effective_bps") if key == "effective_bps" else column.sort
    return replace(
        column,
        sort=None if sort is None else _by_load(sort),
        render=render,
        default=key not in ("bytes_done", "effective_bps"),
    )


LOAD_KEYS: Final = (
    "status", "state", "at_risk", "percent", "bytes_done", "bytes_total", "items_total", "items_done",
    "items_failed", "rate_bps", "effective_bps", "eta_seconds", "eta_latest_seconds", "proof", "error_code",
    "error", "error_content", "as_of", "started_at", "finished_at", "archived_at",
)  # fmt: skip
TAIL_KEYS: Final = ("aircraft_type", "duty", "heard_at", "loader_version", "loader_state", "loader_reason", "stores")
# Files of this page are titled by the names of the API's fields. Headers have the class of their cells.
_COLUMNS: Final = {
    column.key: replace(column, title=field_title(column.key), label=column.heading, header_css=None, attributes="")
    for column in changed(
        LOAD_COLUMNS,
        Column("tail", "Tail", itemgetter("tail"), sort=F("tail__name"), search="tail__name__icontains"),
        Column(
            "campaign", "Campaign", itemgetter("campaign"), sort=F("campaign__name"), search="campaign__name__icontains"
        ),
        Column("error_code", "Error code", itemgetter("error_code"), search="error_code__iexact"),
    )
}  # fmt: skip


def _serialize_tail(row: TailRow) -> dict[str, Any]:
    load = serialize_load(row.load) if row.load else {}
    tail = {key: getattr(row.tail, key) for key in TAIL_KEYS}
    fields_of_load = {key: load.get(key) for key in ("campaign", *LOAD_KEYS)}
    return {**fields_of_load, **tail, "airline": row.airline.name, "tail": row.tail.name}


TAILS: Final = Table(
    "tails",
    (
        *fields("airline"),
        Column("tail", "Tail", itemgetter("tail"), css="c-name name", sort=_by_tail("name"), render=_name),
        Column(
            "aircraft_type", "Aircraft type", itemgetter("aircraft_type"), word="type", label="Type",
            css="c-type", sort=_by_tail("aircraft_type"), render=_type,
        ),
        *fields("duty"),
        Column(
            "heard_at", "Heard at", itemgetter("heard_at"), word="heard", label="Last contact",
            css="c-heard num", sort=_by_tail("heard_at"), render=_heard,
        ),
        *fields("loader_version", "loader_state", "loader_reason"),
        Column(
            "stores", "Stores", itemgetter("stores"), word="disk", label="Free disk",
            css="c-disk num", sort=_by_tail("stores__0__free"), render=_disk,
        ),
        Column(
            "campaign", "Campaign", itemgetter("campaign"),
            css="c-campaign", sort=_by_load(F("campaign__name")), render=_campaign,
        ),
        *(_of_load(key) for key in LOAD_KEYS),
    ),
    order="status",
    page=(
        "tail", "type", "campaign", "status", "percent", "items", "bytes", "rate", "effective", "eta", "heard", "disk",
    ),
    serialize=_serialize_tail,
)  # fmt: skip
LOADS: Final = Table(
    "loads",
    [_COLUMNS[key] for key in ("airline", "tail", "campaign", *LOAD_KEYS)],
    order="tail",
    serialize=serialize_load,
)


def _campaign_name(row: CampaignTotals, context: Any) -> str:
    campaign = row.campaign
    link = f'<a href="{escape(campaign.get_absolute_url())}">{escape(campaign.name)}</a>'
    return titled(link, campaign.title)


def _campaign_state(row: CampaignTotals, context: Any) -> str:
    return labelled("Tails", tail_states(row.sums)) if row.sums.loads else '<span class="muted">no tails yet</span>'


def _campaign_tails(row: CampaignTotals, context: Any) -> str:
    return labelled("Tails", f"<span data-refresh>{figure(row.sums.tails, 'tails', 'count')}</span>")


def _sum(label: str, get: Callable[[CampaignTotals], int | None], field: str, how: str) -> Cell:
    """Return a cell for a number of the campaign or of its totals."""
    return lambda row, context: labelled(label, figure(get(row), field, how))


# Rows are `CampaignTotals` on the page and campaigns with totals in the file.
CAMPAIGNS: Final = Table(
    "campaigns",
    (
        *fields("airline"),
        Column(
            "campaign", "Campaign", itemgetter("campaign"),
            css="c-name name", header_css="", render=_campaign_name,
        ),
        *fields("title", "version"),
        Column(
            "exhibition_starts", "Exhibition starts", itemgetter("exhibition_starts"), label="Exhibition",
            css="c-campaign", header_css="", render=template_cell("fleet/airline/exhibition_cell.html"),
        ),
        *fields(
            "exhibition_ends", "manifest_state", "manifest_problem", "signed", "withdrawn_at",
        ),
        Column(
            "items", "Items", itemgetter("items"),
            css="c-eta kept num", header_css="num",
            render=_sum("Items", attrgetter("campaign.items_total"), "items", "count"),
        ),
        Column(
            "bytes", "Bytes", itemgetter("bytes"), label="Size",
            css="c-heard num", header_css="num",
            render=_sum("Size", attrgetter("campaign.bytes_total"), "bytes", "size"),
        ),
        Column(
            "tails", "Tails", itemgetter("tails"),
            css="c-items num", header_css="num", render=_campaign_tails,
        ),
        *fields("tails_out"),
        Column(
            "state", "State", itemgetter("state"), label="Tails by state",
            css="c-state", header_css="", render=_campaign_state,
        ),
        *changed(
            TOTALS,
            Column(
                "percent", "Percent", itemgetter("percent"), label="Progress on all tails",
                css="c-bar", header_css="bar-col", render=template_cell("fleet/airline/progress_cell.html"),
            ),
            Column(
                "complete", "Complete", itemgetter("complete"),
                css="c-held num", header_css="num",
                render=_sum("Complete", attrgetter("sums.complete"), "complete", "count"),
            ),
            Column(
                "items_failed", "Items failed", itemgetter("items_failed"), label="Failed items",
                css="c-rate kept num", header_css="num",
                render=_sum("Failed items", attrgetter("sums.items_failed"), "items_failed", "count"),
            ),
        ),
    ),
    page=("campaign", "exhibition_starts", "state", "percent", "tails", "complete", "items_failed", "items", "bytes"),
    serialize=serialize_campaign,
    row_attributes=lambda row: {"data-key": f"campaign:{row.campaign.pk}"},
)  # fmt: skip


def render_rows(rows: Sequence[TailRow], shown: Sequence[str], context: RowContext) -> SafeString:
    """Render each row as a `tbody` with its cells and, below them, its error if it has one."""
    render = TAILS.row_renderer(shown)
    # All text was escaped by the cells.
    return mark_safe("".join(_render_row(row, render(row, context), len(shown)) for row in rows))  # noqa: S308


def _render_row(row: TailRow, cells: str, across: int) -> str:
    tail, load = row.tail, row.load
    key, state, error = f"tail:{tail.pk}", "", ""
    if load:
        key, state = f"load:{load.pk} {key}", f' data-state="{load.state}"'
        if load.error or load.error_code:
            error = error_row(load, across)
    return (
        f'<tbody role="rowgroup" data-key="{key}"{state} data-tail="{escape(tail.name)}">'
        f'<tr role="row">{cells}</tr>{error}</tbody>'
    )
