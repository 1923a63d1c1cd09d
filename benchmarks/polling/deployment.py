"""A fleet in a real store, a separate database, and the processes of the portal that read it.

Touches the store it is given, a database and a folder it creates, and the processes it starts.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

from benchmarks.polling.cycle import PollingProcess
from benchmarks.polling.fleet import AIRLINE, CAMPAIGN, Fleet
from benchmarks.polling.rows import reported_bytes
from benchmarks.polling.writers import Writers, WriterTarget
from ifeportal.embedded.seaweedfs import SeaweedFS
from loader.contract.keys import manifest_key
from loader.s3.client import S3Bucket
from tests.support.portal_system import PortalSystem
from tests.support.postgresql import postgresql

PYTHON: Final = sys.executable
# The tests' server runs without these. Here it is as durable as in production.
DURABLE: Final = ("fsync", "synchronous_commit", "full_page_writes")


@dataclass(frozen=True, slots=True)
class Deployment:
    """`name` is that of its status bucket; `environment` is that of the portal; `database` is a URL."""

    fleet: Fleet
    name: str
    folder: Path
    store: SeaweedFS
    database: str
    environment: Mapping[str, str]
    writers: Writers

    @property
    def status(self) -> S3Bucket:
        """Return the status bucket, for this process."""
        return self.store.bucket(self.name)

    def polling_process(self) -> PollingProcess:
        """Return a process that polls on request."""
        return PollingProcess(AIRLINE, self.environment)

    def once_command(self) -> list[str]:
        """Return the command that polls once."""
        return [PYTHON, "manage.py", "poll_buckets", "--once", "--airline", AIRLINE, "--json"]

    def count_missed(self) -> int:
        """Return for how many objects there is no row with their value."""
        return self.fleet.count_missed(reported_bytes(self.database))

    def vacuum(self) -> None:
        """Run what PostgreSQL's autovacuum does within minutes of a large change."""
        if self.database.startswith("postgres"):
            with psycopg.connect(self.database, autocommit=True) as connection:
                connection.execute("VACUUM ANALYZE")


@contextmanager
def deployment(name: str, fleet: Fleet, store: SeaweedFS, database: str, folder: Path) -> Iterator[Deployment]:
    """Deploy a fleet with its manifest and without status objects; `database` is "sqlite" or "postgresql"."""
    subfolder = folder / name
    subfolder.mkdir()
    with ExitStack() as stack:
        url = f"sqlite:///{subfolder}/portal.sqlite3" if database == "sqlite" else stack.enter_context(_durable())
        media = store.create_bucket(f"{name}-media")
        media.put(manifest_key(AIRLINE, CAMPAIGN), fleet.manifest())
        store.create_bucket(name)
        environment = {
            "DATABASE_URL": url,
            "DEBUG": "0",  # Django stores every statement in memory with DEBUG
            "SECRET_KEY": secrets.token_urlsafe(50),
            "ALLOWED_HOSTS": "ife.example.org",
            "LOG_LEVEL": "WARNING",
            "DJANGO_SETTINGS_MODULE": "ifeportal.settings",
            "MEDIA_BUCKET": media.name,
            "STATUS_BUCKET": name,
            **store.environment(),
        }
        system = PortalSystem(subfolder, environment)
        system.manage("migrate", "-v0")
        address = WriterTarget(name, store.endpoint, store.access_key, store.secret_key)
        yield Deployment(fleet, name, subfolder, store, url, system.environment, stack.enter_context(Writers(address)))


@contextmanager
def _durable() -> Iterator[str]:
    with postgresql() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            for setting in DURABLE:
                connection.execute(f"ALTER SYSTEM SET {setting} = on")
            connection.execute("SELECT pg_reload_conf()")
        yield url
