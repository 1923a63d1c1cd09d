"""Simulated aircraft: each runs the real loader as a process of its own, with its own link and keys.

For the demo and for load tests. Touches a folder (what the aircraft hold), the processes and links it starts, and the
media bucket when a campaign is published. Who flies and what happens is told by `fleet.demo.scenario`.
"""

from __future__ import annotations

import gzip
import io
import os
import random
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from django.conf import settings

from campaigns.publishing.folder_publisher import publish_folder
from fleet.demo import scripted_tails
from fleet.demo.scenario import (
    CORRUPTED,
    CORRUPTED_BYTE,
    CORRUPTED_FILM,
    DemoAircraft,
    DemoCampaign,
    Film,
    TimelineEvent,
    timeline,
)
from fleet.iam_policy import seaweedfs_identity
from fleet.simulation.faults import FlipByte, Rule
from fleet.simulation.proxy import FaultProxy
from ifeportal.embedded.processes import Process, Supervisor
from ifeportal.embedded.seaweedfs import Identity, SeaweedFS
from loader.errors import WorldError
from loader.s3.interface import Bucket

MANAGE: Final = Path(settings.BASE_DIR) / "manage.py"
MEDIA: Final = "ife-media"
STATUS: Final = "ife-status"
STAGE: Final = 3  # aircraft are stopped first
LOADER: Final[Mapping[str, str]] = {
    "LOADER_MAX_TRANSFERS": "2",
    "LOADER_POLL_INTERVAL": "10s",
    "LOADER_PROGRESS_INTERVAL": "2s",
    "LOADER_HEARTBEAT_INTERVAL": "15s",
    # Patient enough for the minute without a link: what moved is to go on, not to fail.
    "LOADER_TRIES": "100",
    "LOADER_RETRY_DELAY_MAX": "5s",
    "LOADER_READ_TIMEOUT": "10s",
    "LOADER_MIN_RATE": "1KiB",
    "LOADER_JSON": "1",
}


def identity(aircraft: DemoAircraft) -> Identity:
    """What an aircraft may do and no more."""
    return seaweedfs_identity(aircraft.airline, aircraft.tail, MEDIA, STATUS)


