"""Simulated aircraft: each runs the real loader as a process of its own, with its own link and keys.

Touches the content folder of the aircraft, the processes and links it starts, the media bucket when a campaign is
published, and the status bucket for scripted tails. `fleet.demo.scenario` defines the aircraft and the events.
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
    # Enough attempts for a minute without a link: a transfer must resume, not fail.
    "LOADER_TRIES": "100",
    "LOADER_RETRY_DELAY_MAX": "5s",
    "LOADER_READ_TIMEOUT": "10s",
    "LOADER_MIN_RATE": "1KiB",
    "LOADER_JSON": "1",
}


def identity(aircraft: DemoAircraft) -> Identity:
    """Return the identity of an aircraft, with the least permissions it needs."""
    return seaweedfs_identity(aircraft.airline, aircraft.tail, MEDIA, STATUS)


def make_archive(path: Path, film: Film) -> None:
    """Write a real `.tgz` of about the film's size, filled with noise. The bytes are the same every time."""
    noise = random.Random(film.name).randbytes(film.size)  # noqa: S311
    member = tarfile.TarInfo(f"{film.name}.mp4")
    member.size = len(noise)
    new = path.with_name(f".{path.name}.new")
    with (
        new.open("wb") as file,
        # Not compressed, because noise does not get smaller. Without name and time the bytes are reproducible.
        gzip.GzipFile("", "wb", compresslevel=0, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        tar.addfile(member, io.BytesIO(noise))
    new.replace(path)


class Library:
    """Campaign folders, created on first use. A film in two campaigns is stored once, as a hard link."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self, cycle: DemoCampaign) -> Path:
        """Create the folder of a campaign with all its archives, and return it."""
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
        """Publish a campaign to the media bucket; objects already there are skipped. Raises WorldError."""
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
    """One simulated aircraft: a link and a loader process."""

    def __init__(self, aircraft: DemoAircraft, store: SeaweedFS, folder: Path, speed: float) -> None:
        self.aircraft = aircraft
        self.link = FaultProxy(store.endpoint, bandwidth=aircraft.bandwidth * speed, latency=aircraft.latency / speed)
        self._store = store
        self._content = folder / "aircraft" / aircraft.tail
        self._log = folder / "log" / f"{aircraft.tail}.log"
        self._fault: Rule | None = None
        self.process: Process | None = None

    def start(self, supervisor: Supervisor, *, corrupted: bool) -> None:
        """Start the link and the loader. `corrupted`: the link flips a bit of one film, every time."""
        self.link.start()
        if corrupted:
            self._fault = self.link.add(Rule(FlipByte(CORRUPTED_BYTE), key=f"*/{CORRUPTED_FILM}.tgz", times=None))
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
        """Remove the fault and restart the loader, which then retries the failed item."""
        if self._fault and self.process:
            self.link.rules.remove(self._fault)
            self._fault = None
            self.process.stop()
            self.process.start()

    def _environment(self) -> dict[str, str]:
        excluded = ("AWS_", "LOADER_", "DJANGO_")
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(excluded)},
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
    """A flying fleet. Call `advance` about every second; `say` is called with messages about the events.

    `speed` is a factor for links and events.
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
        self._reported = -1.0  # time of the last scripted reports, in seconds since the first start
        self._supervisor = supervisor
        self._say = say
        self._speed = speed
        self._has_caught_up = False

    def publish_first(self) -> None:
        """Publish the first campaign of each airline. Raises WorldError."""
        for airline in self._airlines:
            self._library.publish(self._cycles[airline][0], self._media)

    def advance(self, elapsed: float) -> None:
        """Run all events that are due after `elapsed` seconds. The first call catches up without messages."""
        due = [event for event in self._events if event.at <= elapsed * self._speed]
        self._events = self._events[len(due) :]
        repaired = {event.subject for event in due if event.kind == "repair"}
        for event in due:
            sentence = self._run_event(event, repaired)
            if self._has_caught_up and sentence:
                self._say(sentence)
        if not self._has_caught_up and elapsed > 0:
            self._reported = elapsed * self._speed  # the demo resumes: earlier reports are in the bucket
        self._report(elapsed * self._speed)
        self._has_caught_up = True

    def close(self) -> None:
        """Stop all links. The supervisor stops the loaders."""
        for tail in self._tails.values():
            if tail.process:
                tail.link.stop()

    def _report(self, until: float) -> None:
        """Write the reports of scripted tails. After an error they are written the next time."""
        first = [cycles[0] for cycles in self._cycles.values()]
        due = dict(scripted_tails.reports(first, self._reported, until, datetime.now(UTC)))
        with suppress(WorldError):
            for key, body in due.items():
                self._status.put(key, body)
            self._reported = until

    def _run_event(self, event: TimelineEvent, repaired: set[str]) -> str:
        if event.kind == "publish":
            return self._publish_next(event)
        tail = self._tails[event.subject]
        if event.kind == "start":
            tail.start(self._supervisor, corrupted=event.subject == CORRUPTED and event.subject not in repaired)
            return f"{event.subject} has joined the fleet late."
        if event.kind == "repair":
            tail.repair()
            return f"{event.subject}: link repaired and loader restarted. The failed item is retried."
        if event.kind == "offline":
            tail.link.offline()
            return f"{event.subject} is offline."
        tail.link.online()
        return f"{event.subject} is online again."

    def _publish_next(self, event: TimelineEvent) -> str:
        cycle = self._cycles[event.subject][1]
        try:
            self._library.publish(cycle, self._media)
        except WorldError as error:
            self._events.insert(0, replace(event, at=event.at + 10))
            return f"Publishing {cycle.title} failed: {error}. Retrying in 10 s."
        return f"Published: {cycle.title}."
