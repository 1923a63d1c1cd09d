"""A query of a web request ends by itself or with its client; those of commands have no limit. Uses PostgreSQL."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.db import OperationalError, connection, connections, transaction
from django.test import Client, override_settings

from ifeportal.web.database_limits import cancel_query, is_cancelled_query, limit_statements
from tests.conftest import Cast
from tests.support.api_fleet import make_load
from tests.support.browser_portal import database_url
from tests.support.portal_forks import run
from tests.support.portal_system import wait_for
from tests.support.web_server import WebServer

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture(autouse=True)
def server_database(transactional_db: None) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no such limit")


@contextmanager
def locked_tails() -> Iterator[None]:
    """Make every query on tails wait."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE fleet_tail IN ACCESS EXCLUSIVE MODE")
        yield


def waiting_queries() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # within a transaction it stays the same
        cursor.execute(WAITING)
        found: int = cursor.fetchone()[0]
        return found


def cookie(cast: Cast) -> dict[str, str]:
    client = Client()
    client.force_login(cast.alice)
    return {"Cookie": f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"}


def test_a_query_that_takes_too_long_is_answered_with_a_sentence(cast: Cast, tmp_path: Path) -> None:
    headers = cookie(cast)
    make_load(cast.acme, "N1", "2026-12")
    with WebServer(tmp_path, STATEMENT_TIMEOUT="300ms") as web, locked_tails():
        api = web.ask("GET", "/api/v1/tails/?q=N1", headers=headers)
        page = web.ask("GET", "/airlines/ACME/", headers=headers)
    assert (api.status, json.loads(api.body)["type"]) == (503, "urn:problem-type:ifeportal:query-timeout")
    assert "Narrow the search" in json.loads(api.body)["detail"]
    assert (page.status, "Narrow the search" in page.body) == (503, True)
    assert page.headers["Retry-After"] == api.headers["Retry-After"] == "5"
    assert "a query was cancelled: /api/v1/tails/" in web.log
    assert "Traceback" not in web.log


def test_a_query_ends_when_its_client_hangs_up(cast: Cast, tmp_path: Path) -> None:
    headers = cookie(cast)
    with WebServer(tmp_path, STATEMENT_TIMEOUT="1h") as web, locked_tails():
        with web.connect() as client:
            lines = ["GET /api/v1/tails/ HTTP/1.1", "Host: 127.0.0.1", f"Cookie: {headers['Cookie']}", "", ""]
            client.sendall("\r\n".join(lines).encode())
            wait_for("the query", lambda: waiting_queries() == 1)
        wait_for("its end", lambda: waiting_queries() == 0)


def test_only_web_processes_have_the_limit_and_the_address_of_the_database_has_the_last_word(tmp_path: Path) -> None:
    show = "from django.db import connection as c; k = c.cursor(); k.execute('SHOW statement_timeout'); "
    show += "print('limit', *k.fetchone())"

    def limit(code: str, **more: str) -> str:
        environment = {**os.environ, "DATABASE_URL": database_url(), "DEBUG": "1", "STATEMENT_TIMEOUT": "9s", **more}
        done = run([sys.executable, "manage.py", "shell", "-v", "0", "-c", code], env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.split("limit")[-1].strip()

    assert limit(show) == "0"
    own = f"{database_url()}{'&' if '?' in database_url() else '?'}options=-c%20statement_timeout%3D4s"
    assert limit(f"import ifeportal.asgi; {show}", DATABASE_URL=own) == "4s"


def test_a_connection_without_a_running_query_is_left_alone() -> None:
    connection.ensure_connection()
    cancel_query(connection)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
    connection.close()
    cancel_query(connection)


def test_a_cancelled_query_differs_from_an_outage() -> None:
    def caused_by(cause: Exception) -> OperationalError:
        error = OperationalError("it failed")
        error.__cause__ = cause
        return error

    assert is_cancelled_query(caused_by(psycopg.errors.QueryCanceled("statement timeout")))
    assert is_cancelled_query(caused_by(sqlite3.OperationalError("interrupted")))
    assert not is_cancelled_query(caused_by(psycopg.OperationalError("connection refused")))
    assert not is_cancelled_query(caused_by(sqlite3.OperationalError("database is locked")))
    assert not is_cancelled_query(KeyError())


@override_settings(STATEMENT_TIMEOUT=30.0)
def test_the_limit_precedes_the_options_of_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections.settings["default"], "OPTIONS", {"options": "-c search_path=x"})
    limit_statements()
    assert connections.settings["default"]["OPTIONS"] == {"options": "-c statement_timeout=30000 -c search_path=x"}
