"""Columns of the airline page's table, and the HTML of a row.

Pure: rows of `fleet.pages.airline.rows` in, HTML out. Written here rather than in a template because a page may hold a
thousand rows, which a template takes ten times as long for. Whatever is not a number goes through `escape`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe

from fleet.choices import ServiceStatus
from fleet.models import Load
from fleet.pages import bars
from fleet.pages.airline.rows import TailRow
from ifeportal import formatting
from loader.errors import find_error_kind

SAFE: Final = "!$&'()*+,;=/~:@"  # in an address, as Django's `reverse` has it


@dataclass(frozen=True, slots=True)
class RowContext:
    """What all rows of a page share: the moment it is made, and how addresses of tails and campaigns begin."""

    now: datetime
    tails: str
    campaigns: str


def row_context(airline: str, now: datetime) -> RowContext:
    """Those of an airline's page."""
    return RowContext(now, *(reverse(name, args=[airline, "-"])[:-2] for name in ("tail", "campaign")))


Cell = Callable[[TailRow, RowContext], str]


@dataclass(frozen=True, slots=True)
class TailColumn:
    """`css_class` is its class, `render` what stands in it."""

    title: str
    css_class: str
    render: Cell


def row_url(start: str, name: str) -> str:
    """The address of a tail or campaign, for an attribute."""
    return escape(f"{start}{quote(name, SAFE)}/")


def render_figure(text: str, field: str, how: str) -> str:
    """A number of the row's state; `text` is written as `how` says."""
    return f'<span data-field="{field}" data-as="{how}">{text}</span>'


def render_age(value: datetime | None, now: datetime, field: str) -> str:
    """A time as its age."""
    if value is None:
        return f'<time data-as="age" data-field="{field}">never</time>'
    return (
        f'<time data-as="age" data-field="{field}" datetime="{formatting.iso(value)}"'
        f' title="{formatting.instant(value)}">'
        f"{formatting.age(value, now)}</time>"
    )


def _bar(load: Load) -> str:
    percent = load.percent
    done, flight, lost = bars.parts(percent, load.items_done, load.items_failed, load.items_total)
    unknown = " unknown" if percent is None else ""
    return (
        f'<div class="gauge"><svg class="parts{unknown}" data-field="percent" data-as="parts" aria-hidden="true">'
        f'<rect class="done" width="{done}%"/>'
        f'<rect class="flight" fill="url(#p-loading)" x="{done}%" width="{flight}%"/>'
        f'<rect class="lost" fill="url(#p-failed)" x="{100 - lost}%" width="{lost}%"/></svg>'
        f"{render_figure(formatting.percent(percent), 'percent', 'percent')}</div>"
    )


def _name(row: TailRow, around: RowContext) -> str:
    tail = row.tail
    duty = "" if tail.duty == ServiceStatus.ACTIVE else f' <span class="badge">{escape(tail.get_duty_display())}</span>'
    found = ' <span class="sr">discovered</span>' if tail.discovered else ""
    return f'<a href="{row_url(around.tails, tail.name)}">{escape(tail.name)}</a>{duty}{found}'


def _type(row: TailRow, around: RowContext) -> str:
    return escape(row.tail.aircraft_type) or f'<span class="muted">{formatting.NONE}</span>'


def _campaign(row: TailRow, around: RowContext) -> str:
    if row.load is None:
        return '<span class="muted">no load yet</span>'
    name = row.load.campaign.name
    loading = f' <span class="badge">+{row.others_loading} loading</span>' if row.others_loading else ""
    failed = ""
    if row.others_failed:
        tail = row_url(around.tails, row.tail.name)
        failed = f' <a class="badge bad" href="{tail}">+{row.others_failed} failed</a>'
    return f'<a href="{row_url(around.campaigns, name)}">{escape(name)}</a>{loading}{failed}'


def _heard(row: TailRow, around: RowContext) -> str:
    field = "tail.heard_at" if row.load else "heard_at"
    return f'<span class="lead">Heard</span> {render_age(row.tail.heard_at, around.now, field)}'


def _disk(row: TailRow, around: RowContext) -> str:
    field = "tail.stores" if row.load else "stores"
    return f'<span class="lead">Free</span> {render_figure(formatting.free(row.tail.stores), field, "free")}'


def _state(load: Load) -> str:
    word = load.state
    risk = "" if load.at_risk else " hidden"
    return (
        f'<span class="state" data-field="state" data-as="state" data-state="{word}">{word}</span>'
        f'<span data-show="at_risk"{risk}> <span class="badge warn state" data-state="at_risk">at risk</span></span>'
    )


