"""Make the fixture of a database with rows in every table: `python -m tests.upgrade.make_database`, and once more with
`python -m tests.support.postgresql --` before it for PostgreSQL.

It shows what the portal of one commit keeps, so it is made once, by that commit, and not again when the schema changes.
A later commit adds a fixture of its own under another name. What polling writes is written by two polls, the rest by
hand; times are those of a world that does not move on.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from tests.upgrade.databases import Database, empty_database
from tests.upgrade.ground import EARLIER, FIXTURES, NEWEST, fill, manage, portal_environment, store

ADD_ROWS = "from tests.upgrade.rows import add_rows; add_rows()"


def make(database: Database) -> None:
    """Migrate, poll twice and add what polling does not write."""
    with store() as environment:
        settings = portal_environment(database.url, environment)
        manage(settings, "migrate", "--verbosity", "0")
        for objects in (EARLIER, NEWEST):
            fill(environment, objects)
            manage(settings, "poll_buckets", "--once")
        manage(settings, "shell", "--no-imports", "-c", ADD_ROWS)
    empty = [name for name, rows in database.tables().items() if not rows]
    assert not empty, f"nothing is in {empty}"
    database.dump(FIXTURES / f"database.{database.kind}.sql.gz")


def main() -> None:
    """Make it in a database of its own, of the kind that DATABASE_URL names."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, empty_database(Path(folder)) as database:
        make(database)


if __name__ == "__main__":
    main()
