"""Template tags of tables of loads: rows of the airline page, rows of errors, and the choice of a campaign."""

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
    """The choice of the campaign that the airline page's rows and counts are of."""
    chosen = context["choice"].campaign
    names = [row.campaign.name for row in context["campaigns"]]
    return {
        "chosen": chosen,
        "names": names if chosen in (*names, "") else [chosen, *names],
        "kept": other_parameters(context, "campaign"),
    }


@register.simple_tag(takes_context=True)
def tail_rows(context: Context) -> SafeString:
    """The rows of the airline page's table."""
    return render_rows(context["rows"], context["columns"], context["around"])


@register.simple_tag(name="error_row")
def error_row_tag(row: Load | Transfer, across: int) -> SafeString:
    """The error of a load or transfer, over so many columns."""
    return SafeString(error_row(row, across))


@register.simple_tag(takes_context=True)
def fault_template(context: Context) -> SafeString:
    """What the page's script puts under a row when an error comes: the row of an error, without one."""
    return SafeString(error_row(Load(), len(context["columns"])))
