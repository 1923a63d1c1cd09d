"""Template tags of long tables: sortable headers, filters and pages, all of them links."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django import template
from django.core.paginator import Page
from django.template.context import Context
from django.utils.safestring import SafeString

from ifeportal.tables.columns import Table
from ifeportal.tables.query import PAGE_ROWS, PAGE_SIZES, TableQuery

register = template.Library()


def _address(context: Context, **changes: str | None) -> str:
    """The page's own query string with these parameters set, or taken out where None."""
    query = context["request"].GET.copy()
    for name, value in changes.items():
        if value is None:
            query.pop(name, None)
        else:
            query[name] = value
    return f"?{query.urlencode()}"


@register.inclusion_tag("components/table_head.html", takes_context=True)
def table_head(context: Context, table: Table, shown: Collection[str] = (), css: str = "") -> dict[str, Any]:
    """The header of the table: of the `shown` columns, else of the usual ones.

    Each column that has an order is a link that orders by it, and the other way round on the second click.
    """
    choice: TableQuery | None = context.get("choice") if table.orders else None
    order, descending = (choice.order, choice.descending) if choice else ("", False)
    headers = table.headers(order, descending=descending, shown=shown)
    return {
        "headers": [(each, _address(context, sort=each.sort, page=None) if each.sort else "") for each in headers],
        "css": css,
    }


@register.simple_tag(takes_context=True)
def table_cells(context: Context, table: Table, row: Any) -> SafeString:
    """The cells of a row, in the usual columns of the table; they read the context of the page."""
    return SafeString(table.render_cells(row, context))


@register.simple_tag
def table_attributes(table: Table, row: Any) -> SafeString:
    """The attributes of the tag of a row."""
    return table.render_attributes(row)


@register.simple_tag(takes_context=True)
def order_links(context: Context, table: Table, words: Collection[str]) -> list[tuple[str, str, str]]:
    """These orders of a list without headers: name in addresses, title, address."""
    addresses = {word: _address(context, sort=None if word == table.order else word) for word in words}
    return [(word, table.orders[word].heading, address) for word, address in addresses.items()]


@register.inclusion_tag("components/column_picker.html", takes_context=True)
def column_picker(context: Context, table: Table, shown: Collection[str]) -> dict[str, Any]:
    """The choice of columns of the table."""
    return {"others": table.choices, "shown": shown, "kept": other_parameters(context, "cols")}


@register.inclusion_tag("components/state_chip.html", takes_context=True)
def state_chip(context: Context, state: str, label: str, count: int, field: str = "") -> dict[str, Any]:
    """A filter by state with its count; `state` "" lifts the filter. `field` names the count in the row's state."""
    choice: TableQuery = context["choice"]
    return {
        "state": state,
        "label": label,
        "count": count,
        "field": field,
        "chosen": choice.state == state,
        "address": _address(context, state=state or None, page=None),
    }


def other_parameters(context: Context, *changed: str) -> list[tuple[str, str]]:
    """What else the address says, for a form that changes these parameters."""
    return [
        (name, value)
        for name, values in context["request"].GET.lists()
        if name not in (*changed, "page")
        for value in values
    ]


@register.inclusion_tag("components/search_form.html", takes_context=True)
def search_form(context: Context, label: str) -> dict[str, Any]:
    """The search field; it keeps whatever else the address says."""
    return {
        "label": label,
        "kept": other_parameters(context, "q"),
        "search": context["choice"].search,
        "all": _address(context, q=None, page=None),
    }


@register.inclusion_tag("components/exports.html", takes_context=True)
def exports(context: Context, table: str, things: str) -> dict[str, Any]:
    """The ways to a table as a file, with the filter and order of the page."""
    addresses = {kind: _address(context, export=kind, table=table, page=None, size=None) for kind in ("csv", "json")}
    return {"things": things, **addresses}


@register.inclusion_tag("components/pager.html", takes_context=True)
def pager(
    context: Context, page: Page[Any], things: str, parameter: str = "page", sized: bool = False
) -> dict[str, Any]:
    """Which rows are shown of how many, and the way to the others; `sized`: and to more or fewer on a page."""
    sizes = [size for size in PAGE_SIZES if sized and page.paginator.count > PAGE_ROWS]
    return {
        "page": page,
        "things": things,
        "sizes": [(size, _address(context, size=str(size), page=None)) for size in sizes],
        "previous": _address(context, **{parameter: str(page.number - 1)}) if page.has_previous() else "",
        "next": _address(context, **{parameter: str(page.number + 1)}) if page.has_next() else "",
    }
