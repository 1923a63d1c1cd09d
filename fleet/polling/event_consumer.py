"""Event consumer: reads S3 events from the SQS queue and the named objects into the database, without a listing.

An event only means that an object may have changed. Each named object is fetched once per batch and then handled as in
a poll, so events may come late, twice, out of order or not at all: the current content of the object is written, and
the next listing finds objects without an event. A message is deleted once its objects are written, or if it names no
report. A consumer that is stopped in between receives it again and ends in the same rows.

Invalid names are left to the listing, which alone sees a complete prefix and can resolve anomalies.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from fleet import usage
from fleet.polling.discovery import find_airline
from fleet.polling.poller import PollOptions, poll_objects
from fleet.polling.result import PollResult, failure_message
from fleet.polling.s3_events import BadNotification, parse_notification
from fleet.usage import RequestMeter
from ifeportal.models import Airline, Job
from loader.contract.keys import parse_status_key
from loader.errors import ContractError, WorldError
from loader.s3.interface import Bucket
from loader.s3.sqs import MAX_WAIT, Message, Queue

SLICE: Final = 20.0  # seconds; then the worker takes another job
MESSAGES_A_BATCH: Final = 500
KEYS_A_BATCH: Final = 2_000  # fetched and written before their messages are deleted: bounds the memory in use
UNKNOWN_AIRLINES_A_BATCH: Final = 20  # of airlines without a row; the rest is left to discovery
MAXIMUM_ATTEMPTS: Final = 10  # then a message that could not be written is deleted and left to the listing
# How long no event may have been read, and how late events may be compared with a listing that found changes.
FLOW_WINDOW: Final = timedelta(minutes=1)
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class ConsumeResult:
    """The result of a slice: messages received, those of them that could not be read, keys fetched, poll figures."""

    messages: int = 0
    unreadable: int = 0
    keys: int = 0
    result: PollResult = field(default_factory=PollResult)


def consume_events(
    queue: Queue,
    media: Bucket,
    status: Bucket,
    clock: Callable[[], datetime],
    options: PollOptions | None = None,
    *,
    seconds: float = SLICE,
    wait: int = MAX_WAIT,
) -> ConsumeResult:
    """Write the named objects until no event came for `wait` seconds, something failed, or `seconds` are over.

    `clock` is the portal's. A failure of the queue or of the bucket is in the result. Raises the errors of django.db if
    the database is unavailable.
    """
    event_slice = _Slice(queue, media, status, clock, options or PollOptions(), time.monotonic() + seconds)
    try:
        while event_slice.step(wait):
            pass
    except WorldError as error:
        event_slice.failed(f"event queue: {error.code}: {error}")
    return event_slice.consumed


def events_are_flowing(job: str, found_at: datetime | None, now: datetime) -> bool:
    """Return whether changes arrive as events, so that listings need only be the safety net.

    `job` consumes them; `found_at` is when a listing last found changes. If listings find what no event named, events
    get lost somewhere, although the queue can be read.
    """
    row = Job.objects.filter(name=job, failures=0, succeeded_at__gt=now - FLOW_WINDOW).first()
    if row is None:
        return False
    return found_at is None or (row.found_at is not None and row.found_at > found_at - FLOW_WINDOW)


@dataclass(slots=True)
class _MessageBatch:
    """Messages that are written together.

    `messages` come with the airlines they name, `keys` are those of all messages by airline. `unreadable` has the
    reason for each message that could not be read.
    """

    messages: list[tuple[Message, frozenset[str]]] = field(default_factory=list)
    keys: dict[str, set[str]] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, message: Message, bucket: str) -> None:
        """Add a message, with the keys it names in `bucket`."""
        named = self._named(message, bucket)
        self.messages.append((message, frozenset(airline for airline, _ in named)))
        for airline, key in named:
            self.keys.setdefault(airline, set()).add(key)
        self.count += len(named)

    def _named(self, message: Message, bucket: str) -> list[tuple[str, str]]:
        """Return airline and key of each report the message names."""
        if message.receive_count > MAXIMUM_ATTEMPTS:
            self.unreadable.append(f"received {message.receive_count} times without being written")
            return []
        try:
            return [(airline, key) for key in parse_notification(message.body, bucket) if (airline := _airline_of(key))]
        except BadNotification as error:
            self.unreadable.append(str(error))
            return []


def _batches(messages: Iterable[Message], bucket: str) -> Iterator[_MessageBatch]:
    """Yield the messages in batches of at least `KEYS_A_BATCH` keys, except for the last."""
    batch = _MessageBatch()
    for message in messages:
        batch.add(message, bucket)
        if batch.count >= KEYS_A_BATCH:
            yield batch
            batch = _MessageBatch()
    if batch.messages:
        yield batch


def _airline_of(key: str) -> str | None:
    """Return the airline of a report; None if the key is no report, or breaks the rules of names."""
    try:
        place = parse_status_key(key)
    except ContractError:
        return None
    return None if place is None else place.airline


@dataclass(slots=True)
class _Slice:
    """The state shared by the steps of a slice."""

    queue: Queue
    media: Bucket
    status: Bucket
    clock: Callable[[], datetime]
    options: PollOptions
    ends: float
    consumed: ConsumeResult = field(default_factory=ConsumeResult)

    def failed(self, sentence: str) -> None:
        self.consumed.result += PollResult(failures=(sentence,))

    def step(self, wait: int) -> bool:
        """Write what can be received now, or within `wait` seconds; return whether to continue."""
        self.options.lease.heartbeat()
        messages = self.queue.receive(MESSAGES_A_BATCH, wait)
        for batch in _batches(messages, self.status.name):
            self.write(batch)
            if self.consumed.result.failures or time.monotonic() >= self.ends:
                return False
        return bool(messages)

    def write(self, batch: _MessageBatch) -> None:
        """Write the objects the batch names, then delete its messages, except those of airlines that failed."""
        self.consumed.messages += len(batch.messages)
        self.consumed.unreadable += len(batch.unreadable)
        if batch.unreadable:
            logger.warning(
                "ignored %d events, which the next listing covers; the first: %s",
                len(batch.unreadable),
                batch.unreadable[0],
            )
        rows = {row.name: row for row in Airline.objects.filter(name__in=batch.keys)}
        unknown = sorted(batch.keys.keys() - rows.keys())[:UNKNOWN_AIRLINES_A_BATCH]
        failed_airlines = {name for name in unknown if not self._find(name, rows)}
        failed_airlines |= {name for name, row in rows.items() if not self._poll(row, batch.keys[name])}
        self.queue.delete([message for message, airlines in batch.messages if airlines.isdisjoint(failed_airlines)])

    def _find(self, name: str, rows: dict[str, Airline]) -> bool:
        """Add the row of an airline that had none, if it may have one. False if the buckets could not be listed."""
        self.options.lease.heartbeat()
        meter = RequestMeter(self.media, self.status)
        try:
            row = find_airline(name, self.media, self.status)
        except WorldError as error:
            self.failed(failure_message("status", error))
            return False
        finally:
            usage.record(None, meter.read())
        if row is not None:
            rows[name] = row
        return True

    def _poll(self, row: Airline, keys: Collection[str]) -> bool:
        """Write the current content of these objects. False if some failed, or there was no time."""
        self.options.lease.heartbeat()
        result = poll_objects(row, keys, self.status, self.clock(), self.options)
        usage.record(row.pk, result)
        self.consumed.keys += len(keys)
        self.consumed.result += result
        return not (result.failures or result.unfinished)
