"""Usage: requests and bytes by airline and day, written rarely, summed over processes, and never lost."""

from __future__ import annotations

import csv
import io
import multiprocessing
import re
import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from unittest.mock import patch

import pytest
from django.db import DatabaseError, connection
from django.db.models import QuerySet
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from fleet import usage
from fleet.models import Usage
from fleet.polling.result import PollResult
from fleet.usage import UsageRecorder
from ifeportal.models import Airline
from tests.conftest import Cast

pytestmark = pytest.mark.both_databases

TODAY = date(2020, 12, 1)
NOON = datetime(2020, 12, 1, 12, 0, tzinfo=UTC)
POLL = PollResult(list_requests=3, get_requests=20, bytes_received=1_000)


@pytest.fixture(autouse=True)
def _clear_usage() -> None:
    """Discard counts of other tests in this process."""
    usage._recorder.reset()


def row(airline_id: int | None, day: date = TODAY) -> dict[str, int]:
    return usage.totals(Usage.objects.filter(airline=airline_id, day=day))


def test_polls_of_an_airline_add_up_to_one_row_a_day(cast: Cast) -> None:
    book = UsageRecorder()
    for _ in range(5):
        book.record(cast.acme.pk, POLL)
    book.record(cast.beta.pk, PollResult(put_requests=1, delete_requests=7))
    book.record(None, PollResult(list_requests=2))
    book.flush(NOON)
    book.record(cast.acme.pk, POLL)
    book.flush(NOON + timedelta(minutes=1))
    book.record(cast.acme.pk, POLL)
    book.flush(NOON + timedelta(days=1))
    assert Usage.objects.count() == 4
    assert row(cast.acme.pk) == {
        "list_requests": 18,
        "get_requests": 120,
        "put_requests": 0,
        "delete_requests": 0,
        "bytes_received": 6_000,
    }
    assert row(cast.beta.pk)["delete_requests"] == 7
    assert row(None)["list_requests"] == 2
    assert row(cast.acme.pk, date(2020, 12, 2))["list_requests"] == 3


def test_usage_is_written_at_most_once_a_minute_and_at_the_end(cast: Cast) -> None:
    book = UsageRecorder()
    book.record(cast.acme.pk, POLL)
    book.flush(NOON)
    book.record(cast.acme.pk, POLL)
    with CaptureQueriesContext(connection) as queries:
        book.flush(NOON + timedelta(seconds=59))
    assert len(queries) == 0
    assert row(cast.acme.pk)["list_requests"] == 3
    book.flush(NOON + timedelta(seconds=59), at_once=True)
    assert row(cast.acme.pk)["list_requests"] == 6


def test_a_clock_put_back_does_not_stop_the_writing(cast: Cast) -> None:
    book = UsageRecorder()
    book.flush(NOON)
    book.record(cast.acme.pk, POLL)
    book.flush(NOON - timedelta(hours=1))
    assert row(cast.acme.pk)["list_requests"] == 3


def test_polls_without_a_request_write_nothing(cast: Cast) -> None:
    book = UsageRecorder()
    book.record(cast.acme.pk, PollResult(seconds=1.0))
    with CaptureQueriesContext(connection) as queries:
        book.flush(NOON)
    assert len(queries) == 0


def test_usage_that_cannot_be_written_remains_in_memory(cast: Cast) -> None:
    book = UsageRecorder()
    book.record(cast.acme.pk, POLL)
    with patch.object(QuerySet, "update", side_effect=DatabaseError("away")) as away:
        book.flush(NOON)
    assert away.called
    assert not Usage.objects.exists()
    book.record(cast.acme.pk, POLL)
    book.flush(NOON + timedelta(minutes=1))
    assert row(cast.acme.pk)["get_requests"] == 40


def test_the_books_of_an_airline_that_was_deleted_are_closed(cast: Cast) -> None:
    book = UsageRecorder()
    book.record(cast.acme.pk, POLL)
    book.record(cast.beta.pk, POLL)
    cast.beta.delete()
    book.flush(NOON)
    assert Usage.objects.count() == 1
    assert row(cast.acme.pk)["list_requests"] == 3


@pytest.mark.django_db(transaction=True)
def test_processes_that_write_at_once_add_up(cast: Cast) -> None:
    writers, each = 4, 10
    barrier, failures = threading.Barrier(writers), []

    def write() -> None:
        try:
            book = UsageRecorder()
            barrier.wait(30)
            for _ in range(each):
                book.record(cast.acme.pk, POLL)
                book.record(None, PollResult(list_requests=1))
                book.flush(NOON, at_once=True)
        except Exception as error:  # noqa: BLE001 - a thread's edge: the test reports it
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write) for _ in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert row(cast.acme.pk)["get_requests"] == writers * each * 20
    assert row(None)["list_requests"] == writers * each


