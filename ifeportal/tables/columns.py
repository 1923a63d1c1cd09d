"""Tables: one list of columns defines a page's header, cells, order and search, and its CSV and JSON.

A new list needs a table, a few lines of a view and one include:

    TICKETS = Table(
        "tickets",
        (
            Column("number", "Ticket", attrgetter("number"), sort=F("number"), search="text__icontains", render=_link),
            Column("opened_at", "Opened", attrgetter("opened_at"), css="num", sort=F("opened_at"), render=_opened),
            Column("reply", "Reply", render=template_cell("tickets/reply.html")),
            *fields("error_code", "error", get=attrgetter),
        ),
        order="-opened_at",
    )

    choice = parse_query(request.GET, TICKETS, states)  # ifeportal.tables.query
    rows = select_rows(visible, TICKETS, choice)
    file = export(request, TICKETS.with_rows(rows))  # ifeportal.tables.export
    context = {"table": TICKETS, "choice": choice, "page": paginate(rows, choice.page, choice.size)}

    {% include "components/table.html" with things="tickets" %}

A column with a `value` is in the files, one with `render` is on the page, one with `sort` can be ordered by. Lists with
their own row template use the tags `table_head` and `table_cells`. Pure: no database, no request.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from operator import itemgetter
from typing import Any, cast

from django.template.context import Context
from django.template.loader import get_template
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

Cell = Callable[[Any, Any], str]


@dataclass(frozen=True, slots=True)
class Column:
    """A column. `key` is its name in files and in the API, `title` its title in files.

    `value` takes an exported row and returns the value; without it the column is in no file. `render` takes a row and
    the template context and returns escaped HTML; without it the column is not on the page. `sort` is an expression for
    `order_by`, or what else the page orders by. `search` is the lookup for the search text `q`.

    `label` is the header on the page and `word` the column's name in the query string, if they differ from `title` and
    `key`. `css` is the class of cells and header, `header_css` that of the header if it differs; `attributes` are added
    to the tag of each cell. A column without `default` is shown only if chosen; `help` explains the header.
    """

    key: str
    title: str
    value: Callable[[Any], object] | None = None
    _: KW_ONLY
    css: str = ""
    header_css: str | None = None
    attributes: str = ""
    label: str = ""
    word: str = ""
    sort: Any = None
    search: str = ""
    render: Cell | None = None
    default: bool = True
    help: str = ""

    @property
    def address(self) -> str:
        """The name of the column in `sort` and `cols` of the query string."""
        return self.word or self.key

    @property
    def heading(self) -> str:
        return self.label or self.title


@dataclass(frozen=True, slots=True)
class Header:
    """A header on the page. `aria_sort` is empty if it cannot be ordered by; `sort` is the order of the next click."""

    title: str
    css: str
    help: str
    aria_sort: str = ""
    sort: str = ""


@dataclass(frozen=True)
class Table:
    """A list of rows. `name` and `rows` are those of the file; `order` is the default order.

    Without `order` the headers are not links. `page` lists the columns on the page if they are not in the order of
    `columns`. `serialize` converts a row to what `value` of the columns takes. `row_attributes` returns the attributes
    of a row's tag. The first column on the page names the row: it is always shown, as the row's header.
    """

    name: str
    columns: Sequence[Column]
    rows: Iterable[Any] = ()
    _: KW_ONLY
    order: str = ""
    page: Sequence[str] = ()
    serialize: Callable[[Any], Any] | None = None
    row_attributes: Callable[[Any], Mapping[str, object]] | None = None

    def with_rows(self, rows: Iterable[Any], name: str = "") -> Table:
        """Return the table with these rows, and with this name if one is given."""
        return replace(self, rows=rows, name=name or self.name)

    @cached_property
    def exported(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.value is not None)

    @cached_property
    def shown(self) -> Mapping[str, Column]:
        """The columns the page can show, by their names in the query string, in the order of the page."""
        found = {column.address: column for column in self.columns if column.render is not None}
        return {word: found[word] for word in self.page} if self.page else found

    @cached_property
    def default_columns(self) -> tuple[str, ...]:
        """The columns shown if the query string names none."""
        return tuple(word for word, column in self.shown.items() if column.default)

    @cached_property
    def orders(self) -> Mapping[str, Column]:
        """The columns the list can be ordered by, by their names in the query string."""
        return {column.address: column for column in self.columns if column.sort is not None} if self.order else {}

    @property
    def required_column(self) -> str:
        """The column that names the row."""
        return next(iter(self.shown))

    @property
    def choices(self) -> list[tuple[str, str]]:
        """The columns that can be shown or hidden: name in the query string, and heading."""
        return [(word, column.heading) for word, column in self.shown.items() if word != self.required_column]

    def sort_of(self, word: str) -> Any:
        """Return the `sort` of the column of that name; of the default order if there is none."""
        return self.orders.get(word, self.orders[self.order.removeprefix("-")]).sort

    def headers(self, order: str, *, descending: bool, shown: Collection[str] = ()) -> list[Header]:
        """Return the headers of the `shown` columns (by default the usual ones) for rows in this order."""
        return [self._header(word, order, descending=descending) for word in shown or self.default_columns]

    def _header(self, word: str, order: str, *, descending: bool) -> Header:
        column = self.shown[word]
        css = column.css if column.header_css is None else column.header_css
        if word not in self.orders:
            return Header(column.heading, css, column.help)
        chosen = word == order
        aria_sort = ("descending" if descending else "ascending") if chosen else "none"
        return Header(column.heading, css, column.help, aria_sort, f"-{word}" if chosen and not descending else word)

    def row_renderer(self, shown: Sequence[str] = ()) -> Cell:
        """Return a function that renders the cells of a row; built once for a page of up to a thousand rows."""
        columns = [self.shown[word] for word in shown or self.default_columns]
        parts = [(_start(column, is_first=not index), column.render) for index, column in enumerate(columns)]
        (first_start, first), *others = [(start, render) for start, render in parts if render is not None]

        def render_cells(row: Any, context: Any) -> str:
            cells = [f"{start}{render(row, context)}</td>" for start, render in others]
            return f"{first_start}{first(row, context)}</th>{''.join(cells)}"

        return render_cells

    @cached_property
    def render_cells(self) -> Cell:
        """Render the cells of a row in the default columns; `render` of the columns escapes them."""
        return self.row_renderer()

    def render_attributes(self, row: Any) -> SafeString:
        """Return the attributes of the row's tag, without those that are None."""
        attributes = self.row_attributes(row) if self.row_attributes else {}
        return format_html_join("", ' {}="{}"', [item for item in attributes.items() if item[1] is not None])


def _start(column: Column, *, is_first: bool) -> str:
    tag = 'th role="rowheader" scope="row"' if is_first else 'td role="cell"'
    css = f' class="{column.css}"' if column.css else ""
    return f"<{tag}{css}{column.attributes}>"


def field_title(key: str) -> str:
    """Return the title of a field, such as `Eta seconds`."""
    return key.replace("_", " ").capitalize()


def fields(*keys: str, get: Callable[[str], Callable[[Any], object]] = itemgetter) -> list[Column]:
    """Return columns that are only in files, titled by their keys; `get` makes the `value` function of a key."""
    return [Column(key, field_title(key), get(key)) for key in keys]


def template_cell(name: str) -> Cell:
    """Return a cell rendered by a template, with the row as `row` in the page's context. Slower than a function."""

    def render(row: Any, context: Context) -> str:
        page: dict[Cell, Any] = cast(
            Any, context.render_context.dicts[0]
        )  # as {% include %} does: looked up once per page
        if render not in page:
            page[render] = cast(Any, get_template(name)).template
        with context.push(row=row):
            return str(page[render].render(context)).strip()

    return render
