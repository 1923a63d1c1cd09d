"""Template tags of long tables: sortable headers, filters and pages, all as links."""

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
    """Return the page's query string with these parameters set, or removed if None."""
    query = context["request"].GET.copy()
    for name, value in changes.items():
        if value is None:
            query.pop(name, None)
        else:
            query[name] = value
    return f"?{query.urlencode()}"


@register.inclusion_tag("components/table_head.html", takes_context=True)
def table_head(context: Context, table: Table, shown: Collection[str] = (), css: str = "") -> dict[str, Any]:
    """Render the header of the `shown` columns, by default the usual ones.

    A column that can be ordered by is a link to that order; a second click reverses it.
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
    """Render the cells of a row in the default columns of the table."""
    return SafeString(table.render_cells(row, context))


@register.simple_tag
def table_attributes(table: Table, row: Any) -> SafeString:
    return table.render_attributes(row)


@register.simple_tag(takes_context=True)
def order_links(context: Context, table: Table, words: Collection[str]) -> list[tuple[str, str, str]]:
    """Return these orders of a list without headers: name in the query string, heading, address."""
    addresses = {word: _address(context, sort=None if word == table.order else word) for word in words}
    return [(word, table.orders[word].heading, address) for word, address in addresses.items()]


@register.inclusion_tag("components/column_picker.html", takes_context=True)
def column_picker(context: Context, table: Table, shown: Collection[str]) -> dict[str, Any]:
    return {"others": table.choices, "shown": shown, "kept": other_parameters(context, "cols")}


@register.inclusion_tag("components/state_chip.html", takes_context=True)
def state_chip(context: Context, state: str, label: str, count: int, field: str = "") -> dict[str, Any]:
    """Render a filter by state with its count; `state` "" removes it. `field`: key of the count in the row's state."""
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
    """Return the other parameters of the query string, for a form that changes these."""
    return [
        (name, value)
        for name, values in context["request"].GET.lists()
        if name not in (*changed, "page")
        for value in values
    ]


@register.inclusion_tag("components/search_form.html", takes_context=True)
def search_form(context: Context, label: str) -> dict[str, Any]:
    """Render the search field, which keeps the other parameters of the query string."""
    return {
        "label": label,
        "kept": other_parameters(context, "q"),
        "search": context["choice"].search,
        "all": _address(context, q=None, page=None),
    }


@register.inclusion_tag("components/exports.html", takes_context=True)
def exports(context: Context, table: str, things: str) -> dict[str, Any]:
    """Render the links to the table as a file, with the filter and order of the page."""
    addresses = {kind: _address(context, export=kind, table=table, page=None, size=None) for kind in ("csv", "json")}
    return {"things": things, **addresses}


@register.inclusion_tag("components/pager.html", takes_context=True)
def pager(
    context: Context, page: Page[Any], things: str, parameter: str = "page", sized: bool = False
) -> dict[str, Any]:
    """Render the row numbers, the total and the links to other pages; `sized`: also to other page sizes."""
    sizes = [size for size in PAGE_SIZES if sized and page.paginator.count > PAGE_ROWS]
    return {
        "page": page,
        "things": things,
        "sizes": [(size, _address(context, size=str(size), page=None)) for size in sizes],
        "previous": _address(context, **{parameter: str(page.number - 1)}) if page.has_previous() else "",
        "next": _address(context, **{parameter: str(page.number + 1)}) if page.has_next() else "",
    }
