"""Event consumer: reads S3 events from the SQS queue and the named objects into the database, without a listing.

An event only says that an object may be another now. Each object named is fetched, once a batch, and goes the way of
polling from there, so it does not matter whether events come late, twice, out of order or not at all: what the object
says now is what is written, and what no event named the next listing finds. A message is deleted when its keys are
written, or are nothing to us; whoever is stopped in between gets it again and ends in the same rows.

What breaks the rules of names is left to the listing, which alone sees a whole prefix and keeps the anomalies.
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

SLICE: Final = 20.0  # seconds; then other work gets its turn
MESSAGES_A_BATCH: Final = 500
KEYS_A_BATCH: Final = 2_000  # fetched and written before their messages are deleted: bounds what waits in memory
UNKNOWN_AIRLINES_A_BATCH: Final = 20  # airlines without a row that are looked for; the rest is left to the discovery
MAXIMUM_ATTEMPTS: Final = 10  # after which a message that could never be written is left to the listing
FLOW_WINDOW: Final = timedelta(
    minutes=1
)  # how long events may be silent, or late against a listing that found something
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class ConsumeResult:
    """What a slice did: messages received, those among them that said nothing, keys fetched, and the polls' figures."""

    messages: int = 0
    unreadable: int = 0
    keys: int = 0
    result: PollResult = field(default_factory=PollResult)


def consume_events(
    queue: Queue,
    media: Bucket,
    status: Bucket,
    clock: Callable[[], datetime],
    terms: PollOptions | None = None,
    *,
    seconds: float = SLICE,
    wait: int = MAX_WAIT,
) -> ConsumeResult:
    """Write what events tell until none came for `wait` seconds, something failed, or `seconds` are over.

    `clock` is the portal's. A failure of the queue or of the bucket stands in the result. Raises the errors of
    django.db if the database is away.
    """
    work = _Slice(queue, media, status, clock, terms or PollOptions(), time.monotonic() + seconds)
    try:
        while work.step(wait):
            pass
    except WorldError as error:
        work.failed(f"queue of events: {error.code}: {error}")
    return work.consumed


def events_are_flowing(job: str, found_at: datetime | None, now: datetime) -> bool:
    """Whether changes come by event, so that listings need only be the safety net.

    `job` is the one that takes them; `found_at`, when a listing last found news. If listings find what no event told
    of, the events go astray somewhere, however well the queue can be read.
    """
    row = Job.objects.filter(name=job, failures=0, succeeded_at__gt=now - FLOW_WINDOW).first()
    if row is None:
        return False
    return found_at is None or (row.found_at is not None and row.found_at > found_at - FLOW_WINDOW)


@dataclass(slots=True)
class _MessageBatch:
    """Messages that are written together.

    `messages` have the airlines they are about, `keys` are those of all of them by airline; `unreadable` says of each
    message that names nothing why.
    """

    messages: list[tuple[Message, frozenset[str]]] = field(default_factory=list)
    keys: dict[str, set[str]] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, message: Message, bucket: str) -> None:
        """Put in a message, with what it names in `bucket`."""
        named = self._named(message, bucket)
        self.messages.append((message, frozenset(airline for airline, _ in named)))
        for airline, key in named:
            self.keys.setdefault(airline, set()).add(key)
        self.count += len(named)

    def _named(self, message: Message, bucket: str) -> list[tuple[str, str]]:
        """Airline and key of each report the message names."""
        if message.receive_count > MAXIMUM_ATTEMPTS:
            self.unreadable.append(f"it came {message.receive_count} times and could never be written")
            return []
        try:
            return [(airline, key) for key in parse_notification(message.body, bucket) if (airline := _airline_of(key))]
        except BadNotification as error:
            self.unreadable.append(str(error))
            return []


def _batches(messages: Iterable[Message], bucket: str) -> Iterator[_MessageBatch]:
    """The messages in batches of at least `KEYS_A_BATCH` keys, but the last."""
    batch = _MessageBatch()
    for message in messages:
        batch.add(message, bucket)
        if batch.count >= KEYS_A_BATCH:
            yield batch
            batch = _MessageBatch()
    if batch.messages:
        yield batch


def _airline_of(key: str) -> str | None:
    """Whose report the key is; None for what is no report, or breaks the rules of names."""
    try:
        place = parse_status_key(key)
    except ContractError:
        return None
    return None if place is None else place.airline


@dataclass(slots=True)
class _Slice:
    """What the steps of a slice share."""

    queue: Queue
    media: Bucket
    status: Bucket
    clock: Callable[[], datetime]
    terms: PollOptions
    ends: float
    consumed: ConsumeResult = field(default_factory=ConsumeResult)

    def failed(self, sentence: str) -> None:
        self.consumed.result += PollResult(failures=(sentence,))

    def step(self, wait: int) -> bool:
        """Write what can be received now, or comes within `wait` seconds; whether to go on."""
        self.terms.lease.heartbeat()
        messages = self.queue.receive(MESSAGES_A_BATCH, wait)
        for batch in _batches(messages, self.status.name):
            self.write(batch)
            if self.consumed.result.failures or time.monotonic() >= self.ends:
                return False
        return bool(messages)

    def write(self, batch: _MessageBatch) -> None:
        """Write what the batch names, then delete its messages but those about an airline that failed."""
        self.consumed.messages += len(batch.messages)
        self.consumed.unreadable += len(batch.unreadable)
        if batch.unreadable:
            logger.warning(
                "%d events are left to the listing, the first: %s", len(batch.unreadable), batch.unreadable[0]
            )
        rows = {row.name: row for row in Airline.objects.filter(name__in=batch.keys)}
        strangers = sorted(batch.keys.keys() - rows.keys())[:UNKNOWN_AIRLINES_A_BATCH]
        missed = {name for name in strangers if not self._find(name, rows)}
        missed |= {name for name, row in rows.items() if not self._poll(row, batch.keys[name])}
        self.queue.delete([message for message, airlines in batch.messages if airlines.isdisjoint(missed)])

    def _find(self, name: str, rows: dict[str, Airline]) -> bool:
        """Put in the row of an airline that had none, if it may have one. False if the buckets could not be asked."""
        self.terms.lease.heartbeat()
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
        """Write what these objects say now. False if that could not be done for some, or there was no time."""
        self.terms.lease.heartbeat()
        result = poll_objects(row, keys, self.status, self.clock(), self.terms)
        usage.record(row.pk, result)
        self.consumed.keys += len(keys)
        self.consumed.result += result
        return not (result.failures or result.unfinished)