def make_archive(path: Path, film: Film) -> None:
    """A real `.tgz` of about the film's size; its bytes are noise, the same every time."""
    noise = random.Random(film.name).randbytes(film.size)  # noqa: S311
    member = tarfile.TarInfo(f"{film.name}.mp4")
    member.size = len(noise)
    new = path.with_name(f".{path.name}.new")
    with (
        new.open("wb") as file,
        # Stored, not compressed: noise does not get smaller. No name and no time: the same bytes each time.
        gzip.GzipFile("", "wb", compresslevel=0, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        tar.addfile(member, io.BytesIO(noise))
    new.replace(path)


class Library:
    """Campaign folders, made when first needed; a film that flies in two campaigns lies there once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self, cycle: DemoCampaign) -> Path:
        """The folder of a campaign, with all its archives."""
        target = self.folder / cycle.airline / cycle.name
        pool = self.folder / "films"
        for folder in (target, pool):
            folder.mkdir(parents=True, exist_ok=True)
        for film in cycle.films:
            archive = pool / f"{film.name}.tgz"
            if not archive.exists():
                make_archive(archive, film)
            if not (target / archive.name).exists():
                (target / archive.name).hardlink_to(archive)
        return target

    def publish(self, cycle: DemoCampaign, media: Bucket) -> None:
        """Put a campaign into the media bucket, or what of it is not there yet. Raises WorldError."""
        publish_folder(
            self.prepare(cycle),
            cycle.airline,
            cycle.name,
            media,
            title=cycle.title,
            starts=cycle.starts,
            ends=cycle.ends,
        )


class SimulatedTail:
    """One simulated aircraft: its link and its loader."""

    def __init__(self, aircraft: DemoAircraft, store: SeaweedFS, folder: Path, speed: float) -> None:
        self.aircraft = aircraft
        self.link = FaultProxy(store.endpoint, bandwidth=aircraft.bandwidth * speed, latency=aircraft.latency / speed)
        self._store = store
        self._content = folder / "aircraft" / aircraft.tail
        self._log = folder / "log" / f"{aircraft.tail}.log"
        self._flaw: Rule | None = None
        self.process: Process | None = None

    def start(self, supervisor: Supervisor, *, flawed: bool) -> None:
        """Connect it and start its loader. `flawed`: a byte of one film is wrong each time it comes."""
        self.link.start()
        if flawed:
            self._flaw = self.link.add(Rule(FlipByte(CORRUPTED_BYTE), key=f"*/{CORRUPTED_FILM}.tgz", times=None))
        self._content.mkdir(parents=True, exist_ok=True)
        self.process = supervisor.start(
            Process(
                self.aircraft.tail,
                [sys.executable, MANAGE, "run_loader"],
                log=self._log,
                environment=self._environment(),
                stage=STAGE,
                stop_timeout=8.0,
            )
        )

    def repair(self) -> None:
        """The link is mended and somebody restarts the loader, which then tries again what had failed."""
        if self._flaw and self.process:
            self.link.rules.remove(self._flaw)
            self._flaw = None
            self.process.stop()
            self.process.start()

    def _environment(self) -> dict[str, str]:
        foreign = ("AWS_", "LOADER_", "DJANGO_")
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(foreign)},
            **self._store.environment(self.aircraft.tail),
            "AWS_ENDPOINT_URL_S3": self.link.endpoint,
            "MEDIA_BUCKET": MEDIA,
            "STATUS_BUCKET": STATUS,
            "LOADER_AIRLINE": self.aircraft.airline,
            "LOADER_TAIL": self.aircraft.tail,
            "LOADER_CONTENT_DIR": str(self._content),
            **LOADER,
        }


class Simulation:
    """A fleet in the air. `advance` is to be called every second or so; `say` hears what happens, for
    people.

    `speed` makes links and events so many times faster.
    """

    def __init__(
        self,
        fleet: Sequence[DemoAircraft],
        campaigns: Sequence[DemoCampaign],
        store: SeaweedFS,
        folder: Path,
        supervisor: Supervisor,
        say: Callable[[str], None],
        *,
        speed: float = 1.0,
    ) -> None:
        self._tails = {a.tail: SimulatedTail(a, store, folder, speed) for a in fleet}
        self._airlines = list(dict.fromkeys(aircraft.airline for aircraft in fleet))
        self._cycles = {
            airline: [cycle for cycle in campaigns if cycle.airline == airline] for airline in self._airlines
        }
        self._library = Library(folder / "library")
        self._events = timeline(fleet)
        self._media, self._status = store.bucket(MEDIA), store.bucket(STATUS)
        self._reported = -1.0  # up to when scripted aircraft have reported, in seconds since the first start
        self._supervisor = supervisor
        self._say = say
        self._speed = speed
        self._began = False

    def publish_first(self) -> None:
        """The campaign that is there from the beginning, of each airline. Raises WorldError."""
        for airline in self._airlines:
            self._library.publish(self._cycles[airline][0], self._media)

    def advance(self, elapsed: float) -> None:
        """Let everything happen that is due after so many seconds. The first call catches up without a word."""
        due = [event for event in self._events if event.at <= elapsed * self._speed]
        self._events = self._events[len(due) :]
        mended = {event.subject for event in due if event.kind == "repair"}
        for event in due:
            sentence = self._happen(event, mended)
            if self._began and sentence:
                self._say(sentence)
        if not self._began and elapsed > 0:
            self._reported = elapsed * self._speed  # the demo goes on: all before lies in the bucket
        self._report(elapsed * self._speed)
        self._began = True

    def close(self) -> None:
        """Disconnect all; their loaders are the supervisor's to stop."""
        for tail in self._tails.values():
            if tail.process:
                tail.link.stop()

    def _report(self, until: float) -> None:
        """Write what scripted aircraft report; what the store does not take is written the next time."""
        first = [cycles[0] for cycles in self._cycles.values()]
        due = dict(scripted_tails.reports(first, self._reported, until, datetime.now(UTC)))
        with suppress(WorldError):
            for key, body in due.items():
                self._status.put(key, body)
            self._reported = until

    def _happen(self, event: TimelineEvent, mended: set[str]) -> str:
        if event.kind == "publish":
            return self._publish_next(event)
        tail = self._tails[event.subject]
        if event.kind == "start":
            tail.start(self._supervisor, flawed=event.subject == CORRUPTED and event.subject not in mended)
            return f"{event.subject} joins late."
        if event.kind == "repair":
            tail.repair()
            return f"{event.subject}: its link is mended and its loader restarted; the failed item loads again."
        if event.kind == "offline":
            tail.link.offline()
            return f"{event.subject} has lost its link."
        tail.link.online()
        return f"{event.subject} is back."

    def _publish_next(self, event: TimelineEvent) -> str:
        cycle = self._cycles[event.subject][1]
        try:
            self._library.publish(cycle, self._media)
        except WorldError as error:
            self._events.insert(0, replace(event, at=event.at + 10))
            return f"{cycle.title} could not be published: {error}. Trying again."
        return f"Published: {cycle.title}."
