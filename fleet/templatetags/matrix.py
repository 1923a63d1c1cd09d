"""Template tags of the table cells for loads and items, built in Python because a page has thousands."""

from __future__ import annotations

from datetime import datetime
from html import escape
from typing import Final

from django import template
from django.template.context import Context
from django.utils.safestring import SafeString, mark_safe

from fleet.models import Load, Transfer
from fleet.pages.airline.columns import COLUMNS, RowContext
from fleet.pages.airline.rows import TailRow
from fleet.pages.campaign.queries import ItemColumn, MatrixRow
from ifeportal import formatting

OF_LOAD: Final = ("status", "percent", "items", "bytes", "rate", "eta")
register = template.Library()


@register.simple_tag(takes_context=True)
def load_cells(context: Context, load: Load) -> SafeString:
    """What the airline's table says of a load; another item that is whole or failed changes counts of the page."""
    now: datetime = context["now"]
    row, around = TailRow(load.tail, load, 0, 0), RowContext(now, "", "")
    return mark_safe("".join(_of_load(key, row, around) for key in OF_LOAD))  # noqa: S308  (escaped there)


def _of_load(key: str, row: TailRow, around: RowContext) -> str:
    column = COLUMNS[key]
    mark = " data-refresh" if key == "items" else ""
    return f'<td role="cell" class="{column.css_class}"{mark}>{column.render(row, around)}</td>'


@register.simple_tag
def matrix_cells(line: MatrixRow, live: bool) -> SafeString:
    """The state of each item on a tail, and how far a moving one is; `live`: the page's script keeps it true."""
    # The names are escaped; besides them there are only words and numbers of ours.
    return mark_safe("".join(_cell(line, column, cell, live=live) for column, cell in line.cells))  # noqa: S308


def _cell(line: MatrixRow, column: ItemColumn, cell: Transfer | None, *, live: bool) -> str:
    about = escape(f"{line.load.tail.name} · {column.name}")
    if cell is None:
        return f'<td class="cell" title="{about}: not reported"><span>not reported</span></td>'
    word, percent = cell.state, formatting.percent(cell.percent)
    key = f' data-key="transfer:{cell.pk}"' if live else ""
    text = percent if word == "loading" else word
    return f'<td class="cell"{key} data-state="{word}" title="{about}: {word} {percent}"><span>{text}</span></td>'
