"""The cells of a table of tails by items. Written here, as a page has thousands of them."""

from __future__ import annotations

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from fleet import figures
from fleet.matrix import ItemColumn, MatrixRow
from fleet.models import Transfer

register = template.Library()


@register.simple_tag
def matrix_cells(line: MatrixRow, live: bool) -> SafeString:
    """The state of each item on a tail, and how far a moving one is; `live`: the page's script keeps it true."""
    return format_html_join("", "{}", ((_cell(line, column, cell, live=live),) for column, cell in line.cells))


def _cell(line: MatrixRow, column: ItemColumn, cell: Transfer | None, *, live: bool) -> SafeString:
    about = f"{line.load.tail.name} · {column.name}"
    if cell is None:
        return format_html('<td class="cell" title="{}: not reported"><span>not reported</span></td>', about)
    word, percent = cell.state, figures.percent(cell.percent)
    return format_html(
        '<td class="cell"{} data-state="{}" title="{}: {} {}"><span>{}</span></td>',
        format_html(' data-key="transfer:{}"', cell.pk) if live else "",
        word,
        about,
        word,
        percent,
        percent if word == "loading" else word,
    )
