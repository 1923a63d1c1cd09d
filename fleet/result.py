"""What a poll did, in figures; and the meter that takes them."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields, replace

from loader.s3.interface import Bucket


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Requests sent to the buckets, bytes of their responses, and the seconds over which they were counted."""

    list_requests: int = 0
    get_requests: int = 0
    put_requests: int = 0
    delete_requests: int = 0
    bytes_received: int = 0
    seconds: float = 0.0

    def __add__(self, other: RequestCounts) -> RequestCounts:
        return RequestCounts(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(RequestCounts)))


@dataclass(frozen=True, slots=True)
class PollResult(RequestCounts):
    """Requests sent, objects listed, objects new or gone, transfers written, anomalies open, seconds.

    `bytes_received` are those of the answers, `news` counts transfers, loads and campaigns that are not what they were
    (heartbeats are no news), `listings` those that were read, `cut` those of them that had more keys than are read,
    `unfinished` those for which there was no time, `failures` are sentences. Two results add up; bare counts of
    requests can be added too.
    """

    objects_seen: int = 0
    objects_changed: int = 0
    transfers_changed: int = 0
    anomalies: int = 0
    news: int = 0
    listings: int = 0
    cut: int = 0
    unfinished: int = 0
    failures: tuple[str, ...] = ()

    def __add__(self, other: RequestCounts) -> PollResult:
        more = {each.name: getattr(other, each.name) for each in fields(other)}
        return replace(self, **{name: getattr(self, name) + value for name, value in more.items()})

    def figures(self) -> dict[str, int | float]:
        """What the contract promises of it, ready for JSON."""
        return {
            "list_requests": self.list_requests,
            "get_requests": self.get_requests,
            "objects_seen": self.objects_seen,
            "objects_changed": self.objects_changed,
            "transfers_changed": self.transfers_changed,
            "anomalies": self.anomalies,
            "seconds": round(self.seconds, 3),
        }


class Meter:
    """Requests sent to some buckets, the bytes of their answers, and time, since it was made."""

    def __init__(self, *buckets: Bucket) -> None:
        self._buckets = buckets
        self._before = self._sent()
        self._started = time.monotonic()

    def read(self) -> RequestCounts:
        """The counts so far."""
        lists, gets, puts, deletes, received = (
            now - before for now, before in zip(self._sent(), self._before, strict=True)
        )
        return RequestCounts(
            list_requests=lists,
            get_requests=gets,
            put_requests=puts,
            delete_requests=deletes,
            bytes_received=received,
            seconds=time.monotonic() - self._started,
        )

    def _sent(self) -> list[int]:
        names = ("list", "get", "put", "delete", "received")
        return [sum(getattr(each.requests, name) for each in self._buckets) for name in names]
