"""Tables as files: formula-safe CSV, and JSON, truncated at the row limit."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Iterable
from datetime import UTC, date, datetime
from operator import itemgetter
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse
from django.test import AsyncRequestFactory, Client, RequestFactory

from ifeportal.tables import export as exporting
from ifeportal.tables.columns import Column, Table
from ifeportal.tables.export import export
from tests.conftest import Cast


def columns(*keys: str) -> list[Column]:
    return [Column(key, key.title(), itemgetter(key)) for key in keys]


def sent(rows: Iterable[dict[str, Any]], kind: str, *keys: str) -> str:
    """Return the complete file, without its byte order mark."""
    answer = export(RequestFactory().get("/", {"export": kind}), Table("ACME tails", columns(*keys), rows))
    assert isinstance(answer, StreamingHttpResponse)
    return answer.getvalue().decode("utf-8-sig")


def test_an_address_without_a_known_kind_asks_for_no_file() -> None:
    for address in ("/", "/?export=", "/?export=xlsx"):
        assert export(RequestFactory().get(address), Table("x", [], [])) is None


def test_a_file_is_an_attachment_named_after_its_table_and_the_moment() -> None:
    answer = export(RequestFactory().get("/?export=csv"), Table('Ünï "1" tails', [], []))
    assert answer is not None
    assert answer["Content-Disposition"].startswith("attachment; filename")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Cache-Control"] == "no-store"


def test_excel_reads_a_csv_file_as_utf8_by_its_mark_and_programs_read_json_without_one() -> None:
    rows = [{"title": "Zürich 日本"}]
    for kind, start in (("csv", b"\xef\xbb\xbftitle\r\n"), ("json", b'{"table"')):
        answer = export(RequestFactory().get("/", {"export": kind}), Table("x", columns("title"), rows))
        assert isinstance(answer, StreamingHttpResponse)
        content = answer.getvalue()
        assert content.startswith(start)
        assert content.count(b"\xef\xbb\xbf") == (kind == "csv")


@pytest.mark.parametrize(
    "text",
    [
        *("=1+1", "+cmd|'/C calc'!A0", "-2+3", "@SUM(A1)", "%0A=1", "|calc", "\t=1+1", "\r=1", " =1+1", "\n@x"),
        *("\N{FULLWIDTH EQUALS SIGN}1+1", "\N{SMALL PLUS SIGN}1", "\N{BYTE ORDER MARK}=1", "\N{ZERO WIDTH SPACE} @x"),
    ],
)
def test_no_exported_cell_is_a_formula(text: str) -> None:
    found = list(csv.reader(io.StringIO(sent([{"error": text}], "csv", "error"), newline="")))
    assert found[1][0].startswith("'")
    assert json.loads(sent([{"error": text}], "json", "error"))["rows"] == [{"error": text}]


def test_values_are_written_for_programs() -> None:
    row = {
        "as_of": datetime(2026, 12, 1, 14, 3, 22, 120_000, tzinfo=UTC),
        "starts": date(2026, 12, 1),
        "rate_bps": None,
        "bytes_done": -5,
        "stalled": True,
        "stores": [{"free": 1}],
        "error": 'he said "no",\nthen left',
    }
    found = list(csv.DictReader(io.StringIO(sent([row], "csv", *row), newline="")))
    assert found == [
        {
            "as_of": "2026-12-01T14:03:22.120Z",
            "starts": "2026-12-01",
            "rate_bps": "",
            "bytes_done": "-5",
            "stalled": "true",
            "stores": '[{"free": 1}]',
            "error": 'he said "no",\nthen left',
        }
    ]
    exported = json.loads(sent([row], "json", *row))
    assert exported["rows"] == [{**row, "as_of": "2026-12-01T14:03:22.120Z", "starts": "2026-12-01"}]
    assert exported["columns"][0] == {"key": "as_of", "title": "As_Of"}
    assert (exported["count"], exported["cut"]) == (1, False)


def test_a_file_that_is_too_long_is_truncated_with_a_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "ROW_LIMIT", 1_200)
    rows = [{"n": number} for number in range(1_201)]
    lines = sent(rows, "csv", "n").splitlines()
    assert lines[1200:] == ["1199", '"Truncated: there are more than 1,200 rows."']
    exported = json.loads(sent(rows, "json", "n"))
    assert (exported["count"], exported["cut"], exported["rows"][-1]) == (1_200, True, {"n": 1_199})
    assert json.loads(sent(rows[:1_200], "json", "n"))["cut"] is False


def test_an_empty_table_is_a_file_too() -> None:
    assert sent([], "csv", "tail") == "tail\r\n"
    assert json.loads(sent([], "json", "tail"))["rows"] == []


def test_under_asgi_the_first_rows_leave_before_the_last_are_read() -> None:
    read: list[int] = []

    def rows() -> Iterable[dict[str, int]]:
        for number in range(2_000):
            read.append(number)
            yield {"n": number}

    async def first_rows() -> str:
        request = AsyncRequestFactory().get("/", {"export": "csv"})
        assert isinstance(request, ASGIRequest)
        answer = export(request, Table("x", columns("n"), rows()))
        assert answer is not None
        pieces = aiter(answer)
        return (await anext(pieces)).decode("utf-8-sig") + (await anext(pieces)).decode()

    text = asyncio.run(first_rows())
    assert text.startswith("n\r\n0\r\n1\r\n")
    assert len(read) < 2_000


@pytest.mark.parametrize("page", ["/", "/airlines/ACME/"])
def test_a_page_is_compressed_but_no_file_as_pieces_that_browsers_do_not_read(
    cast: Cast, client: Client, page: str
) -> None:
    client.force_login(cast.alice)
    assert client.get(page, headers={"accept-encoding": "gzip"})["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in client.get(f"{page}?export=csv", headers={"accept-encoding": "gzip"})
