"""Bounds for the queries of web requests: a time limit in PostgreSQL, and an end when the client leaves.

Only the ASGI application calls this, so the limits apply to web processes: jobs, the pacemaker and commands have none.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import psycopg
from django.conf import settings
from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.pq import TransactionStatus

from ifeportal.web.asgi_types import ASGIApplication, ASGIMessage, Receive, Send

CONNECTION_KEY: Final = "ifeportal.connection"  # key of the ASGI scope: the connection of the request's thread
CANCEL_TIMEOUT: Final = 2.0  # seconds for the server to take the request to cancel
SQLITE_INTERRUPTED: Final = "interrupted"
logger = logging.getLogger(__name__)


def limit_statements() -> None:
    """Set STATEMENT_TIMEOUT for every PostgreSQL connection that this process opens from now on.

    An option of DATABASE_URL has precedence: the last value wins.
    """
    for database in connections.settings.values():
        if database["ENGINE"] == "django.db.backends.postgresql":
            own = str(database["OPTIONS"].get("options", ""))
            limit = f"-c statement_timeout={settings.STATEMENT_TIMEOUT * 1000:.0f}"
            database["OPTIONS"]["options"] = f"{limit} {own}".strip()


def is_cancelled_query(error: BaseException | None) -> bool:
    """Return whether the database ended a query because of its time limit, or because the client left."""
    if not isinstance(error, OperationalError):
        return False
    cause = error.__cause__
    if isinstance(cause, sqlite3.OperationalError):
        return str(cause) == SQLITE_INTERRUPTED
    return isinstance(cause, psycopg.errors.QueryCanceled)


class CancelAbandonedQueries:
    """Cancels the running query of a request whose client disconnects before the response is complete."""

    def __init__(self, application: ASGIApplication) -> None:
        self._application = application
        self._threads = ThreadPoolExecutor(2, "cancel")

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        complete = False

        async def receive_and_watch() -> ASGIMessage:
            event = await receive()
            if event["type"] == "http.disconnect" and not complete and CONNECTION_KEY in scope:
                asyncio.get_running_loop().run_in_executor(self._threads, cancel_query, scope[CONNECTION_KEY])
            return event

        async def send_and_note(event: ASGIMessage) -> None:
            nonlocal complete
            # Before it is sent: daphne reports a disconnect after the last part of every response.
            complete = complete or (event["type"] == "http.response.body" and not event.get("more_body", False))
            await send(event)

        await self._application(scope, receive_and_watch, send_and_note)


def cancel_query(wrapper: BaseDatabaseWrapper) -> None:
    """Cancel the query that another thread runs on this connection, if any."""
    connection = wrapper.connection
    try:
        if isinstance(connection, sqlite3.Connection):
            connection.interrupt()
        elif connection is not None and connection.info.transaction_status == TransactionStatus.ACTIVE:
            connection.cancel_safe(timeout=CANCEL_TIMEOUT)
    except (psycopg.Error, sqlite3.Error) as error:  # it was closed in the meantime
        logger.info("an abandoned query was not cancelled: %s", error)
