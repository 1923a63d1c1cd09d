"""CORS rules of a bucket are written and read alike by every store."""

from __future__ import annotations

import pytest

from loader.errors import WorldError
from loader.s3.client import S3Bucket
from loader.s3.interface import Bucket, CorsRule
from tests.support.scripted_store import Reply, ScriptedStore

RULES = [
    CorsRule(("https://ife.example.org", "http://a&b.example"), ("PUT", "GET"), ("content-type", "*"), ("ETag",), 600),
    CorsRule(("*",), ("GET",)),
]


def test_rules_are_read_as_they_were_written(bucket: Bucket) -> None:
    assert bucket.get_cors() == []
    bucket.put_cors(RULES)
    assert bucket.get_cors() == RULES
    bucket.put_cors(RULES[1:])
    assert bucket.get_cors() == RULES[1:]
    bucket.put_cors([])
    assert bucket.get_cors() == []


def test_a_bucket_has_at_most_100_rules(scripted: S3Bucket) -> None:
    with pytest.raises(ValueError, match="100"):
        scripted.put_cors(RULES[1:] * 101)


def test_a_bucket_that_does_not_exist_has_no_rules(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(Reply(404, b"<Error><Code>NoSuchBucket</Code></Error>"))
    with pytest.raises(WorldError, match="does not exist"):
        scripted.get_cors()