def _work(airline_id: int) -> None:
    connection.close()
    usage.record(airline_id, POLL)


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_ends_writes_its_last_and_nothing_of_its_parent(cast: Cast) -> None:
    usage.record(cast.acme.pk, PollResult(put_requests=1))
    connection.close()
    worker = multiprocessing.get_context("fork").Process(target=_work, args=(cast.acme.pk,))
    worker.start()
    worker.join(60)
    assert worker.exitcode == 0
    assert Usage.objects.get().put_requests == 0
    assert Usage.objects.get().list_requests == 3
    usage.flush(NOON, at_once=True)
    assert Usage.objects.get(day=TODAY).put_requests == 1


def test_the_price_is_that_of_the_list() -> None:
    counts = {"list_requests": 1_000, "get_requests": 1_000, "put_requests": 1_000, "delete_requests": 1_000}
    assert usage.price(counts) == Decimal("0.0104")


# Pages.


def lists(client: Client, **choice: str | int) -> str:
    """Return the page, with cells that have no attributes."""
    page = client.get(reverse("admin:fleet_usage_changelist"), choice).content.decode()
    return re.sub(r"\s*<td[^>]*>", "<td>", page)


@pytest.fixture
def books(cast: Cast) -> Cast:
    Usage.objects.create(airline=cast.acme, day=TODAY, list_requests=2_000, get_requests=10_000, bytes_received=5)
    Usage.objects.create(airline=cast.acme, day=timezone.now().date(), list_requests=1_000)
    Usage.objects.create(airline=cast.beta, day=TODAY, put_requests=4_000)
    Usage.objects.create(airline=None, day=TODAY, list_requests=6_000)
    return cast


def test_the_admin_shows_the_sums_of_what_is_listed_and_their_price(books: Cast, client: Client) -> None:
    client.force_login(books.ada)
    everything = lists(client)
    assert "<td>9,000</td><td>10,000</td><td>4,000</td>" in everything
    assert "<td>0.0690</td>" in everything
    assert "(airline discovery)" in everything
    acme = lists(client, airline__id__exact=books.acme.pk)
    assert "<td>3,000</td><td>10,000</td><td>0</td>" in acme
    assert "<td>0.0190</td>" in acme
    day = lists(client, day__gte="2020-12-01", day__lt="2020-12-02", airline__id__exact=books.acme.pk)
    assert "<td>2,000</td><td>10,000</td><td>0</td>" in day


def test_only_who_sees_an_airline_sees_its_books(books: Cast) -> None:
    assert Usage.objects.visible_to(books.olga).count() == 4
    assert {row.airline for row in Usage.objects.visible_to(books.alice)} == {books.acme}
    assert not Usage.objects.visible_to(books.nick).exists()


def exported(client: Client) -> list[list[str]]:
    """Return today's rows of the admin's export."""
    choice = {"action": "export", "_selected_action": [row.pk for row in Usage.objects.filter(day=TODAY)]}
    answer = client.post(reverse("admin:fleet_usage_changelist"), choice)
    assert answer["Content-Disposition"] == 'attachment; filename="usage.csv"'
    return list(csv.reader(io.StringIO(b"".join(answer).decode("utf-8-sig"), newline="")))


@pytest.mark.parametrize("name", ["\u200b=1+1", "\N{FULLWIDTH EQUALS SIGN}1+1", "\ufeff=1", "|calc", "%0A=1"])
def test_an_airline_name_in_the_usage_file_is_not_a_formula(books: Cast, client: Client, name: str) -> None:
    Airline.objects.filter(pk=books.acme.pk).update(name=name)
    client.force_login(books.ada)
    names = {row[1] for row in exported(client)[1:]}
    assert name not in names
    assert any(cell.startswith("'") and cell.endswith(name[-1]) for cell in names)


def test_the_books_can_be_taken_along_as_a_file_without_formulas(books: Cast, client: Client) -> None:
    Airline.objects.filter(pk=books.acme.pk).update(name='=HYPERLINK("x")')
    client.force_login(books.ada)
    sheet = exported(client)
    assert sheet[0] == ["day", "airline", *usage.COUNT_FIELDS, "usd"]
    assert ["2020-12-01", '\'=HYPERLINK("x")', "2000", "10000", "0", "0", "5", "0.0140000"] in sheet
    assert ["2020-12-01", "", "6000", "0", "0", "0", "0", "0.0300000"] in sheet


def test_the_metrics_count_by_airline_and_kind(books: Cast, client: Client) -> None:
    client.force_login(books.olga)
    lines = client.get("/metrics").content.decode().splitlines()
    assert 'ifeportal_store_requests_total{airline="ACME",kind="list"} 3000.0' in lines
    assert 'ifeportal_store_requests_total{airline="",kind="list"} 6000.0' in lines
    assert 'ifeportal_store_received_bytes_total{airline="ACME"} 5.0' in lines
    assert 'ifeportal_store_price_usd_total{airline="BETA"} 0.02' in lines