def _items(load: Load) -> str:
    failed = "" if load.items_failed else " hidden"
    return (
        f'<span class="lead">Items</span> <span class="bad-count" data-show="items_failed"{failed}>'
        f"{render_figure(formatting.count(load.items_failed), 'items_failed', 'count')} failed</span> "
        f"{render_figure(formatting.count(load.items_done), 'items_done', 'count')} of "
        f"{render_figure(formatting.count(load.items_total), 'items_total', 'count')}"
    )


def _held(load: Load) -> str:
    return (
        f'<span class="lead">Held</span> {render_figure(formatting.size(load.bytes_done), "bytes_done", "size")} '
        f'<span class="muted">of {render_figure(formatting.size(load.bytes_total), "bytes_total", "size")}</span>'
    )


def _rate(load: Load) -> str:
    return f'<span class="lead">Rate</span> {render_figure(formatting.rate(load.rate_bps), "rate_bps", "rate")}'


def _effective(load: Load) -> str:
    figure = render_figure(formatting.rate(load.effective_bps), "effective_bps", "rate")
    return f'<span class="lead">Effective</span> {figure}'


def _eta(load: Load) -> str:
    text = formatting.band(load.eta_seconds, load.eta_latest_seconds)
    return f'<span class="lead">Left</span> {render_figure(text, "eta_seconds", "band")}'


def load_cell(cell: Callable[[Load], str]) -> Cell:
    """A cell that stays empty on a tail without a load."""
    return lambda row, around: cell(row.load) if row.load else ""


# In the order of the page; by the word that `cols` and `sort` of the address have for them.
COLUMNS: Final[Mapping[str, TailColumn]] = MappingProxyType(
    {
        "tail": TailColumn("Tail", "c-name name", _name),
        "type": TailColumn("Type", "c-type", _type),
        "campaign": TailColumn("Campaign", "c-campaign", _campaign),
        "status": TailColumn("State", "c-state", load_cell(_state)),
        "percent": TailColumn("Progress", "c-bar", load_cell(_bar)),
        "items": TailColumn("Items", "c-items num", load_cell(_items)),
        "bytes": TailColumn("Held", "c-held num", load_cell(_held)),
        "rate": TailColumn("Rate", "c-rate num", load_cell(_rate)),
        "effective": TailColumn("Effective rate", "c-effective num", load_cell(_effective)),
        "eta": TailColumn("Left", "c-eta num", load_cell(_eta)),
        "heard": TailColumn("Last heard", "c-heard num", _heard),
        "disk": TailColumn("Free disk", "c-disk num", _disk),
    }
)
REQUIRED_COLUMN: Final = "tail"
DEFAULT_COLUMNS: Final = tuple(key for key in COLUMNS if key not in ("bytes", "effective"))


def render_row(row: TailRow, columns: Sequence[str], context: RowContext) -> SafeString:
    """The row as a `tbody`: its cells, and its error under them if there is one."""
    tail, load = row.tail, row.load
    name = f'<th role="rowheader" scope="row" class="{COLUMNS[REQUIRED_COLUMN].css_class}">{_name(row, context)}</th>'
    shown = [COLUMNS[key] for key in columns if key != REQUIRED_COLUMN]
    cells = [f'<td role="cell" class="{column.css_class}">{column.render(row, context)}</td>' for column in shown]
    key, state, fault = f"tail:{tail.pk}", "", ""
    if load:
        key, state = f"load:{load.pk} {key}", f' data-state="{load.state}"'
        if load.error or load.error_code:
            fault = error_row(load, len(columns))
    # Every part that is not a number was escaped where it was written.
    return mark_safe(  # noqa: S308
        f'<tbody role="rowgroup" data-key="{key}"{state} data-tail="{escape(tail.name)}">'
        f'<tr role="row">{name}{"".join(cells)}</tr>{fault}</tbody>'
    )


def error_row(load: Load, across: int) -> str:
    """The error of a load, over so many columns: which item, code and text as they came, and what to do."""
    known = find_error_kind(load.error_code)
    sentence = "" if load.error or not known else f"{escape(known.sentence)} "
    advice = f' <span class="advice">{sentence}<b>What to do:</b> {escape(known.advice)}</span>' if known else ""
    hidden = "" if load.error or load.error_code else " hidden"
    return (
        f'<tr role="row" class="fault-row" data-show="error error_code"{hidden}><td role="cell" colspan="{across}">'
        f'<div class="fault"><b data-field="error_content" data-as="text">{escape(load.error_content)}</b> '
        f'<span data-refresh><span class="code" data-field="error_code" data-as="text">{escape(load.error_code)}</span>'
        f'</span> <span class="text" data-field="error" data-as="text">{escape(load.error)}</span>{advice}'
        f"</div></td></tr>"
    )
