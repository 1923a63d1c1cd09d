"""Helpers for the tests of archiving: a load that ended long ago, and what remains of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from fleet.archive.archiver import ArchiveOutcome, archive_due
from fleet.archive.format import archive_key
from fleet.models import Load, ProgressSample, Transfer
from ifeportal.models import Airline
from loader.errors import Code, WorldError
from loader.s3.interface import Bucket
from tests.support.polling_world import MIB, PollingWorld, load

KEY = archive_key("ACME", "N1", "2026-12")
SIZES = {"a": 3 * MIB, "b": 5 * MIB, "c": 0}
SHOWN = ("archived_at", "sweeping")  # fields that archiving changes


def finished(world: PollingWorld, tail: str = "N1", campaign: str = "2026-12") -> None:
    """Create a load with a history: two items that advanced in steps, one after an error; it ended 40 days ago."""
    world.manifest(campaign, items=SIZES)
    world.write(f"{tail}/loader.json", b"{}")
    for done in (0, MIB, 3 * MIB):
        world.progress(f"{tail}/{campaign}/a", done)
        world.progress(f"{tail}/{campaign}/b", done)
        world.progress(f"{tail}/{campaign}/c", 0)
        world.error(f"{tail}/{campaign}/b", "TIMEOUT: wait")
        world.poll()
        world.later(600)
    world.progress(f"{tail}/{campaign}/b", 5 * MIB)
    world.poll()
    world.later(40 * 86_400)
    world.poll()


def archive(world: PollingWorld, bucket: Any = None, days: int | None = 30) -> list[ArchiveOutcome]:
    airline = Airline.objects.get(name="ACME")
    return list(archive_due(airline, bucket or world.status, world.clock, days))


def load_facts(tail: str = "N1", campaign: str = "2026-12") -> dict[str, Any]:
    """Return all facts of the load except whether it is archived."""
    row = load(tail, campaign)
    fields = Load.objects.filter(pk=row.pk).values().get()
    return {
        "load": {name: value for name, value in fields.items() if name not in SHOWN},
        "transfers": list(Transfer.objects.filter(load=row).order_by("content").values()),
        "samples": list(ProgressSample.objects.filter(load=row).order_by("at").values("at", "bytes_done")),
    }


def own_object_keys(world: PollingWorld, tail: str = "N1", campaign: str = "2026-12") -> list[str]:
    """Return the remaining keys of the load's own objects."""
    return sorted(info.key for info in world.status.list(f"ACME/{tail}/{campaign}/"))


def is_archived(tail: str = "N1", campaign: str = "2026-12") -> bool:
    return load(tail, campaign).archived_at is not None


class FailingBucket:
    """A bucket that raises from call number `at` on, whatever the method."""

    def __init__(self, bucket: Bucket, at: int, error: Exception | None = None) -> None:
        self._bucket, self._at = bucket, at
        self._error = error or WorldError(Code.TIMEOUT, "the store is unavailable")
        self._calls = itertools.count(1)  # safe for several threads
        self.fired = False
        self.name, self.requests, self.store_clock = bucket.name, bucket.requests, bucket.store_clock

    def fire(self) -> None:
        """Raise in place of the call."""
        self.fired = True
        raise self._error

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            if next(self._calls) >= self._at:
                self.fire()
            return getattr(self._bucket, name)(*args, **more)

        return call


class OverriddenBucket:
    """A bucket with some methods replaced."""

    def __init__(self, bucket: Bucket, **methods: Callable[..., Any]) -> None:
        self._bucket, self._methods = bucket, methods
        self.name, self.requests = bucket.name, bucket.requests

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._bucket, name)
