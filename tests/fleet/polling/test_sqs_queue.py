"""A real queue that a store notifies of its changes: the resulting rows, and failures of the queue."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from moto.sqs.models import SQSBackend

from ifeportal.models import Airline
from loader.errors import WorldError
from loader.s3 import sqs
from loader.s3.client import S3Bucket
from loader.s3.sqs import EventQueue, Message
from tests.support.event_queue import consume_all, event_message, row_facts
from tests.support.poll_fleet import poll_fleet
from tests.support.polling_world import MIB, PollingWorld, rows, transfer
from tests.support.scripted_store import Reply, ScriptedStore

COUNT = b"ApproximateReceiveCount"
JSON = {"Content-Type": "application/x-amz-json-1.0"}
_numbers = itertools.count()


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret")
    monkeypatch.setattr(sqs, "TIMEOUT", 60)  # long enough for a busy machine
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)


@pytest.fixture(autouse=True)
def _one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serialise requests: moto gives a message to two concurrent receivers, and forgets one of two deletions."""
    turn = threading.Lock()

    def in_turn(method: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: Any, **more: Any) -> object:
            with turn:
                return method(*arguments, **more)

        return call

    for name in ("receive_message", "delete_message_batch"):
        monkeypatch.setattr(SQSBackend, name, in_turn(getattr(SQSBackend, name)))


@cache
def client(service: str, endpoint: str) -> Any:
    """Return the client of all tests: to make one takes longer than what most tests do with it."""
    return boto3.client(service, endpoint_url=endpoint, region_name="us-east-1")  # type: ignore[call-overload]


