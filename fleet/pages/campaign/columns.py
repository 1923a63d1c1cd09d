"""Tables of the campaign page: tails and items, current and at an earlier time."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from operator import attrgetter, itemgetter
from typing import Any, Final

from django.db.models import F
from django.urls import reverse

from campaigns.models import ContentItem
from fleet.history.point_in_time import LoadSnapshot
from fleet.models import Load
from fleet.pages.campaign.heatmap import HeatMapItem
from fleet.pages.cells import tail_link
from fleet.pages.columns import LOAD_COLUMNS, LOAD_PAGE, changed
from fleet.serialization import serialize_load
from fleet.state.precedence import STATES
from ifeportal import formatting
from ifeportal.tables.cells import bar, labelled, state, titled
from ifeportal.tables.columns import Column, Table, fields


@dataclass(frozen=True)
class ItemColumn:
    """An item, its manifest entry (None if not listed), and the number of tails by state."""

    name: str
    item: ContentItem | None
    complete: int
    loading: int
    failed: int


@dataclass(frozen=True)
class ItemCounts:
    """An item and the number of loads by its state at an earlier time."""

    item: HeatMapItem
    complete: int
    failed: int
    active: int


def _tail(row: Load, context: Any) -> str:
    return _link(row.tail.name, context)


def _link(name: str, context: Any) -> str:
    return tail_link(name, reverse("tail", args=[context["airline"].name, "-"])[:-2], context["campaign"].name)


LOADS: Final = Table(
    "loads",
    changed(
        LOAD_COLUMNS,
        Column(
            "tail", "Tail", itemgetter("tail"),
            css="c-name name", header_css="", sort=F("tail__name"), search="tail__name__icontains", render=_tail,
        ),
        Column("error_code", "Error code", itemgetter("error_code"), search="error_code__iexact"),
    ),
    order="status",
    page=("tail", *LOAD_PAGE),
    serialize=serialize_load,
)  # fmt: skip


def _item(row: ItemColumn, context: Any) -> str:
    item = row.item
    if item is None:
        return escape(row.name)
    about = ", ".join(text for text in (item.title, item.kind) if text)
    optional = "" if item.required else ' <span class="badge">optional</span>'
    return titled(escape(row.name), about) + optional


def _checked_by(row: ItemColumn, context: Any) -> str:
    item = row.item
    if item is None:
        return '<span class="badge warn">not in the manifest</span>'
    if not item.listed:
        return '<span class="badge warn">no longer listed</span>'
    if not item.sha256:
        return '<span class="muted">size only</span>'
    digest = escape(item.sha256)
    return f'<span class="muted" title="{digest}">SHA-256 <code>{escape(item.sha256[:12])}…</code></span>'


def _complete_on(row: ItemColumn, context: Any) -> str:
    return _tally(row.complete, context["in_service"], f"Tails with {row.name} complete")


def _tally(complete: int, tails: int, label: str) -> str:
    return (
        f'<div class="gauge tally"><progress max="{tails or 1}" value="{complete}" aria-label="{escape(label)}">'
        f"</progress><span>{formatting.count(complete)} of {formatting.count(tails)}</span></div>"
    )


def _loading(row: ItemColumn, context: Any) -> str:
    return labelled("Loading", formatting.count(row.loading))


def _failing_on(row: ItemColumn, context: Any) -> str:
    failed = f'<span class="state" data-state="failed">{formatting.count(row.failed)}</span>' if row.failed else "0"
    return labelled("Failing on", failed)


def _size(row: ItemColumn, context: Any) -> str:
    return labelled("Size", formatting.size(row.item.size if row.item else None))


# Rows are `ItemColumn` on the page and items of the manifest in the file.
ITEMS: Final = Table(
    "manifest",
    (
        Column("name", "Name", attrgetter("name"), label="Item", css="c-name name", header_css="", render=_item),
        *fields("title", "kind", "required", get=attrgetter),
        Column(
            "size", "Size", attrgetter("size"), css="c-heard num", header_css="num", render=_size,
        ),
        Column(
            "sha256", "Sha256", attrgetter("sha256"), label="Checked by",
            css="c-state", header_css="", render=_checked_by,
        ),
        *fields("priority", "position", get=attrgetter),
        Column("complete", "Complete on", css="c-bar", header_css="bar-col", render=_complete_on),
        Column("loading", "Loading", css="c-rate kept num", header_css="num", render=_loading),
        Column("failed", "Failing on", css="c-eta kept num", header_css="num", render=_failing_on),
    ),
    page=("name", "sha256", "complete", "loading", "failed", "size"),
)  # fmt: skip


def _past_tail(row: LoadSnapshot, context: Any) -> str:
    return _link(row.tail, context)


def _past_state(row: LoadSnapshot, context: Any) -> str:
    return state(row.state) if row.state else '<span class="muted">unknown</span>'


def _past_progress(row: LoadSnapshot, context: Any) -> str:
    return f'<div class="gauge">{bar(row.percent, row.tail)}<span>{formatting.percent(row.percent)}</span></div>'


def _past_items(row: LoadSnapshot, context: Any) -> str:
    failed = f'<span class="bad-count">{formatting.count(row.items_failed)} failed</span>' if row.items_failed else ""
    return labelled("Items", f"{failed}{formatting.count(row.items_done)} of {formatting.count(row.items_total)}")


def _past_held(row: LoadSnapshot, context: Any) -> str:
    total = f'<span class="muted">of {formatting.size(row.bytes_total)}</span>'
    return labelled("Loaded", f"{formatting.size(row.bytes_done)} {total}")


def _since(row: LoadSnapshot, context: Any) -> str:
    if row.since is None:
        return labelled("Since", formatting.UNKNOWN)
    return labelled("Since", f'<time datetime="{formatting.iso(row.since)}">{formatting.instant(row.since)}</time>')


def _state_rank(row: LoadSnapshot) -> int:
    return STATES.index(row.state) if row.state else len(STATES)


# For an earlier time. Rows are in memory, so `sort` is a function.
PAST_LOADS: Final = Table(
    "loads",
    (
        Column("tail", "Tail", css="c-name name", header_css="", sort=attrgetter("tail"), render=_past_tail),
        Column("status", "State", css="c-state", header_css="", sort=_state_rank, render=_past_state),
        Column(
            "percent", "Progress", css="c-bar", header_css="bar-col", sort=attrgetter("percent"), render=_past_progress
        ),
        Column(
            "items", "Items", css="c-items num", header_css="num", sort=attrgetter("items_done"), render=_past_items
        ),
        Column("bytes", "Loaded", css="c-held num", header_css="num", sort=attrgetter("bytes_done"), render=_past_held),
        Column("since", "Since", css="c-heard num", header_css="num", render=_since),
    ),
    order="status",
)  # fmt: skip


def _past_item(row: ItemCounts, context: Any) -> str:
    return titled(escape(row.item.name), row.item.title)


def _past_complete(row: ItemCounts, context: Any) -> str:
    return _tally(row.complete, context["sums"].loads, f"Tails with {row.item.name} complete")


def _past_loading(row: ItemCounts, context: Any) -> str:
    return labelled("Loading", formatting.count(row.active))


def _past_failing(row: ItemCounts, context: Any) -> str:
    return labelled("Failing on", formatting.count(row.failed))


def _past_size(row: ItemCounts, context: Any) -> str:
    return labelled("Size", formatting.size(row.item.size))


PAST_ITEMS: Final = Table(
    "items",
    (
        Column("name", "Item", css="c-name name", header_css="", render=_past_item),
        Column("complete", "Complete on", css="c-bar", header_css="bar-col", render=_past_complete),
        Column("loading", "Loading", css="c-rate kept num", header_css="num", render=_past_loading),
        Column("failed", "Failing on", css="c-eta kept num", header_css="num", render=_past_failing),
        Column("size", "Size", css="c-heard num", header_css="num", render=_past_size),
    ),
    row_attributes=lambda row: {"data-state": "failed" if row.failed else None},
)
