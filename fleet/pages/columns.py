"""Columns shared by tables of several pages: loads, items on tails, and totals of loads.

Files name them as the API does: bytes, bytes per second, seconds; timestamps in ISO 8601 with Z.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Final

from django.db.models import QuerySet

from fleet.models import Load, Transfer
from fleet.pages import cells
from fleet.pages.orderings import LOAD_ORDERINGS
from fleet.serialization import serialize_transfer
from fleet.stats.rollup import COUNTED_STATES
from ifeportal.tables.columns import Column, Table, fields


def titled_fields(**titles: str) -> list[Column]:
    """Return columns that are only in files, for rows serialized as in the API, by key."""
    return [Column(key, title, itemgetter(key)) for key, title in titles.items()]


TOTALS: Final = tuple(
    fields(
        "percent", "bytes_done", "bytes_total", "loads", "loads_unknown", *COUNTED_STATES,
        "at_risk", "items_total", "items_done", "items_failed", "as_of",
    )
)  # fmt: skip
SCOPE: Final = tuple(titled_fields(airline="Airline", tail="Tail", campaign="Campaign"))
_TIMES: Final = titled_fields(started_at="Started", finished_at="Finished")

# Rows are loads on the page and dictionaries of the API in the file.
LOAD_COLUMNS: Final = (
    *SCOPE,
    Column(
        "state", "State", itemgetter("state"), word="status",
        css="c-state", header_css="", sort=LOAD_ORDERINGS["status"], render=cells.state,
    ),
    *titled_fields(status="Status"),
    Column(
        "percent", "Percent", itemgetter("percent"), label="Progress",
        css="c-bar", header_css="bar-col", sort=LOAD_ORDERINGS["percent"], render=cells.progress,
    ),
    Column(
        "bytes_done", "Bytes loaded", itemgetter("bytes_done"), word="bytes", label="Loaded",
        css="c-held num", header_css="num", sort=LOAD_ORDERINGS["bytes"], render=cells.bytes_held,
    ),
    *titled_fields(bytes_total="Bytes total"),
    Column(
        "rate_bps", "Bytes per second", itemgetter("rate_bps"), word="rate", label="Rate",
        css="c-rate num", header_css="num", sort=LOAD_ORDERINGS["rate"], render=cells.rate,
    ),
    Column(
        "eta_seconds", "Seconds left", itemgetter("eta_seconds"), word="eta", label="Left",
        css="c-eta num", header_css="num", sort=LOAD_ORDERINGS["eta"], render=cells.time_left,
    ),
    Column(
        "effective_bps", "Effective bytes per second", itemgetter("effective_bps"),
        word="effective", label="Effective rate", css="c-effective num", render=cells.effective_rate,
    ),
    *titled_fields(eta_latest_seconds="Seconds left, latest", at_risk="At risk", items_total="Items"),
    # `data-refresh`: a completed or failed item changes counts elsewhere, so the script reloads the page.
    Column(
        "items_done", "Items complete", itemgetter("items_done"), word="items", label="Items",
        attributes=" data-refresh", css="c-items num", header_css="num",
        sort=LOAD_ORDERINGS["items"], render=cells.items,
    ),
    *titled_fields(items_failed="Items failed", proof="Proof", error_code="Error code", error="Error"),
    *titled_fields(error_content="Error item"),
    Column(
        "as_of", "As of", itemgetter("as_of"),
        css="c-heard num", header_css="num", sort=LOAD_ORDERINGS["as_of"], render=cells.as_of,
    ),
    *_TIMES,
    *titled_fields(archived_at="Archived"),
)  # fmt: skip
LOAD_PAGE: Final = ("status", "percent", "items", "bytes", "rate", "eta", "as_of")

TRANSFER_COLUMNS: Final = (
    *SCOPE,
    *titled_fields(content="Item", state="State", status="Status", percent="Percent", bytes_done="Bytes loaded"),
    *titled_fields(bytes_total="Bytes total", rate_bps="Bytes per second", eta_seconds="Seconds left"),
    *titled_fields(bytes_reported="Bytes reported", listed="In the manifest", restarted="Restarted"),
    *titled_fields(error_code="Error code", error="Error", error_past="Error resolved", as_of="As of"),
    *_TIMES,
)
TRANSFERS: Final = Table("items", TRANSFER_COLUMNS, serialize=serialize_transfer)


def changed(columns: tuple[Column, ...], *others: Column) -> tuple[Column, ...]:
    """Return the columns, replaced by those of the same key."""
    by_key = {column.key: column for column in others}
    return tuple(by_key.get(column.key, column) for column in columns)


def load_file(table: Table, name: str, rows: QuerySet[Load]) -> Table:
    """Return the table with loads for a file."""
    return table.with_rows(rows.select_related("tail__airline", "campaign"), f"{name} loads")


def transfer_file(table: Table, name: str, rows: QuerySet[Transfer]) -> Table:
    """Return the table with items on tails for a file."""
    return table.with_rows(rows.select_related("load__tail__airline", "load__campaign"), f"{name} items")