class Store:
    """A bucket of moto, and the queue that receives its changes after `connect`."""

    def __init__(self, endpoint: str) -> None:
        self.sqs, self.s3 = client("sqs", endpoint), client("s3", endpoint)
        number = next(_numbers)
        self.bucket = S3Bucket(f"status-{number}", endpoint=endpoint)
        self.bucket.create_bucket()
        self.url: str = self.sqs.create_queue(QueueName=f"events-{number}")["QueueUrl"]
        self.queue = EventQueue(self.url)

    def connect(self) -> None:
        found = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])
        events = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
        configurations = [{"QueueArn": found["Attributes"]["QueueArn"], "Events": events}]
        self.s3.put_bucket_notification_configuration(
            Bucket=self.bucket.name, NotificationConfiguration={"QueueConfigurations": configurations}
        )

    def waiting(self) -> tuple[int, int]:
        """Return the numbers of waiting messages, and of received ones that are not deleted."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return int(found[names[0]]), int(found[names[1]])

    def send(self, *bodies: str) -> None:
        for body in bodies:
            self.sqs.send_message(QueueUrl=self.url, MessageBody=body)


@pytest.fixture
def store(moto: str) -> Store:
    return Store(moto)


# Histories.

HISTORY: tuple[Callable[[S3Bucket], object], ...] = (
    lambda bucket: bucket.put("ACME/N1/2026-12/a.tgz.progress", b"0"),
    lambda bucket: bucket.put("ACME/N1/2026-12/b & é+.tgz.progress", b"0"),
    lambda bucket: bucket.put("ACME/N1/loader.json", b'{"schema":1,"loader":"1.2","state":"loading","rate_bps":7}'),
    lambda bucket: bucket.put("ACME/N1/2026-12/a.tgz.progress", b"%d" % MIB),
    lambda bucket: bucket.put("ACME/N1/2026-12/b & é+.tgz.error", b"NO_SPACE: full"),
    lambda bucket: bucket.put("ACME/N1/2026-12/a.tgz.progress", b"%d" % MIB),
    lambda bucket: bucket.put("ACME/N2/2026-12/campaign.json.error", b"BAD_MANIFEST: odd"),
    lambda bucket: bucket.put("ACME/N1/2026-12/b & é+.tgz.progress", b"12"),
    lambda bucket: bucket.delete("ACME/N1/2026-12/b & é+.tgz.error"),
    lambda bucket: bucket.put("ACME/N1/2026-12/a.tgz.progress", b"17"),
    lambda bucket: bucket.put("ACME/N1/2026-12/a.tgz.progress", b"rubbish"),
    lambda bucket: bucket.put("ACME/N2/2026-12/a.tgz.progress", b"%d" % (2 * MIB)),
    lambda bucket: bucket.delete("ACME/N2/2026-12/campaign.json.error"),
    lambda bucket: bucket.put("ACME/N1/2026-12/a.tgz.progress", b"%d" % (2 * MIB)),
    lambda bucket: bucket.put("ACME/N1/2026-12/b & é+.tgz.progress", b"100"),
    lambda bucket: bucket.delete("ACME/N2/2026-12/a.tgz.progress"),
    lambda bucket: bucket.put("ACME/N1/loader.json", b'{"schema":1,"loader":"1.2","state":"idle","rate_bps":0}'),
)


def lived(
    bucket: S3Bucket, look: Callable[[PollingWorld], object], monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, dict[tuple[str, ...], dict[str, Any]]]]:
    """Return the rows after each step of the history, and after a listing at the end."""
    Airline.objects.all().delete()
    world = PollingWorld()
    world.manifest(items={"a": 2 * MIB, "b & é+": 100})
    world.poll()
    observed = []
    for step in HISTORY:
        world.later(7)
        monkeypatch.setattr("moto.s3.models.utcnow", lambda now=world.clock: now.replace(tzinfo=None))
        step(bucket)
        look(world)
        observed.append(row_facts())
    poll_fleet(world.media, bucket, world.clock)
    return [*observed, row_facts()]


@pytest.mark.django_db
def test_the_same_history_by_events_and_by_listings_gives_the_same_rows(
    moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed, listed = Store(moto), Store(moto)
    pushed.connect()

    def take(world: PollingWorld) -> None:
        taken = consume_all(pushed.queue, world.media, pushed.bucket, world.clock)
        assert (taken.result.failures, taken.result.list_requests, taken.unreadable) == ((), 0, 0)
        assert taken.result.get_requests == taken.keys == 1

    by_events = lived(pushed.bucket, take, monkeypatch)
    lists = pushed.bucket.requests.list
    assert pushed.waiting() == (0, 0)
    by_listings = lived(listed.bucket, lambda world: poll_fleet(world.media, listed.bucket, world.clock), monkeypatch)
    assert by_events == by_listings
    assert (lists, listed.bucket.requests.list) == (2, 2 * (len(HISTORY) + 1)), (
        "one looks for airlines, one for objects"
    )


@pytest.mark.django_db
def test_a_consumer_killed_before_deleting_a_message_receives_it_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """The process ends here."""

    class Mortal(EventQueue):
        def delete(self, messages: Iterable[Message]) -> None:
            raise Killed

    world = PollingWorld()
    world.manifest()
    world.poll()
    store.connect()
    store.bucket.put("ACME/N1/2026-12/a.tgz.progress", b"7")
    monkeypatch.setattr(sqs, "VISIBILITY_TIMEOUT", 0)  # as if the visibility timeout was over
    with pytest.raises(Killed):
        consume_all(Mortal(store.url), world.media, store.bucket, world.clock)
    assert transfer("a").bytes_done == 7
    before = rows()
    taken = consume_all(store.queue, world.media, store.bucket, world.clock)
    assert (taken.keys, taken.result.failures, rows()) == (1, (), before)
    assert store.waiting() == (0, 0)


# The queue itself.


def test_messages_are_received_once_and_deleted_for_good(store: Store) -> None:
    store.send("one", "two")
    found = store.queue.receive(10, 0)
    assert sorted((each.body, each.receive_count) for each in found) == [("one", 1), ("two", 1)]
    assert store.queue.receive(10, 0) == []
    store.queue.delete(found)
    assert store.waiting() == (0, 0)
    store.queue.delete(found)
    store.queue.delete([])


def test_the_receive_count_of_a_message_is_reported(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.send("one")
    monkeypatch.setattr(sqs, "VISIBILITY_TIMEOUT", 0)
    assert [store.queue.receive(1, 0)[0].receive_count for _ in range(3)] == [1, 2, 3]


def test_many_messages_are_received_and_deleted_in_one_go(store: Store) -> None:
    for start in range(0, 120, 10):
        entries = [{"Id": str(n), "MessageBody": str(start + n)} for n in range(10)]
        store.sqs.send_message_batch(QueueUrl=store.url, Entries=entries)
    found = store.queue.receive(100, 0)
    assert len(found) == len({each.body for each in found}) == 100
    rest = store.queue.receive(100, 0)
    assert {int(each.body) for each in (*found, *rest)} == set(range(120))
    store.queue.delete([*found, *rest])
    assert store.waiting() == (0, 0)


def test_received_messages_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        store.send(str(number))
    monkeypatch.setattr(sqs, "MAX_RECEIVED_CHARACTERS", 10)
    assert len(store.queue.receive(500, 0)) == 10


def test_a_queue_that_is_not_there_is_a_sentence_and_no_secret(store: Store) -> None:
    with pytest.raises(WorldError, match="receiving events: the queue refused") as refused:
        EventQueue(f"{store.url}-gone").receive(10, 0)
    assert refused.value.code == "NETWORK"
    assert "the-secret" not in repr(refused.value)


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("sqs.us-east-2.amazonaws.com", "us-east-2"),
        ("sqs-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("ap-southeast-2.queue.amazonaws.com", "ap-southeast-2"),
        ("vpce-0ab1-c2.sqs.eu-west-3.vpce.amazonaws.com", "eu-west-3"),
        ("sqs.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("sqs.us-west-2.api.aws", "us-west-2"),
        ("queue.example.org", "eu-central-1"),
        ("my-queue-1.example.org", "eu-central-1"),
    ],
)
def test_the_region_is_that_of_the_address_else_of_the_environment(
    host: str, region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    client = EventQueue(f"https://{host}/123456789012/events").client()
    assert (client.meta.region_name, client.meta.endpoint_url) == (region, f"https://{host}")


# Failures.


class ScriptedQueue(ScriptedStore):
    """A queue with scripted responses."""

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        handler: Any = super()._handler()
        handler.do_POST = handler.answer
        return handler  # type: ignore[no-any-return]  # made just above


@pytest.fixture
def odd() -> Iterator[ScriptedQueue]:
    with ScriptedQueue() as scripted:
        yield scripted


def error(name: str) -> Reply:
    return Reply(400, json.dumps({"__type": f"com.amazonaws.sqs#{name}", "message": "the-secret"}).encode(), JSON)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(200, b"<html>Please log in</html>", {"Content-Type": "text/html"}), "NETWORK"),
        (Reply(200, b"", {}), "NETWORK"),
        (Reply(200, b'{"Messages": 7}', JSON), "NETWORK"),
        (Reply(200, b'{"Messages": [7]}', JSON), "NETWORK"),
        (Reply(200, b'{"Messages": [{"Body": "x"}]}', JSON), "NETWORK"),
        (Reply(200, b'{"Messages": [{"ReceiptHandle": "x", "Attributes": 7}]}', JSON), "NETWORK"),
        (Reply(200, b'{"Messages": [{"ReceiptHandle": "x", "Attributes": {"%s": "y"}}]}' % COUNT, JSON), "NETWORK"),
        (Reply(200, b"[" * 100_000, JSON), "NETWORK"),
        (Reply(200, b"[]", JSON), "NETWORK"),
        (Reply(200, b'{"Messages": [', JSON, lie=1000, cut=True), "NETWORK"),
        (Reply(500, b"<html>", {}), "NETWORK"),
        (Reply(503, b"", {}), "NETWORK"),
        (error("AccessDenied"), "FORBIDDEN"),
        (error("KmsAccessDenied"), "FORBIDDEN"),
        (error("ExpiredToken"), "CREDENTIALS"),
        (error("InvalidClientTokenId"), "CREDENTIALS"),
        (error("SignatureDoesNotMatch"), "CREDENTIALS"),
        (error("RequestThrottled"), "THROTTLED"),
        (error("ThrottlingException"), "THROTTLED"),
    ],
)
def test_a_queue_that_answers_rubbish_or_refuses_is_a_failure_and_never_empty(
    odd: ScriptedQueue, reply: Reply, code: str
) -> None:
    odd.answers(reply)
    with pytest.raises(WorldError) as failed:
        EventQueue(f"{odd.endpoint}/1/events").receive(10, 0)
    assert failed.value.code == code
    assert odd.asked
    assert "the-secret" not in str(failed.value)


def test_without_credentials_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(WorldError, match="NoCredentialsError") as failed:
        EventQueue("http://127.0.0.1:1/1/events").receive(10, 0)
    assert failed.value.code == "CREDENTIALS"


@pytest.mark.django_db
def test_an_unavailable_queue_is_reported_and_polling_finds_every_change(store: Store) -> None:
    world = PollingWorld()
    world.manifest()
    store.bucket.put("ACME/N1/2026-12/a.tgz.progress", b"7")
    taken = consume_all(EventQueue("http://127.0.0.1:1/1/events"), world.media, store.bucket, world.clock)
    assert [each.partition("(")[0] for each in taken.result.failures] == [
        "event queue: NETWORK: receiving events failed "
    ]
    poll_fleet(world.media, store.bucket, world.clock)
    assert transfer("a").bytes_done == 7


@pytest.mark.django_db
def test_a_queue_that_will_not_delete_costs_no_row(odd: ScriptedQueue) -> None:
    world = PollingWorld()
    world.progress("N1/2026-12/a", 5)
    world.poll()
    world.progress("N1/2026-12/a", 7)
    body = {"Messages": [{"Body": event_message("ACME/N1/2026-12/a.tgz.progress"), "ReceiptHandle": "x"}]}
    odd.answers(Reply(200, json.dumps(body).encode(), JSON), error("AccessDenied"))
    taken = consume_all(EventQueue(f"{odd.endpoint}/1/events"), world.media, world.status, world.clock)
    assert len(odd.asked) == 2
    assert taken.result.failures == ("event queue: FORBIDDEN: deleting events: the queue refused ('AccessDenied')",)
    assert transfer("a").bytes_done == 7
