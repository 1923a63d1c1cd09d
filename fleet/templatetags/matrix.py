"""Template tags for the table of tails by items. Cells are built in Python because a page has thousands."""

from __future__ import annotations

from html import escape

from django import template
from django.utils.safestring import SafeString, mark_safe

from fleet.models import Transfer
from fleet.pages.bars import STATE_ORDER
from fleet.pages.campaign.columns import ItemColumn
from fleet.pages.campaign.queries import MatrixRow
from ifeportal import formatting

register = template.Library()


@register.simple_tag
def matrix_states() -> tuple[str, ...]:
    return STATE_ORDER


@register.simple_tag
def matrix_cells(line: MatrixRow, live: bool) -> SafeString:
    """Render the state of each item on a tail, and the percent of loading ones. The script updates `live` cells."""
    # The names are escaped; all else is states and numbers.
    return mark_safe("".join(_cell(line, column, cell, live=live) for column, cell in line.cells))  # noqa: S308


def _cell(line: MatrixRow, column: ItemColumn, cell: Transfer | None, *, live: bool) -> str:
    about = escape(f"{line.load.tail.name} · {column.name}")
    if cell is None:
        return f'<td class="cell" title="{about}: not reported"><span>not reported</span></td>'
    word, percent = cell.state, formatting.percent(cell.percent)
    key = f' data-key="transfer:{cell.pk}"' if live else ""
    text = percent if word == "loading" else word
    return f'<td class="cell"{key} data-state="{word}" title="{about}: {word} {percent}"><span>{text}</span></td>'
