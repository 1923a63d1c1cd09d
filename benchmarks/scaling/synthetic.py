"""Two simulated buckets behind the HTTP API of S3: a fleet of any size with fast listings.

`python -m benchmarks.scaling.synthetic '{"airlines": 200, ...}'` serves one on a port of the loopback interface, prints
the port, and ends with its input. `GET /-/<cycle>/<beats>` sets the number of reports of loading tails and of rounds of
heartbeats so far. ETags are real: the MD5 of what a GET returns. Touches only memory.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from loader.contract.heartbeat import Heartbeat, build_heartbeat
from loader.contract.manifest import Item, Manifest, build_manifest
from loader.contract.units import MIB

MEDIA: Final = "synthetic-media"
STATUS: Final = "synthetic-status"
CAMPAIGN: Final = "2026-12"
PAGE: Final = 1_000
SIZE: Final = 700_000_000
POSITIONS: Final = 600  # possible MiB of a loading item; below `SIZE`
EPOCH: Final = "2026-11-20T00:00:00.000Z"
Row = tuple[str, str, int, int]  # key, ETag, size in bytes, cycle in which it was written


class ObjectVersion(NamedTuple):
    """A body, and the cycle in which it was written."""

    body: bytes
    cycle: int


@dataclass(frozen=True)
class Synthetic:
    """`tails` and `items` of each airline. One tail in `moving` loads and reports in each cycle.

    One heartbeat in `beating` is new in each round. Names and values match those of `benchmarks.scaling.filling`.
    """

    airlines: int
    tails: int
    items: int
    moving: int
    beating: int

    def airline(self, number: int) -> str:
        """Return the name of an airline; the first is `SYN000`."""
        return f"SYN{number:03d}"

    @cached_property
    def tail_prefixes(self) -> list[str]:
        """Return the key prefix of each tail, without the airline."""
        return [f"N{number:05d}/" for number in range(self.tails)]

    def progress(self, tail: int, item: int, cycle: int) -> ObjectVersion:
        """Return an item's progress object. A loading tail has one item in progress; the items before it are complete,
        those after it are at 0.
        """
        size = SIZE + item
        if tail % self.moving:
            return ObjectVersion(b"%d" % size, 0)
        now = tail // self.moving % self.items
        if item == now:
            return ObjectVersion(b"%d" % (MIB * (1 + (tail + cycle) % POSITIONS)), cycle)
        return ObjectVersion(b"%d" % (size if item < now else 0), 0)

    def heartbeat(self, tail: int, beats: int) -> ObjectVersion:
        """Return a tail's loader.json."""
        count = (beats + tail % self.beating) // self.beating
        return ObjectVersion(_heartbeat(count), count)

    def loading(self, airline: str) -> list[str]:
        """Return the keys that are new in each cycle."""
        return [
            f"{airline}/{self.tail_prefixes[tail]}{CAMPAIGN}/item-{tail // self.moving % self.items:03d}.tgz.progress"
            for tail in range(0, self.tails, self.moving)
        ]

    def manifest(self, airline: int) -> bytes:
        """Return an airline's campaign.json."""
        content = tuple(Item(f"item-{number:03d}", SIZE + number) for number in range(self.items))
        return build_manifest(Manifest(content, airline=self.airline(airline), campaign=CAMPAIGN))

    def listed(self, below: str, cycle: int, beats: int) -> Iterator[Row]:
        """Return the status objects of any airline with this key prefix, without the airline."""
        names = [f"{CAMPAIGN}/item-{item:03d}.tgz.progress" for item in range(self.items)]
        for tail, prefix in enumerate(self.tail_prefixes):
            if not prefix.startswith(below):
                continue
            for item, name in enumerate(names):
                body, at = self.progress(tail, item, cycle)
                yield prefix + name, _md5(body), len(body), at
            body, at = self.heartbeat(tail, beats)
            yield f"{prefix}loader.json", _md5(body), len(body), at


@cache
def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


