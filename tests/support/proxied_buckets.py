"""A world behind a wire, for the tests of faults: real buckets, which the portal reads over a link that can break.

Whoever writes objects does so without the link, so that it never disturbs them.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Mapping
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
from tests.support.polling_world import Written


@dataclass(frozen=True)
class Keys:
    """What the store lets in."""

    access_key: str
    secret_key: str


class Wire(Written[S3Bucket]):
    """`link` lies between the portal and the store whose buckets are `media` and `status`."""

    def __init__(self, media: S3Bucket, status: S3Bucket, link: FaultProxy, keys: Keys) -> None:
        self.media, self.status, self.link, self.keys = media, status, link, keys
        self.seen_media, self.seen_status = self.over_the_link(media), self.over_the_link(status)
        self.limits = Limits()
        self.ahead = timedelta()  # of the portal's clock

    def over_the_link(self, bucket: S3Bucket, read_timeout: float = 20.0) -> S3Bucket:
        """The bucket as the portal sees it; between two attempts it does not wait."""
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
        """Write many objects, several at once. By path, as whoever writes one says it."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda each: self.write(*each), bodies.items()))

    def poll(self) -> PollResult:
        """One poll of everything, over the link."""
        return poll_fleet(self.seen_media, self.seen_status, datetime.now(UTC) + self.ahead, limits=self.limits)

    def asked(self, path: str, method: str = "GET") -> list[RecordedRequest]:
        """Requests for what lies at `path`, as whoever writes it says, that came over the link."""
        return self.link.requests(method, f"*/ACME/{path}*")

    def breaks(
        self, fault: Fault, method: str = "GET", key: str = "", *, times: int | None = None, nth: int = 1
    ) -> Rule:
        """From now on this goes wrong with the status bucket, for ever unless told how many times."""
        return self.link.add(Rule(fault, method, f"{self.status.name}{key}", nth=nth, times=times))


@dataclass
class Rewritten(Fault):
    """The body is another: what `pattern` matches becomes `to`. `count` says how often it was found."""

    pattern: bytes
    to: bytes
    count: int = 0

    def head(self, head: Head) -> None:
        head.length = None

    async def body(self, chunks: Chunks, head: Head) -> Chunks:
        whole = b"".join([chunk async for chunk in chunks])
        changed, count = re.subn(self.pattern, self.to, whole)
        self.count += count
        yield changed


@dataclass
class Held(Fault):
    """The request waits until it is let go; the store has not seen it by then."""

    let_go: threading.Event = field(default_factory=threading.Event)

    async def answer(self) -> None:
        while not self.let_go.is_set():
            await asyncio.sleep(0.01)


def problems(bucket: str = "status") -> dict[str, str]:
    """Open anomalies: key to problem."""
    return dict(Anomaly.objects.filter(resolved_at=None, bucket=bucket).values_list("key", "problem"))


def picture() -> tuple[set[tuple[object, ...]], set[tuple[object, ...]]]:
    """What the rows say of all transfers and loads, whenever and in however many polls they were written."""
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


def picture_of_one_poll(wire: Wire) -> object:
    """The same after a single poll of an empty database."""
    Airline.objects.all().delete()
    wire.poll()
    return picture()
