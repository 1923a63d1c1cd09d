"""Columns of a table: headers, cells, orders, search and the choice of columns from one definition."""

from __future__ import annotations

from html import escape
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import pytest
from django.db.models import F
from django.http import QueryDict
from django.template import engines
from django.test import RequestFactory

from ifeportal.models import Airline
from ifeportal.tables.columns import Column, Table, fields
from ifeportal.tables.export import export_as
from ifeportal.tables.query import paginate, parse_columns, parse_query, search_condition, select_rows


def named(row: Any, context: Any) -> str:
    return f"<b>{escape(row.name)}</b>"


def titled(row: Any, context: Any) -> str:
    return escape(row.title)


AIRLINES = Table(
    "airlines",
    (
        *fields("contact", get=attrgetter),
        Column("name", "Name", attrgetter("name"), sort=F("name"), search="name__icontains", render=named),
        Column(
            *("title", "Full title", attrgetter("title")),
            word="called",
            label="Title",
            css="num",
            header_css="wide",
            attributes=" data-refresh",
            sort=F("title"),
            search="title__iexact",
            help="As people know it",
            render=titled,
        ),
        Column("colour", "Colour", css="c", render=lambda row, context: context["colour"], default=False),
    ),
    order="-called",
    row_attributes=lambda row: {"data-key": f"airline:{row.pk}", "data-state": None},
)


def rendered(template: str, address: str = "/", **context: Any) -> str:
    request = RequestFactory().get(address)
    found = {"table": AIRLINES, "choice": parse_query(request.GET, AIRLINES), **context}
    text = engines["django"].from_string(f"{{% load tables %}}{template}").render(found, request)
    return " ".join(text.split()).replace("> <", "><")


def test_each_header_orders_by_its_column_and_the_other_way_round_on_the_second_click() -> None:
    head = rendered("{% table_head table %}", "/?sort=name&q=x&page=3")
    assert 'class="" aria-sort="ascending"><a href="?sort=-name&amp;q=x">Name</a></th>' in head
    assert 'class="wide" title="As people know it" aria-sort="none"><a href="?sort=called&amp;q=x">Title</a>' in head
    back = rendered("{% table_head table %}", "/?sort=-name")
    assert 'aria-sort="descending"><a href="?sort=name">Name</a>' in back


def test_a_table_without_an_order_has_headers_without_links() -> None:
    table = Table("t", (Column("a", "A & B", css="num", render=named), Column("c", "C", sort=F("c"), render=named)))
    head = rendered('{% table_head table css="sr" %}', table=table)
    assert head == (
        '<thead role="rowgroup" class="sr"><tr role="row">'
        '<th role="columnheader" scope="col" class="num" >A &amp; B</th>'
        '<th role="columnheader" scope="col" >C</th></tr></thead>'
    )


def test_the_first_cell_is_the_row_header_and_text_is_unchanged() -> None:
    row = SimpleNamespace(pk=7, name="<i>", title="&")
    assert rendered("<tr{% table_attributes table row %}>{% table_cells table row %}</tr>", row=row) == (
        '<tr data-key="airline:7"><th role="rowheader" scope="row"><b>&lt;i&gt;</b></th>'
        '<td role="cell" class="num" data-refresh>&amp;</td></tr>'
    )


def test_an_address_selects_columns_and_always_includes_the_first() -> None:
    assert parse_columns(QueryDict(), AIRLINES) == ("name", "called")
    assert parse_columns(QueryDict("cols=colour&cols=zz"), AIRLINES) == ("name", "colour")
    assert parse_columns(QueryDict("cols=colour,called"), AIRLINES) == ("name", "called", "colour")
    assert parse_columns(QueryDict("cols=zz"), AIRLINES) == ("name", "called")
    assert AIRLINES.choices == [("called", "Title"), ("colour", "Colour")]
    row = SimpleNamespace(name="x", title="")
    cells = AIRLINES.row_renderer(("name", "colour"))(row, {"colour": "red"})
    assert cells.endswith('<td role="cell" class="c">red</td>')


@pytest.mark.parametrize(
    ("address", "order", "descending"),
    [
        ("", "called", True),
        ("sort=name", "name", False),
        ("sort=colour", "called", True),
        ("sort=title", "called", True),
    ],
)
def test_an_order_that_is_none_of_the_table_is_the_usual_one(address: str, order: str, descending: bool) -> None:
    choice = parse_query(QueryDict(address), AIRLINES)
    assert (choice.order, choice.descending) == (order, descending)


def test_a_page_has_other_columns_in_another_order_than_the_file() -> None:
    table = Table("t", AIRLINES.columns, page=("colour", "name"))
    assert list(table.shown) == ["colour", "name"]
    assert [column.key for column in table.exported] == ["contact", "name", "title"]


def test_rows_are_searched_by_every_searchable_column_and_ordered(db: None) -> None:
    for name, title in (("A1", "Air"), ("B1", "zed"), ("C2", "b1")):
        Airline.objects.create(name=name, title=title)
    found = select_rows(Airline.objects.all(), AIRLINES, parse_query(QueryDict("q=b1&sort=-name"), AIRLINES), "pk")
    assert [row.name for row in found] == ["C2", "B1"]
    assert not search_condition(AIRLINES, parse_query(QueryDict(), AIRLINES))


def test_a_list_is_a_table_and_one_include(db: None) -> None:
    Airline.objects.create(name="ACME", title="=Acme", contact="x")
    rows = select_rows(Airline.objects.all(), AIRLINES, parse_query(QueryDict(), AIRLINES))
    page = rendered(
        '{% include "components/table.html" with label="Airlines" things="airlines" key="all" files="Airlines" %}',
        page=paginate(rows, "1"),
    )
    assert "<b>ACME</b>" in page
    assert "of 1 airlines" in page
    assert "?export=csv&amp;table=all" in page
    file = export_as(RequestFactory().get("/"), AIRLINES.with_rows(rows), "csv", "x.csv")
    assert b"".join(file) == b"\xef\xbb\xbfcontact,name,title\r\nx,ACME,'=Acme\r\n"


def test_a_file_serializes_each_row_once(db: None) -> None:
    rendered_rows: list[str] = []

    def serialize(row: str) -> dict[str, str]:
        rendered_rows.append(row)
        return {"a": row, "b": row.upper()}

    table = Table("t", fields("a", "b"), ["x", "y"], serialize=serialize)
    file = export_as(RequestFactory().get("/"), table, "csv", "x.csv")
    assert b"".join(file) == b"\xef\xbb\xbfa,b\r\nx,X\r\ny,Y\r\n"
    assert rendered_rows == ["x", "y"]
