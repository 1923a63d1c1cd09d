"""Two buckets in memory with a manual clock, for the tests of polling, and short methods to write objects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from django.db.models import Model

from campaigns.models import Campaign
from fleet.models import Anomaly, Load, ProgressSample, Tail, Transfer
from fleet.polling.result import PollResult
from fleet.reconcile.limits import Limits
from ifeportal.live.models import Change
from ifeportal.models import Airline
from loader.s3.interface import Bucket
from loader.s3.memory import MemoryBucket
from tests.support.poll_fleet import poll_fleet

MIB = 1_048_576
B = TypeVar("B", bound=Bucket)


class BucketWriter(Generic[B]):
    """Two buckets and short methods to write objects to them."""

    media: B
    status: B

    def manifest(
        self, campaign: str = "2026-12", airline: str = "ACME", items: Mapping[str, int] | None = None, **more: object
    ) -> None:
        content = [{"name": name, "size": size} for name, size in (items or {}).items()]
        self.media.put(f"{airline}/{campaign}/campaign.json", json.dumps({"content": content, **more}).encode())

    def progress(self, path: str, value: int | bytes) -> None:
        """Write a progress object. `path` is tail/campaign/content with an optional airline in front, or ACME."""
        self.write(f"{path}.tgz.progress", value if isinstance(value, bytes) else b"%d" % value)

    def error(self, path: str, text: str | bytes) -> None:
        self.write(f"{path}.tgz.error", text if isinstance(text, bytes) else text.encode())

    def write(self, path: str, body: bytes) -> None:
        self.status.put(_key(path), body)

    def remove(self, path: str) -> None:
        self.status.delete(_key(path))


class PollingWorld(BucketWriter[MemoryBucket]):
    """Two buckets and a portal that polls on request. `clock` is that of both."""

    def __init__(self) -> None:
        self.clock = datetime(2026, 12, 1, 12, 0, 0, tzinfo=UTC)
        self.media = MemoryBucket("media", clock=lambda: self.clock)
        self.status = MemoryBucket("status", clock=lambda: self.clock)
        self.limits = Limits()

    def later(self, seconds: float = 2.0) -> None:
        self.clock += timedelta(seconds=seconds)

    def poll(self) -> PollResult:
        return poll_fleet(self.media, self.status, self.clock, limits=self.limits)


def _key(path: str) -> str:
    return path if path.count("/") > 2 or path.startswith("/") else f"ACME/{path}"


def transfer(content: str, tail: str = "N1", campaign: str = "2026-12", airline: str = "ACME") -> Transfer:
    return Transfer.objects.select_related("load__tail__airline", "load__campaign").get(
        load__tail__airline__name=airline, load__tail__name=tail, load__campaign__name=campaign, content=content
    )


def load(tail: str = "N1", campaign: str = "2026-12", airline: str = "ACME") -> Load:
    return Load.objects.select_related("tail__airline", "campaign").get(
        tail__airline__name=airline, tail__name=tail, campaign__name=campaign
    )


def tail(name: str = "N1", airline: str = "ACME") -> Tail:
    return Tail.objects.get(name=name, airline__name=airline)


def rows() -> dict[str, list[Any]]:
    """Return every row that polling writes."""
    models: tuple[type[Model], ...] = (Airline, Campaign, Tail, Load, Transfer, ProgressSample, Anomaly, Change)
    return {model.__name__: list(model._default_manager.order_by("pk").values()) for model in models}
