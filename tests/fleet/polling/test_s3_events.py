"""The keys of a queue message, from any sender; messages without keys are rejected with a sentence."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.polling.s3_events import MESSAGE_LIMIT, RECORDS_LIMIT, BadNotification, parse_notification
from tests.support.event_queue import event_message, event_record
from tests.support.profiles import scaled

KEY = "ACME/N1/2026-12/movie-001.tgz.progress"
ODD_KEY = "ACME/N 1/2026+12/Zürich & 100%2F é.tgz.error"
TEST_EVENT = {
    "Service": "Amazon S3",
    "Event": "s3:TestEvent",
    "Time": "2014-10-13T15:57:02.089Z",
    "Bucket": "status",
    "RequestId": "5582815E1AEA5ADF",
    "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR",
}


@pytest.mark.parametrize("key", [KEY, ODD_KEY, "a+b", "%2e%2e/x", "a\nb", "日本"])
def test_a_key_comes_out_as_it_is_in_the_bucket(key: str) -> None:
    assert parse_notification(event_message(key), "status") == {key}


def test_a_slash_may_be_written_out_or_not() -> None:
    assert parse_notification(
        event_message("x").replace('"key": "x"', '"key": "ACME%2FN+1%2Floader.json"'), "status"
    ) == {"ACME/N 1/loader.json"}


@pytest.mark.parametrize("name", ["ObjectCreated:Put", "ObjectRemoved:Delete", "ObjectRemoved:DeleteMarkerCreated"])
def test_the_key_of_an_event_counts_for_any_event_type(name: str) -> None:
    assert parse_notification(event_message(KEY, name=name), "status") == {KEY}


def test_a_message_may_name_several_objects_and_one_of_them_twice() -> None:
    assert parse_notification(event_message(KEY, ODD_KEY, KEY), "status") == {KEY, ODD_KEY}


def test_another_bucket_is_not_for_us() -> None:
    mixed = json.dumps({"Records": [event_record("theirs", "media"), event_record(KEY)]})
    assert parse_notification(mixed, "status") == {KEY}
    assert parse_notification(event_message(KEY, bucket="media"), "status") == frozenset()


def test_the_event_that_only_tries_the_queue_names_nothing() -> None:
    assert parse_notification(json.dumps(TEST_EVENT), "status") == frozenset()


def test_an_envelope_of_sns_is_opened() -> None:
    envelope = {"Type": "Notification", "TopicArn": "arn:aws:sns:x", "Subject": "Amazon S3 Notification"}
    assert parse_notification(json.dumps({**envelope, "Message": event_message(ODD_KEY)}), "status") == {ODD_KEY}
    assert parse_notification(json.dumps({**envelope, "Message": json.dumps(TEST_EVENT)}), "status") == frozenset()


def test_of_eventbridge_the_key_is_taken_as_it_is() -> None:
    body = {
        "version": "0",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "region": "ca-central-1",
        "resources": ["arn:aws:s3:::status"],
        "detail": {
            "bucket": {"name": "status"},
            "object": {"key": ODD_KEY, "size": 5},
        },
    }
    assert parse_notification(json.dumps(body), "status") == {ODD_KEY}
    assert parse_notification(json.dumps(body), "another") == frozenset()


def changed(**object_or_bucket: Any) -> str:
    one = event_record(KEY)
    one["s3"].update(object_or_bucket)
    return json.dumps({"Records": [one]})


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("", "not JSON"),
        ("rubbish", "not JSON"),
        ("<html>503</html>", "not JSON"),
        ("\ufeff{}", "byte order mark"),
        ("[]", "must be an object"),
        ("null", "must be an object"),
        ("{}", "Records: must be 1 to"),
        ('{"Records": []}', "Records: must be 1 to"),
        ('{"Records": {}}', "Records: must be a list"),
        ('{"Records": [7]}', r"Records\[0\]: must be an object"),
        ('{"Records": [{"eventSource": "aws:s3"}]}', r"Records\[0\].s3: must be an object"),
        ('{"Records": [NaN]}', "NaN is not JSON"),
        ('{"Records": [], "Records": []}', "twice"),
        ('{"Event": "s3:SomethingElse"}', "Records: must be 1 to"),
        ('{"Event": 7}', "Event: must be a string"),
        ('{"Type": "Notification", "Message": "rubbish"}', "not JSON"),
        ('{"Type": "Notification"}', "not JSON"),
        ('{"source": "aws.s3"}', "detail: must be an object"),
        ('{"source": "aws.s3", "detail": {"bucket": {"name": "status"}, "object": {}}}', "detail.object.key: is miss"),
        ("[" * 100_000, "nested deeper"),
        (changed(bucket="status"), r"s3.bucket: must be an object"),
        (changed(bucket={}), "s3.bucket.name: is missing"),
        (changed(object={}), "s3.object.key: is missing"),
        (changed(object={"key": ""}), "s3.object.key: is missing"),
        (changed(object={"key": 7}), "s3.object.key: must be a string"),
        (changed(object={"key": None}), "s3.object.key: is missing"),
        (changed(object={"key": "a%FF"}), "s3.object.key: is not UTF-8"),
        (changed(object={"key": "a\ud800"}), "unpaired surrogate"),
        (json.dumps({"Records": [{}] * (RECORDS_LIMIT + 1)}), "Records: must be 1 to"),
        ('"' + "x" * MESSAGE_LIMIT + '"', "longer than"),
        ("\ud800", "not UTF-8"),
    ],
)
def test_an_empty_event_is_refused_with_its_position(body: str, sentence: str) -> None:
    with pytest.raises(BadNotification, match=sentence):
        parse_notification(body, "status")


def test_a_message_as_large_as_any_is_read_whole() -> None:
    keys = {f"ACME/N1/2026-12/{number:04}{'x' * 150}.tgz.progress" for number in range(340)}
    body = event_message(*keys)
    assert 256 * 1024 < len(body) < MESSAGE_LIMIT
    assert parse_notification(body, "status") == keys


def words(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    known = ["Records", "s3", "bucket", "object", "name", "key", "source", "detail", "Type", "Message", "Event"]
    return st.dictionaries(st.sampled_from(known) | st.text(), inner)


LEAVES = st.none() | st.booleans() | st.integers() | st.text()


@settings(max_examples=scaled(200, quick=25), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | words(inner)))
def test_any_json_message_yields_keys_or_a_refusal(value: Any) -> None:
    with suppress(BadNotification):
        assert all(isinstance(key, str) for key in parse_notification(json.dumps(value), "status"))
