"""Rows sent to the database as one JSON text arrive unchanged, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest.mock import patch

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext

from fleet.models import Load, Tail, Transfer
from fleet.state.transfer import TRANSFER_FIELDS, TransferState
from ifeportal import bulk
from ifeportal.bulk import update, upsert, where_in
from loader.contract.item_reports import COUNT_LIMIT
from tests.support.polling_world import PollingWorld, tail

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

PLACE = ["load_id", "content"]
AT = datetime(2026, 12, 1, 12, 0, 0, 123456, tzinfo=UTC)
STATES = [
    TransferState(),
    TransferState(error='"quoted", \\ back, \t tab, \n line, {json}, %s, é, 你好, 🛩', error_code="[1, 2]"),
    TransferState(bytes_done=COUNT_LIMIT, bytes_reported=COUNT_LIMIT, as_of=AT, error="null", listed=True),
    TransferState(bytes_total=0, progress_etag="12", progress_at=AT.replace(microsecond=0), oversized=True),
]


@pytest.fixture
def load(world: PollingWorld) -> Load:
    world.progress("N1/2026-12/a", 5)
    world.poll()
    return Load.objects.get()


def stored_state(content: str) -> TransferState:
    return TransferState(*Transfer.objects.values_list(*TRANSFER_FIELDS).get(content=content))


def test_rows_written_in_bulk_are_read_back_unchanged(load: Load) -> None:
    names = ["a", "1", "true", "Ü \" '"]
    for states in (STATES, STATES[::-1]):
        rows = [(load.pk, name, *state) for name, state in zip(names, states, strict=True)]
        written = upsert(Transfer, PLACE, TRANSFER_FIELDS, rows)
        assert {(row[1], row[2]) for row in written} == {(load.pk, name) for name in names}
        assert [stored_state(name) for name in names] == states
        assert {row[0]: row[2] for row in written} == dict(Transfer.objects.values_list("pk", "content"))
    found = Transfer.objects.filter(where_in(Transfer, PLACE, [(load.pk, "1"), (load.pk, "none"), (load.pk + 1, "a")]))
    assert [row.content for row in found] == ["1"]


def test_columns_that_are_not_named_keep_their_value_or_get_their_default(load: Load) -> None:
    Transfer.objects.update(error="kept")
    upsert(Transfer, PLACE, ["bytes_done"], [(load.pk, "a", 1), (load.pk, "b", 2)])
    rows = Transfer.objects.order_by("content").values_list("bytes_done", "error", "status")
    assert list(rows) == [(1, "kept", "loading"), (2, "", "pending")]


def test_json_and_unknown_values_go_through(load: Load) -> None:
    stores = [{"path": 'a "b"', "total": COUNT_LIMIT, "free": None}]
    update(Tail, ["stores", "held", "rate_bps", "heard_at"], [(load.tail_id, stores, [], None, AT), (0, [], [], 1, AT)])
    row = tail()
    assert (row.stores, row.held, row.rate_bps, row.heard_at) == (stores, [], None, AT)


def test_more_rows_than_fit_a_statement_take_another(load: Load) -> None:
    with patch.object(bulk, "ROWS_PER_STATEMENT", 3), CaptureQueriesContext(connection) as queries:
        upsert(Transfer, PLACE, ["bytes_done"], [(load.pk, str(number), number) for number in range(7)])
    assert len(queries) == 3
    assert Transfer.objects.filter(load=load).count() == 8


def test_text_that_does_not_fit_its_column_is_refused_and_not_cut(load: Load) -> None:
    if connection.vendor == "sqlite":
        upsert(Transfer, PLACE, ["error_code"], [(load.pk, "a", "x" * 99)])
        assert len(stored_state("a").error_code) == 99, "SQLite does not limit the length of texts"
    else:
        with pytest.raises(DatabaseError, match="too long"):
            upsert(Transfer, PLACE, ["error_code"], [(load.pk, "a", "x" * 99)])
