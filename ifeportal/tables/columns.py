"""Tables: one list of columns gives a page's header, cells, order and search, and its CSV and JSON.

A new list is a table, three lines of a view and one include:

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

A column with a `value` is in the files; a column with `render` is on the page; a column with `sort` can be ordered by.
Lists that keep a row's markup in their own template use the tags `table_head` and `table_cells`. Pure: no database, no
request.
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
    """A column: `key` names it in files as in the API, `title` is what people read there.

    `value` takes a row as the file has it; without one the column is in no file. `render` takes a row and the context
    of the page and returns escaped HTML; without one the column is not on the page. `sort` is an expression for
    `order_by`, or whatever else the page orders by. `search` is a lookup that `q` of the address is compared by.

    `label` is the header on the page and `word` the column's name in addresses, where they differ from `title` and
    `key`. `css` is the class of cells and header, `header_css` that of the header if it differs; `attributes` stand in
    the tag of each cell. A column without `default` is shown only when it is chosen; `help` explains the header.
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
        """The name of the column in `sort` and `cols` of an address."""
        return self.word or self.key

    @property
    def heading(self) -> str:
        """The text of the header on the page."""
        return self.label or self.title


@dataclass(frozen=True, slots=True)
class Header:
    """A header on the page. `aria_sort` is empty if it orders nothing; `sort` is the order of the next click."""

    title: str
    css: str
    help: str
    aria_sort: str = ""
    sort: str = ""


@dataclass(frozen=True)
class Table:
    """A list: `name` becomes that of the file, `rows` are the file's, `order` is the order that no address asks for.

    Without `order` the headers are no links. `page` names the page's columns in their order, where that is not the
    order of `columns`. `serialize` makes what `value` of the columns takes out of a row. `row_attributes` are those of
    a row's tag on the page. The first column on the page names the row: it is always shown, as the row's header.
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
        """Return the table with these rows for its file, which is called `name`."""
        return replace(self, rows=rows, name=name or self.name)

    @cached_property
    def exported(self) -> tuple[Column, ...]:
        """The columns of the files."""
        return tuple(column for column in self.columns if column.value is not None)

    @cached_property
    def shown(self) -> Mapping[str, Column]:
        """The columns that the page can show by their names in addresses, in the order of the page."""
        found = {column.address: column for column in self.columns if column.render is not None}
        return {word: found[word] for word in self.page} if self.page else found

    @cached_property
    def default_columns(self) -> tuple[str, ...]:
        """The columns that are shown where nobody has chosen any."""
        return tuple(word for word, column in self.shown.items() if column.default)

    @cached_property
    def orders(self) -> Mapping[str, Column]:
        """The columns that the list can be ordered by, by their names in addresses."""
        return {column.address: column for column in self.columns if column.sort is not None} if self.order else {}

    @property
    def required_column(self) -> str:
        """The column that names the row."""
        return next(iter(self.shown))

    @property
    def choices(self) -> list[tuple[str, str]]:
        """The columns that can be shown or hidden: name in addresses and title."""
        return [(word, column.heading) for word, column in self.shown.items() if word != self.required_column]

    def sort_of(self, word: str) -> Any:
        """The `sort` of the column of that name; of the usual order's if nothing is ordered by that name."""
        return self.orders.get(word, self.orders[self.order.removeprefix("-")]).sort

    def headers(self, order: str, *, descending: bool, shown: Collection[str] = ()) -> list[Header]:
        """The headers of the `shown` columns (the usual ones if none are named) while the rows are in this order."""
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
        """Return a function that writes the cells of a row; made once for a page, which may have a thousand rows."""
        columns = [self.shown[word] for word in shown or self.default_columns]
        parts = [(_start(column, is_first=not index), column.render) for index, column in enumerate(columns)]
        (first_start, first), *others = [(start, render) for start, render in parts if render is not None]

        def render_cells(row: Any, context: Any) -> str:
            cells = [f"{start}{render(row, context)}</td>" for start, render in others]
            return f"{first_start}{first(row, context)}</th>{''.join(cells)}"

        return render_cells

    @cached_property
    def render_cells(self) -> Cell:
        """Write the cells of a row in the usual columns; `render` of the columns has escaped them."""
        return self.row_renderer()

    def render_attributes(self, row: Any) -> SafeString:
        """The attributes of the row's tag; those that are None are left out."""
        found = self.row_attributes(row) if self.row_attributes else {}
        return format_html_join("", ' {}="{}"', [item for item in found.items() if item[1] is not None])


def _start(column: Column, *, is_first: bool) -> str:
    tag = 'th role="rowheader" scope="row"' if is_first else 'td role="cell"'
    css = f' class="{column.css}"' if column.css else ""
    return f"<{tag}{css}{column.attributes}>"


def field_title(key: str) -> str:
    """The words of a field: `Eta seconds`."""
    return key.replace("_", " ").capitalize()


def fields(*keys: str, get: Callable[[str], Callable[[Any], object]] = itemgetter) -> list[Column]:
    """Columns for files alone, titled by the words of their keys; `get` makes a `value` of a key."""
    return [Column(key, field_title(key), get(key)) for key in keys]


def template_cell(name: str) -> Cell:
    """A cell that is a template, with the row as `row` in the context of the page; slow beside a function."""

    def render(row: Any, context: Context) -> str:
        page: dict[Cell, Any] = cast(Any, context.render_context.dicts[0])  # as an include does: looked up once a page
        if render not in page:
            page[render] = cast(Any, get_template(name)).template
        with context.push(row=row):
            return str(page[render].render(context)).strip()

    return render
