"""Events of the status bucket as S3 writes them, and a queue in memory that delivers on request."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from urllib.parse import quote_plus

from fleet.models import Anomaly, Load, Tail, Transfer
from fleet.polling.event_consumer import ConsumeResult, consume_events
from fleet.polling.poller import PollOptions
from loader.s3.interface import Bucket
from loader.s3.sqs import Message, Queue
from tests.support.polling_world import PollingWorld

OWN = ("id", "primary_load_id", "load_id", "tail_id", "campaign_id", "airline_id", "resolved_at", "keys", "created_at")


def event_record(key: str, bucket: str = "status", name: str = "ObjectCreated:Put") -> dict[str, Any]:
    """Return one event as S3 writes it."""
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "eu-central-1",
        "eventTime": "2026-12-01T12:00:00.000Z",
        "eventName": name,
        "userIdentity": {"principalId": "AWS:AIDA"},
        "requestParameters": {"sourceIPAddress": "192.0.2.1"},
        "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "status",
            "bucket": {
                "name": bucket,
                "ownerIdentity": {"principalId": "A3NL1KOZZKExample"},
                "arn": f"arn:aws:s3:::{bucket}",
            },
            "object": {
                "key": quote_plus(key, safe="/"),
                "size": 7,
                "eTag": "d41d8cd98f00b204e9800998ecf8427e",
                "sequencer": "0055AED6DCD90281E5",
            },
        },
    }


def event_message(*keys: str, bucket: str = "status", name: str = "ObjectCreated:Put") -> str:
    """Return a message about these keys."""
    return json.dumps({"Records": [event_record(key, bucket, name) for key in keys]})


class MemoryQueue:
    """A queue that delivers each message until it is deleted, in the order of arrival."""

    def __init__(self, bodies: Iterable[str] = ()) -> None:
        self._numbers = 0
        self.messages: dict[str, Message] = {}
        self.received: set[str] = set()
        for body in bodies:
            self.put(body)

    def put(self, body: str, received: int = 0) -> None:
        self._numbers += 1
        receipt = str(self._numbers)
        self.messages[receipt] = Message(body, receipt, received)

    def redeliver(self) -> None:
        """Make messages that were received and not deleted visible again."""
        self.received.clear()

    def receive(self, limit: int, wait: int = 0) -> list[Message]:
        found = []
        for receipt in [each for each in self.messages if each not in self.received][:limit]:
            old = self.messages[receipt]
            found.append(Message(old.body, receipt, old.receive_count + 1))
            self.messages[receipt] = found[-1]
            self.received.add(receipt)
        return found

    def delete(self, messages: Iterable[Message]) -> None:
        for each in messages:
            self.messages.pop(each.receipt_handle, None)


class PushedWorld(PollingWorld):
    """A world whose status bucket sends an event for each change, like S3."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = MemoryQueue()

    def write(self, path: str, body: bytes) -> None:
        super().write(path, body)
        self.queue.put(event_message(_key(path)))

    def remove(self, path: str) -> None:
        super().remove(path)
        self.queue.put(event_message(_key(path), name="ObjectRemoved:Delete"))

    def take(self) -> ConsumeResult:
        """Consume all messages in one slice."""
        return consume_all(self.queue, self.media, self.status, self.clock, PollOptions(self.limits))


def consume_all(
    queue: Queue, media: Bucket, status: Bucket, now: datetime, terms: PollOptions | None = None
) -> ConsumeResult:
    """Consume events until the queue is empty, on machines of any speed."""
    return consume_events(queue, media, status, lambda: now, terms, seconds=3600, wait=0)


def _key(path: str) -> str:
    return path if path.count("/") > 2 or path.startswith("/") else f"ACME/{path}"


def row_facts() -> dict[str, dict[tuple[str, ...], dict[str, Any]]]:
    """Return the values of every row, by names instead of ids."""
    return {
        "tails": {
            (row.airline.name, row.name): _values(row) | {"primary load": _campaign_name(row.primary_load)}
            for row in Tail.objects.select_related("airline", "primary_load__campaign")
        },
        "loads": {
            (row.tail.name, row.campaign.name): _values(row) for row in Load.objects.select_related("tail", "campaign")
        },
        "transfers": {
            (row.load.tail.name, row.load.campaign.name, row.content): _values(row)
            for row in Transfer.objects.select_related("load__tail", "load__campaign")
        },
        "anomalies": {(row.key, row.problem): _values(row) for row in Anomaly.objects.filter(resolved_at=None)},
    }


def _campaign_name(load: Load | None) -> str:
    return load.campaign.name if load else ""


def _values(row: Any) -> dict[str, Any]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.fields if field.attname not in OWN}
