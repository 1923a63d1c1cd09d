"""Which database errors concern one statement, and which the database as a whole."""

from __future__ import annotations

import sqlite3

import pytest
from django.db import DataError, IntegrityError, InterfaceError, OperationalError, connections

from ifeportal.database_errors import is_database_unavailable

pytestmark = pytest.mark.both_databases


class Reported(Exception):
    """An error as a driver reports it."""

    def __init__(self, sqlstate: str | None = None, sqlite_errorcode: int | None = None) -> None:
        self.sqlstate, self.sqlite_errorcode = sqlstate, sqlite_errorcode


def operational(**report: object) -> OperationalError:
    error = OperationalError("x")
    error.__cause__ = Reported(**report)  # type: ignore[arg-type]
    return error


@pytest.mark.parametrize("state", ["08006", "53100", "53300", "57P01", "58030", "25006"])
def test_an_unavailable_full_or_read_only_server_fails_every_statement(state: str) -> None:
    assert is_database_unavailable(operational(sqlstate=state))


@pytest.mark.parametrize("state", ["40P01", "40001", "55P03", "57014", "54000"])
def test_a_deadlock_or_a_timeout_fails_one_statement(state: str) -> None:
    assert not is_database_unavailable(operational(sqlstate=state))


@pytest.mark.parametrize(
    ("code", "unavailable"),
    [(sqlite3.SQLITE_BUSY, True), (sqlite3.SQLITE_IOERR | 10 << 8, True), (sqlite3.SQLITE_ERROR, False)],
)
def test_a_file_that_is_locked_or_broken_fails_every_statement(code: int, unavailable: bool) -> None:
    assert is_database_unavailable(operational(sqlite_errorcode=code)) is unavailable


def test_invalid_values_and_faults_of_ours_fail_one_statement() -> None:
    assert not any(map(is_database_unavailable, (DataError("x"), IntegrityError("x"), KeyError("x"))))
    assert is_database_unavailable(InterfaceError("connection already closed"))


@pytest.mark.parametrize("usable", [True, False])
def test_an_error_without_a_code_is_decided_by_the_connection(monkeypatch: pytest.MonkeyPatch, usable: bool) -> None:
    monkeypatch.setattr(connections["default"], "is_usable", lambda: usable)
    assert is_database_unavailable(OperationalError("x")) is not usable
