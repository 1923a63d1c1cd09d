"""Bulk statements: insert or update many rows with one statement, from one JSON parameter.

Works on PostgreSQL and SQLite. One parameter per value, as in `bulk_create`, costs several times the CPU, and SQLite
limits the number of parameters. Columns have the names of the model's attributes (`load_id`); names of tables and
columns come from models only. Supports timestamps, numbers, text, booleans and JSON. The caller opens the transaction.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from django.db import connection
from django.db.models import BooleanField, CharField, Field, JSONField, Model, TextField
from django.db.models.expressions import RawSQL

ROWS_PER_STATEMENT: Final = 5_000
Row = Sequence[Any]


def json_rows(model: type[Model], names: Sequence[str], rows: Iterable[Row]) -> tuple[str, str]:
    """Return a SELECT of `rows`, with the column names and types of the model, and its one parameter."""
    columns = ", ".join(_column(index, field) for index, field in enumerate(_fields(model, names)))
    source = (
        "jsonb_array_elements(CAST(%s AS jsonb)) AS listed(value)"
        if connection.vendor == "postgresql"
        else "json_each(%s)"
    )
    return f"SELECT {columns} FROM {source}", json.dumps(list(rows), default=_timestamp)  # noqa: S608


def where_in(model: type[Model], names: Sequence[str], rows: Iterable[Row]) -> RawSQL:
    """Return the condition that the columns `names` equal one of `rows`. Uses an index on exactly these columns."""
    sql, text = json_rows(model, names, rows)
    columns = ", ".join(f"{_table(model)}.{_quoted(field)}" for field in _fields(model, names))
    return RawSQL(f"({columns}) IN ({sql})", (text,), output_field=BooleanField())  # noqa: S611


def where_pk_in(model: type[Model], pks: Iterable[int]) -> RawSQL:
    """Return the condition that the id of a row is one of `pks`, which may be any number."""
    return where_in(model, ["id"], ((pk,) for pk in pks))


def where_fk_in(model: type[Model], name: str, pks: Iterable[int]) -> RawSQL:
    """Return the condition that the foreign key `name` of a row ("load") is one of `pks`, which may be any number."""
    return where_in(model, [f"{name}_id"], ((pk,) for pk in pks))


def upsert(model: type[Model], unique: Sequence[str], names: Sequence[str], rows: Sequence[Row]) -> list[Row]:
    """Insert `rows` of `unique` and `names`, or update `names` of the existing row with the same `unique`.

    Return id and `unique` of each row. Other columns of a new row get their default.
    """
    keys, columns = ([_quoted(field) for field in _fields(model, group)] for group in (unique, names))
    others = [field for field in model._meta.concrete_fields if field.attname not in {"id", *unique, *names}]
    defaults = [field.get_default() for field in others]
    every = [*unique, *names, *(field.attname for field in others)]
    into = ", ".join(_quoted(field) for field in _fields(model, every))
    sets = ", ".join(f"{column} = excluded.{column}" for column in columns)
    written: list[Row] = []
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        source, text = json_rows(model, every, ([*row, *defaults] for row in rows[start : start + ROWS_PER_STATEMENT]))
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {_table(model)} ({into}) {source} WHERE true "
                f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {sets} RETURNING {', '.join(['id', *keys])}",
                [text],
            )
            written += cursor.fetchall()
    return written


def insert(model: type[Model], names: Sequence[str], rows: Sequence[Row]) -> None:
    """Insert `rows`. `names` are all columns except the id."""
    into = ", ".join(_quoted(field) for field in _fields(model, names))
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        source, text = json_rows(model, names, rows[start : start + ROWS_PER_STATEMENT])
        with connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {_table(model)} ({into}) {source}", [text])


def update(model: type[Model], names: Sequence[str], rows: Sequence[Row]) -> None:
    """Update `names` of existing rows. Each of `rows` is the id followed by the new values."""
    table = _table(model)
    sets = ", ".join(f"{_quoted(field)} = new.{_quoted(field)}" for field in _fields(model, names))
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        source, text = json_rows(model, ["id", *names], rows[start : start + ROWS_PER_STATEMENT])
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {table} SET {sets} FROM ({source}) AS new WHERE {table}.id = new.id",  # noqa: S608
                [text],
            )


def _column(index: int, field: Field[Any, Any]) -> str:
    """Return the SQL of a value in the type of the column.

    SQLite uses the type in the JSON; only text needs a cast, without which SQLite does not use an index.
    """
    if isinstance(field, JSONField):
        value = f"value->{index}"
    elif isinstance(field, CharField | TextField):
        value = f"CAST(value->>{index} AS text)"
    elif connection.vendor != "postgresql":
        value = f"value->>{index}"
    else:
        value = f"CAST(value->>{index} AS {field.db_type(connection)})"
    return f"{value} AS {_quoted(field)}"


def _fields(model: type[Model], names: Iterable[str]) -> list[Field[Any, Any]]:
    fields = {field.attname: field for field in model._meta.concrete_fields}
    return [fields[name] for name in names]


def _table(model: type[Model]) -> str:
    return connection.ops.quote_name(model._meta.db_table)


def _quoted(field: Field[Any, Any]) -> str:
    return connection.ops.quote_name(field.column or "")


def _timestamp(value: Any) -> str:
    return str(connection.ops.adapt_datetimefield_value(value))
