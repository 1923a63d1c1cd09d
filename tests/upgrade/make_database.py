"""Create the fixture of a database with rows in every table: `python -m tests.upgrade.make_database`.

For PostgreSQL run it again with `python -m tests.support.postgresql --` in front. The fixture shows what the portal of
one commit stores. So it is created once, by that commit, and not again when the schema changes. A later commit adds a
fixture under another name. Two polls write what polling writes, the rest is written directly; all times are constant.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from tests.upgrade.databases import Database, empty_database
from tests.upgrade.ground import EARLIER, FIXTURES, NEWEST, fill, manage, portal_environment, store

ADD_ROWS = "from tests.upgrade.rows import add_rows; add_rows()"


def make(database: Database) -> None:
    """Migrate, poll twice and add the rows that polling does not write."""
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
    """Create it in a new database of the kind in DATABASE_URL."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, empty_database(Path(folder)) as database:
        make(database)


if __name__ == "__main__":
    main()
