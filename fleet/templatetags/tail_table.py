"""Template tags of tables of loads: rows of tails, rows of errors, and the campaign picker."""

from __future__ import annotations

from typing import Any

from django import template
from django.template.context import Context
from django.utils.safestring import SafeString

from fleet.models import Load, Transfer
from fleet.pages.airline.columns import render_rows
from fleet.pages.cells import error_row
from ifeportal.templatetags.tables import other_parameters

register = template.Library()


@register.inclusion_tag("fleet/airline/campaign_picker.html", takes_context=True)
def campaign_choice(context: Context) -> dict[str, Any]:
    """Render the picker of the campaign that rows and counts are filtered by."""
    chosen = context["choice"].campaign
    names = [row.campaign.name for row in context["campaigns"]]
    return {
        "chosen": chosen,
        "names": names if chosen in (*names, "") else [chosen, *names],
        "kept": other_parameters(context, "campaign"),
    }


@register.simple_tag(takes_context=True)
def tail_rows(context: Context) -> SafeString:
    return render_rows(context["rows"], context["columns"], context["row_context"])


@register.simple_tag(name="error_row")
def error_row_tag(row: Load | Transfer, across: int) -> SafeString:
    return SafeString(error_row(row, across))


@register.simple_tag(takes_context=True)
def fault_template(context: Context) -> SafeString:
    """Render an empty error row, which the page's script adds below a row that gets an error."""
    return SafeString(error_row(Load(), len(context["columns"])))
