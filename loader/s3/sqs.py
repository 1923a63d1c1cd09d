"""SQS client: receive and delete the messages of one queue. The only module that uses SQS.

Messages are untrusted text and are not interpreted here. Every failure is raised as `WorldError`, chained, without a
secret in its text. A message that is received but not deleted is delivered again, so a lost response loses nothing.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from loader.errors import Code, WorldError
from loader.frozen import frozen
from loader.s3.http.failures import library_failure
from loader.s3.http.proxies import Proxy, proxy_for
from loader.s3.location import find_location

MAX_WAIT: Final = 6  # seconds to wait for a message; with TIMEOUT shorter than what is left of a work lease
TIMEOUT: Final = 2  # seconds without a byte, in addition to the requested wait
# Seconds in which a received message is not delivered again: longer than a batch takes to be written.
VISIBILITY_TIMEOUT: Final = 120
MESSAGES_PER_REQUEST: Final = 10  # the limit of SQS
MAX_CONCURRENT_REQUESTS: Final = 8
MAX_RECEIVED_CHARACTERS: Final = 8 * 1_048_576  # after which no more are requested: bounds memory
_REGION: Final = re.compile(r"(?:^|\.)([a-z]+(?:-[a-z]+)+-[0-9]+)\.(?:.+\.)?(?:amazonaws\.com(?:\.cn)?|api\.aws)$")
# Substrings of the error names of SQS and botocore, by our codes.
_ERROR_NAMES: Final = {
    Code.FORBIDDEN: ("AccessDenied", "Forbidden"),
    Code.CREDENTIALS: ("Token", "Signature", "Credential", "AccessKeyId"),
    Code.THROTTLED: ("Throttl", "TooManyRequests"),
    Code.TIMEOUT: ("Timeout",),
}


@frozen
class Message:
    """One message: its text, the handle that deletes it, and the number of times it was received."""

    body: str
    receipt_handle: str
    receive_count: int = 1


class Queue(Protocol):
    """Interface of a queue. Both methods may raise WorldError."""

    def receive(self, limit: int, wait: int = MAX_WAIT) -> list[Message]:
        """Return at most `limit` messages; empty if none arrived within `wait` seconds."""

    def delete(self, messages: Iterable[Message]) -> None:
        """Delete messages, so that they are not delivered again."""


class EventQueue:
    """A queue by its URL, which gives region and endpoint. Credentials come from AWS's default chain."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        found = _REGION.search(parts.hostname or "")
        self.url = url
        self._endpoint = f"{parts.scheme}://{parts.netloc}"
        self._region = found[1] if found else find_location().region
        self._proxy = proxy_for(self._endpoint, os.environ)
        self._lock = threading.Lock()
        self._client: Any = None

    def receive(self, limit: int, wait: int = MAX_WAIT) -> list[Message]:
        """Return at most `limit` messages; empty if none arrived within `wait` seconds (at most `MAX_WAIT`).

        Only the first request waits. If its response is full, several requests at a time fetch the rest.
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
                batches = list(pool.map(lambda _: self._receive_once(client, MESSAGES_PER_REQUEST, 0), range(rounds)))
                found += [message for batch in batches for message in batch]
                if not all(batches):
                    break
        return found

    def delete(self, messages: Iterable[Message]) -> None:
        """Delete messages. One that the queue fails to delete is delivered again."""
        client = self.client()
        with ThreadPoolExecutor(MAX_CONCURRENT_REQUESTS, thread_name_prefix="events") as pool:
            list(pool.map(lambda batch: self._delete_batch(client, batch), _batches(messages)))

    def _receive_once(self, client: Any, limit: int, wait: int) -> list[Message]:
        with _translate_errors("receiving", self._proxy):
            response = client.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=limit,
                WaitTimeSeconds=wait,
                VisibilityTimeout=VISIBILITY_TIMEOUT,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
            return [_to_message(each) for each in response.get("Messages") or []]

    def _delete_batch(self, client: Any, messages: Sequence[Message]) -> None:
        entries = [{"Id": str(number), "ReceiptHandle": each.receipt_handle} for number, each in enumerate(messages)]
        with _translate_errors("deleting", self._proxy):
            client.delete_message_batch(QueueUrl=self.url, Entries=entries)

    def client(self) -> Any:
        """Return the boto3 client, which is thread-safe."""
        # Late: boto3 takes 0.4 s to import, and only services with a queue need it.
        import boto3  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        with self._lock, _translate_errors("requesting"):
            if self._client is None:
                self._client = boto3.session.Session().client(
                    "sqs",
                    endpoint_url=self._endpoint,
                    region_name=self._region,
                    config=Config(
                        connect_timeout=TIMEOUT,
                        read_timeout=MAX_WAIT + TIMEOUT,
                        max_pool_connections=MAX_CONCURRENT_REQUESTS,
                        retries={"mode": "standard", "total_max_attempts": 1},  # the job retries
                        request_checksum_calculation="when_required",
                        response_checksum_validation="when_required",
                        # Decided here: botocore knows no networks in NO_PROXY.
                        proxies={"https": self._proxy.url_with_credentials} if self._proxy else {},
                    ),
                )
                self._client.meta.events.register("before-parse.sqs", _require_json_object)
            return self._client


def _require_json_object(response_dict: Any, **_: object) -> None:
    """Raise ValueError for HTML or a truncated response, which botocore would read as one without messages."""
    if response_dict["status_code"] < 300 and not isinstance(json.loads(response_dict["body"]), dict):
        raise ValueError("it is not a JSON object")


def _to_message(found: Any) -> Message:
    count = found.get("Attributes", {}).get("ApproximateReceiveCount", "1")
    return Message(found.get("Body", ""), found["ReceiptHandle"], int(count))


def _batches(messages: Iterable[Message]) -> Iterator[list[Message]]:
    rest = iter(messages)
    while batch := list(islice(rest, MESSAGES_PER_REQUEST)):
        yield batch


@contextmanager
def _translate_errors(doing: str, proxy: Proxy | None = None) -> Iterator[None]:
    """Raise WorldError for errors of botocore, whose own texts may contain keys."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  late, see above
    from botocore.parsers import ResponseParserError  # noqa: PLC0415  likewise

    try:
        yield
    except ClientError as error:
        name = str(error.response.get("Error", {}).get("Code", ""))[:100]
        raise WorldError(_error_code(name), f"{doing} events: the queue refused ({name!a})") from error
    except BotoCoreError as error:
        name = type(error).__name__
        reason = library_failure(error, proxy, "the queue")
        # Not chained: botocore quotes what a proxy or a file of credentials contains.
        raise WorldError(
            _error_code(name), f"{doing} events failed ({': '.join(filter(None, (name, reason)))})"
        ) from None
    except (ResponseParserError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        # Not a response of SQS: the page of a proxy, or other JSON.
        raise WorldError(
            Code.NETWORK, f"{doing} events: the response is not from a queue ({type(error).__name__})"
        ) from error


def _error_code(name: str) -> Code:
    """Return our code for an error name of SQS or botocore."""
    return next((code for code, parts in _ERROR_NAMES.items() if any(part in name for part in parts)), Code.NETWORK)