@cache
def _heartbeat(count: int) -> bytes:
    return build_heartbeat(Heartbeat(loader="synthetic", state="idle", rate_bps=count))


def cycle_time(cycle: int) -> str:
    """Return the modification time of objects written in a cycle: two seconds per cycle."""
    hours, seconds = divmod(cycle * 2, 3600)
    return EPOCH if not cycle else f"2026-11-20T{hours:02d}:{seconds // 60:02d}:{seconds % 60:02d}.000Z"


class Server(ThreadingHTTPServer):
    """Serves one fleet. Listings are built once per cycle, for all airlines together."""

    daemon_threads = True

    def __init__(self, fleet: Synthetic) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.fleet = fleet
        self.moment = (0, 0)
        self._made: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    def entries(self, below: str) -> list[str]:
        """Return the entries of a listing without the airline, which all airlines share."""
        with self._lock:
            if below not in self._made:
                self._made[below] = [_entry(row) for row in self.fleet.listed(below, *self.moment)]
            return self._made[below]

    def move(self, cycle: int, beats: int) -> None:
        """Move to another cycle."""
        with self._lock:
            self.moment, self._made = (cycle, beats), {}


def _entry(row: Row) -> str:
    key, etag, size, cycle = row
    return (
        f"{key}</Key><LastModified>{cycle_time(cycle)}</LastModified><ETag>&quot;{etag}&quot;</ETag>"
        f"<Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


class Handler(BaseHTTPRequestHandler):
    """Answers LIST and GET, without authentication."""

    server: Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet per response

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        if bucket == "-":
            self.server.move(*(int(number) for number in key.split("/")))
            self._answer(b"")
        elif not key:
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            self._answer(self._listing(bucket, query).encode())
        else:
            self._object(bucket, key)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def _listing(self, bucket: str, query: dict[str, str]) -> str:
        fleet, prefix = self.server.fleet, query.get("prefix", "")
        airline, _, below = prefix.partition("/")
        if "delimiter" in query:
            names = fleet.tail_prefixes if prefix else [f"{fleet.airline(number)}/" for number in range(fleet.airlines)]
            return _page([f"<CommonPrefixes><Prefix>{prefix}{name}</Prefix></CommonPrefixes>" for name in names], query)
        head = f"<Contents><Key>{airline}/"
        if bucket == MEDIA:
            body = fleet.manifest(int(airline[3:]))
            return _page([head + _entry((f"{CAMPAIGN}/campaign.json", _md5(body), len(body), 0))], query)
        return _page(self.server.entries(below), query, head)

    def _object(self, bucket: str, key: str) -> None:
        airline, _, below = key.partition("/")
        fleet, (cycle, beats) = self.server.fleet, self.server.moment
        if bucket == MEDIA:
            self._answer(fleet.manifest(int(airline[3:])), 0)
            return
        tail = int(below[1:6])
        if below.endswith("/loader.json"):
            self._answer(*fleet.heartbeat(tail, beats))
        else:
            self._answer(*fleet.progress(tail, int(below.rpartition("/item-")[2][:3]), cycle))

    def _answer(self, body: bytes, cycle: int = 0) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{_md5(body)}"')
        self.send_header("Last-Modified", f"{datetime.fromisoformat(cycle_time(cycle)):%a, %d %b %Y %H:%M:%S} GMT")
        self.end_headers()
        self.wfile.write(body)


def _page(entries: list[str], query: dict[str, str], head: str = "") -> str:
    """Return the requested page; every entry starts with `head`."""
    start = int(query.get("continuation-token", "0"))
    found = entries[start : start + PAGE]
    more = start + PAGE < len(entries)
    token = f"<NextContinuationToken>{start + PAGE}</NextContinuationToken>" if more else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{token}"
        f"{head}{head.join(found)}</ListBucketResult>"
        if found
        else "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
    )


def main() -> None:
    """Serve the fleet of the first argument until the input ends; print the port."""
    server = Server(Synthetic(**json.loads(sys.argv[1])))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
