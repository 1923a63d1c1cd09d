"""SQS client: receive and delete the messages of one queue. The only module that uses SQS.

Messages are untrusted text and are not interpreted here. Every failure is raised as `WorldError`, chained, without a
secret in its text. A message that is received and not deleted is delivered again, so a lost answer costs a repetition.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from loader.errors import Code, WorldError

MAX_WAIT: Final = 6  # seconds for a message to come; with TIMEOUT short of a lease, even of one not renewed just now
TIMEOUT: Final = 2  # seconds without a byte, beyond the wait that was asked for
VISIBILITY_TIMEOUT: Final = (
    120  # seconds in which a received message comes to nobody else: longer than a batch takes to be written
)
MESSAGES_PER_REQUEST: Final = 10  # messages, at most; SQS's own limit
MAX_CONCURRENT_REQUESTS: Final = 8  # requests
MAX_RECEIVED_CHARACTERS: Final = (
    8 * 1_048_576
)  # characters received, after which no more is asked for: bounds what waits in memory
_REGION: Final = re.compile(r"(?:^|\.)([a-z]+(?:-[a-z]+)+-[0-9]+)\.(?:.+\.)?(?:amazonaws\.com(?:\.cn)?|api\.aws)$")
# What SQS or botocore calls it, by our codes.
_ERROR_NAMES: Final = {
    Code.FORBIDDEN: ("AccessDenied", "Forbidden"),
    Code.CREDENTIALS: ("Token", "Signature", "Credential", "AccessKeyId"),
    Code.THROTTLED: ("Throttl", "TooManyRequests"),
    Code.TIMEOUT: ("Timeout",),
}


@dataclass(frozen=True, slots=True)
class Message:
    """One message: its text, what it is deleted by, and how often it has been received by now."""

    body: str
    receipt_handle: str
    receive_count: int = 1


class Queue(Protocol):
    """What takes messages out of a queue. Both methods may raise WorldError."""

    def receive(self, limit: int, wait: int = MAX_WAIT) -> list[Message]:
        """At most `limit` messages; empty if none came within `wait` seconds."""

    def delete(self, messages: Iterable[Message]) -> None:
        """So that they never come again."""


class EventQueue:
    """A queue by its address. Region and endpoint are read from that, credentials from AWS's own places."""

    def __init__(self, url: str) -> None:
        """Nothing is sent yet."""
        parts = urlsplit(url)
        found = _REGION.search(parts.hostname or "")
        self.url = url
        self._endpoint = f"{parts.scheme}://{parts.netloc}"
        self._region = (
            (found and found[1]) or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        )
        self._lock = threading.Lock()
        self._client: Any = None

    def receive(self, limit: int, wait: int = MAX_WAIT) -> list[Message]:
        """At most `limit` messages; empty if none came within `wait` seconds (at most `MAX_WAIT`).

        Only the first request waits. Where it is answered in full there is more, which is fetched by several at once.
        """
        client = self.client()
        found = self._receive_once(client, min(limit, MESSAGES_PER_REQUEST), min(wait, MAX_WAIT))
        if len(found) < MESSAGES_PER_REQUEST:
            return found
        with ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS, thread_name_prefix="events") as pool:
            while (
                len(found) + MESSAGES_PER_REQUEST <= limit
                and sum(len(each.body) for each in found) < MAX_RECEIVED_CHARACTERS
            ):
                rounds = min(MAX_CONCURRENT_REQUESTS, (limit - len(found)) // MESSAGES_PER_REQUEST)
                answers = list(pool.map(lambda _: self._receive_once(client, MESSAGES_PER_REQUEST, 0), range(rounds)))
                found += [message for answer in answers for message in answer]
                if not all(answers):
                    break
        return found

    def delete(self, messages: Iterable[Message]) -> None:
        """So that they never come again. One that the queue will not delete comes again."""
        client = self.client()
        with ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS, thread_name_prefix="events") as pool:
            list(pool.map(lambda some: self._delete_batch(client, some), _batches(messages)))

    def _receive_once(self, client: Any, limit: int, wait: int) -> list[Message]:
        with _translate_errors("receiving"):
            answer = client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=limit,
                WaitTimeSeconds=wait,
                VisibilityTimeout=VISIBILITY_TIMEOUT,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
            return [_to_message(each) for each in answer.get("Messages") or []]

    def _delete_batch(self, client: Any, messages: Sequence[Message]) -> None:
        entries = [{"Id": str(number), "ReceiptHandle": each.receipt_handle} for number, each in enumerate(messages)]
        with _translate_errors("deleting"):
            client.delete_message_batch(QueueUrl=self.url, Entries=entries)

    def client(self) -> Any:
        """The client, which any number of threads may use."""
        # Late: boto3 takes 0.4 s to load, and only whoever has a queue needs it.
        import boto3  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        with self._lock, _translate_errors("asking for"):
            if self._client is None:
                self._client = boto3.session.Session().client(
                    "sqs",
                    endpoint_url=self._endpoint,
                    region_name=self._region,
                    config=Config(
                        connect_timeout=TIMEOUT,
                        read_timeout=MAX_WAIT + TIMEOUT,
                        max_pool_connections=MAX_CONCURRENT_REQUESTS,
                        retries={"mode": "standard", "total_max_attempts": 1},  # the job is what tries again
                    ),
                )
                self._client.meta.events.register("before-parse.sqs", _require_json_object)
            return self._client


def _require_json_object(response_dict: Any, **_: object) -> None:
    """botocore takes a page of HTML, or half an answer, for one without messages. Raises ValueError."""
    if response_dict["status_code"] < 300 and not isinstance(json.loads(response_dict["body"]), dict):
        raise ValueError("it is not a JSON object")


def _to_message(found: Any) -> Message:
    count = found.get("Attributes", {}).get("ApproximateReceiveCount", "1")
    return Message(found.get("Body", ""), found["ReceiptHandle"], int(count))


def _batches(messages: Iterable[Message]) -> Iterator[list[Message]]:
    rest = iter(messages)
    while some := list(islice(rest, MESSAGES_PER_REQUEST)):
        yield some


@contextmanager
def _translate_errors(doing: str) -> Iterator[None]:
    """Makes a WorldError of what botocore raises; its own texts may name keys."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  late, see above
    from botocore.parsers import ResponseParserError  # noqa: PLC0415  likewise

    try:
        yield
    except ClientError as error:
        word = str(error.response.get("Error", {}).get("Code", ""))[:100]
        raise WorldError(_error_code(word), f"{doing} events: the queue refused ({word!a})") from error
    except BotoCoreError as error:
        word = type(error).__name__
        raise WorldError(_error_code(word), f"{doing} events failed ({word})") from error
    except (ResponseParserError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        # Not in the shape of an answer: a proxy's page, or JSON of something else.
        raise WorldError(
            Code.NETWORK, f"{doing} events: the answer is not a queue's ({type(error).__name__})"
        ) from error


def _error_code(word: str) -> Code:
    """The code of `loader.errors` for what SQS or botocore calls it."""
    return next((code for code, words in _ERROR_NAMES.items() if any(each in word for each in words)), Code.NETWORK)
