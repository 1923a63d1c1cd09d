"""Queries that Django builds once per process and kind of database: it takes longer to build them than to run them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from django.db import connection
from django.db.models import QuerySet

Build = Callable[[], QuerySet[Any, Any]]


def fetch(build: Build, placeholder: int | str, value: int | str) -> list[tuple[Any, ...]]:
    """Return the rows of the query set of `build`, with `value` for each parameter that equals `placeholder`.

    `build` is a function of a module, not one made for each call. The values are those of the database driver: numbers
    and text are as Django's, but SQLite returns times as text and truth as 0 and 1.
    """
    sql, parameters = compile_once(build, connection.vendor)
    with connection.cursor() as cursor:
        cursor.execute(sql, [value if each == placeholder else each for each in parameters])
        return list(cursor.fetchall())


@cache
def compile_once(build: Build, vendor: str) -> tuple[str, tuple[Any, ...]]:
    """Return the statement and the parameters of the query set."""
    sql, parameters = build().query.sql_with_params()
    return sql, tuple(parameters)
