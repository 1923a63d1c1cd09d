"""Template tags of the airline page's table: columns, header, rows, and the choice of a campaign."""

from __future__ import annotations

from typing import Any

from django import template
from django.template.context import Context
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from fleet.models import Load
from fleet.pages.airline.columns import COLUMNS, REQUIRED_COLUMN, error_row, render_row
from ifeportal.templatetags.tables import other_parameters, sort_header

register = template.Library()


@register.inclusion_tag("components/column_picker.html", takes_context=True)
def columns(context: Context) -> dict[str, Any]:
    """The choice of columns of the airline page's table."""
    others = [(key, column.title) for key, column in COLUMNS.items() if key != REQUIRED_COLUMN]
    return {"others": others, "shown": context["columns"], "kept": other_parameters(context, "cols")}


@register.inclusion_tag("fleet/airline/campaign_picker.html", takes_context=True)
def campaign_choice(context: Context) -> dict[str, Any]:
    """The choice of the campaign that the airline page's rows and counts are of."""
    chosen = context["choice"].campaign
    names = [row.campaign.name for row in context["campaigns"]]
    return {
        "chosen": chosen,
        "names": names if chosen in (*names, "") else [chosen, *names],
        "kept": other_parameters(context, "campaign"),
    }


@register.simple_tag(takes_context=True)
def tail_headers(context: Context) -> SafeString:
    """The header of the airline page's table: the columns that are shown, each a link that orders by it."""
    shown = [(key, COLUMNS[key]) for key in context["columns"]]
    return format_html_join(
        "", "{}", ((sort_header(context, key, column.title, column.css_class),) for key, column in shown)
    )


@register.simple_tag(takes_context=True)
def tail_rows(context: Context) -> SafeString:
    """The rows of the airline page's table."""
    rows, columns, around = context["rows"], context["columns"], context["around"]
    return SafeString("".join(render_row(row, columns, around) for row in rows))


@register.simple_tag(takes_context=True)
def fault_template(context: Context) -> SafeString:
    """What the page's script puts under a row when an error comes: the row of an error, without one."""
    return SafeString(error_row(Load(), len(context["columns"])))
