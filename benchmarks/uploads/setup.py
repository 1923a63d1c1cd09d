"""A portal with an empty database and an empty store for each job, and the file that is uploaded.

Touches the folder, the loopback interface and the processes it starts.
"""

from __future__ import annotations

import gzip
import json
import os
import secrets
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

from benchmarks.shared.goals import MIB, Row
from benchmarks.shared.processes import ROOT, MeasurementError
from fleet.simulation.proxy import FaultProxy
from ifeportal.embedded.seaweedfs import SeaweedFS
from loader.s3.client import S3Bucket
from loader.s3.cors import upload_rule
from tests.support.portal_system import PortalSystem, is_answering, wait_for
from tests.support.postgresql import postgresql

AIRLINE, MEDIA, STATUS = "BENCH", "bench-media", "bench-status"
LANES: Final = 4
PART: Final = 16 * MIB
# Django must be set up before its models are imported.
START: Final = "import django; django.setup(); from benchmarks.uploads.resident import main; main()"
STOP_TIMEOUT: Final = 20.0  # seconds


@dataclass
class Bench:
    """What to measure, and the results. Sizes in bytes."""

    folder: Path
    runs: int
    size: int
    browsers: int
    browser_size: int
    waiting: int
    samples: int
    log: Callable[[str], None]
    rows: list[Row] = field(default_factory=list)

    def file(self, name: str, size: int | None = None) -> Path:
        """Return a `.tgz` of about this size; all of one size are links to one file."""
        size = size or self.size
        original, path = self.folder / f"{size}.bytes", self.folder / name
        if not original.exists():
            write_archive(original, size)
        path.unlink(missing_ok=True)
        path.hardlink_to(original)
        return path


class Resident:
    """A process with Django that does what it is asked. Use as a context manager."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-c", START],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        """Close its input, which ends it."""
        try:
            self._process.communicate(timeout=STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def ask(self, **question: object) -> dict[str, Any]:
        """Return the answer. Raises MeasurementError if the process ends."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise MeasurementError(f"the process with Django ended at {next(iter(question))}; its output is above")
        answer: dict[str, Any] = json.loads(line)
        return answer


@dataclass(frozen=True)
class Portal:
    """A running portal. `link` is between browsers and the store, if one was asked for."""

    system: PortalSystem
    store: SeaweedFS
    media: S3Bucket
    resident: Resident
    cookie: Mapping[str, str]
    link: FaultProxy | None

    def peer(self) -> dict[str, str]:
        """Return the environment of s5cmd."""
        base = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "GODEBUG": "http2client=0"}
        return {**base, **self.store.environment()}


@contextmanager
def portal(bench: Bench, name: str, *, workers: bool = True, with_link: bool = False) -> Iterator[Portal]:
    """Start it with a new store and a new PostgreSQL; without `workers` only the web server."""
    folder = bench.folder / name
    folder.mkdir()
    with ExitStack() as stack:
        store = stack.enter_context(SeaweedFS(folder / "store"))
        media, _ = store.create_bucket(MEDIA), store.create_bucket(STATUS)
        link = stack.enter_context(FaultProxy(store.endpoint)) if with_link else None
        environment = _settings(folder, stack.enter_context(postgresql()), store)
        if link:
            environment["MEDIA_PUBLIC_URL"] = link.endpoint
        system = stack.enter_context(PortalSystem(folder, environment))
        media.put_cors([upload_rule([system.address])])
        system.manage("migrate", "-v0")
        system.manage("collectstatic", "--noinput", "-v0")
        resident = stack.enter_context(Resident(system.environment))
        cookie = resident.ask(session=AIRLINE)
        if workers:
            system.start()
        else:
            _start_web_server(system, stack)
        yield Portal(system, store, media, resident, cookie, link)


def _start_web_server(system: PortalSystem, stack: ExitStack) -> None:
    system.portal.start()
    stack.callback(system.portal.stop)
    wait_for("the portal answers", lambda: is_answering(system.address, system.portal))


def _settings(folder: Path, database: str, store: SeaweedFS) -> dict[str, str]:
    return {
        "DATABASE_URL": database,
        "DEBUG": "0",  # Django stores every statement in memory with DEBUG
        "SECRET_KEY": secrets.token_urlsafe(50),
        "ALLOWED_HOSTS": "127.0.0.1",
        "HTTPS": "0",
        "DJANGO_SETTINGS_MODULE": "ifeportal.settings",
        "LOG_LEVEL": "WARNING",
        "STATIC_ROOT": str(folder / "static"),
        "MEDIA_BUCKET": MEDIA,
        "STATUS_BUCKET": STATUS,
        **store.environment(),
    }


class _Noise:
    """A file of random bytes, to read once."""

    def read(self, size: int) -> bytes:
        """Return so many bytes."""
        return os.urandom(size)


def write_archive(path: Path, size: int) -> None:
    """Write a real `.tgz` of about this size, of random bytes that are not compressed."""
    member = tarfile.TarInfo("film.mp4")
    member.size = size - min(size // 100, MIB)  # room for the headers of tar and gzip
    with path.open("wb") as file, gzip.GzipFile("", "wb", compresslevel=0, fileobj=file, mtime=0) as packed:
        _write_tar(packed, member)


def _write_tar(packed: gzip.GzipFile, member: tarfile.TarInfo) -> None:
    noise: BinaryIO = _Noise()  # type: ignore[assignment]  # tarfile only reads
    with tarfile.open(fileobj=packed, mode="w|", bufsize=MIB) as tar:
        tar.addfile(member, noise)
