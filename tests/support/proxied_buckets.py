"""Real buckets that the portal reads through a fault-injecting proxy.

Objects are written without the proxy, so that faults never affect the writer.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from fleet.models import Anomaly, Load, Transfer
from fleet.polling.result import PollResult
from fleet.reconcile.limits import Limits
from fleet.simulation.faults import Chunks, Fault, Head, Rule
from fleet.simulation.proxy import FaultProxy, RecordedRequest
from ifeportal.models import Airline
from loader.s3.client import S3Bucket
from tests.support.poll_fleet import poll_fleet
from tests.support.polling_world import BucketWriter


@dataclass(frozen=True)
class StoreCredentials:
    """Credentials of the store."""

    access_key: str
    secret_key: str


class ProxiedBuckets(BucketWriter[S3Bucket]):
    """Two buckets; `link` is the proxy between the portal and their store."""

    def __init__(self, media: S3Bucket, status: S3Bucket, link: FaultProxy, keys: StoreCredentials) -> None:
        self.media, self.status, self.link, self.keys = media, status, link, keys
        self.proxied_media, self.proxied_status = self.through_proxy(media), self.through_proxy(status)
        self.limits = Limits()
        self.ahead = timedelta()  # offset of the portal's clock

    def through_proxy(self, bucket: S3Bucket, read_timeout: float = 20.0) -> S3Bucket:
        """Return the bucket as the portal sees it, without pauses between attempts."""
        return S3Bucket(
            bucket.name,
            endpoint=self.link.endpoint,
            region=bucket.region,
            access_key=self.keys.access_key,
            secret_key=self.keys.secret_key,
            read_timeout=read_timeout,
            sleep=lambda _: None,
        )

    def write_all(self, bodies: Mapping[str, bytes]) -> None:
        """Write many objects, several at once. Keys as in `write`."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda each: self.write(*each), bodies.items()))

    def poll(self) -> PollResult:
        """Poll everything once, through the proxy."""
        return poll_fleet(self.proxied_media, self.proxied_status, datetime.now(UTC) + self.ahead, limits=self.limits)

    def asked(self, path: str, method: str = "GET") -> list[RecordedRequest]:
        """Return the requests for a path (as in `write`) that passed the proxy."""
        return self.link.requests(method, f"*/ACME/{path}*")

    def breaks(
        self, fault: Fault, method: str = "GET", key: str = "", *, times: int | None = None, nth: int = 1
    ) -> Rule:
        """Add a fault to the status bucket, permanently unless `times` is given."""
        return self.link.add(Rule(fault, method, f"{self.status.name}{key}", nth=nth, times=times))


@dataclass
class RewrittenBody(Fault):
    """Replaces `pattern` by `to` in the body. `count` is the number of replacements."""

    pattern: bytes
    to: bytes | Callable[[re.Match[bytes]], bytes]
    count: int = 0

    def head(self, head: Head) -> None:
        head.length = None

    async def body(self, chunks: Chunks, head: Head) -> Chunks:
        whole = b"".join([chunk async for chunk in chunks])
        changed, count = re.subn(self.pattern, self.to, whole)
        self.count += count
        yield changed


@dataclass
class HeldRequest(Fault):
    """Delays the request until it is released; the store has not received it by then."""

    release: threading.Event = field(default_factory=threading.Event)

    async def answer(self) -> None:
        while not self.release.is_set():
            await asyncio.sleep(0.01)


def open_problems(bucket: str = "status") -> dict[str, str]:
    """Return the open anomalies: key to problem."""
    return dict(Anomaly.objects.filter(resolved_at=None, bucket=bucket).values_list("key", "problem"))


def row_snapshot() -> tuple[set[tuple[object, ...]], set[tuple[object, ...]]]:
    """Return the values of all transfers and loads that do not depend on the number of polls."""
    place = ("load__tail__airline__name", "load__tail__name", "load__campaign__name", "content")
    said = (
        "status",
        "bytes_done",
        "bytes_total",
        "error",
        "error_code",
        "listed",
        "stalled",
        "progress_at",
        "error_at",
    )
    sums = ("status", "stalled", "bytes_done", "bytes_total", "items_done", "items_failed", "items_total", "as_of")
    return (
        set(Transfer.objects.values_list(*place, *said)),
        set(Load.objects.values_list("tail__airline__name", "tail__name", "campaign__name", *sums)),
    )


def snapshot_of_one_poll(proxied: ProxiedBuckets) -> object:
    """Return the same after a single poll of an empty database."""
    Airline.objects.all().delete()
    proxied.poll()
    return row_snapshot()
