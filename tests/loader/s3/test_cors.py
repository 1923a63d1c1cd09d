"""CORS rules of a bucket are written and read alike by every store."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

import pytest

from loader.errors import WorldError
from loader.s3.client import S3Bucket
from loader.s3.cors import aws_command, permits_uploads, upload_rule
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


ORIGIN = "https://ife.example.org"
OURS = upload_rule([ORIGIN])


@pytest.mark.parametrize(
    ("rules", "permitted"),
    [
        ([], False),
        ([OURS], True),
        ([replace(OURS, origins=("*",), headers=("*",))], True),
        ([replace(OURS, origins=("https://*.example.org",), headers=("Content-Type", "X-Amz-*"))], True),
        ([replace(OURS, origins=("http://ife.example.org",))], False),
        ([replace(OURS, origins=("https://ifexexample.org",))], False),
        ([replace(OURS, methods=("GET",))], False),
        ([replace(OURS, headers=("content-type",))], False),
        ([replace(OURS, exposed=())], False),
        ([replace(OURS, methods=("GET",), exposed=()), OURS], True),
        ([replace(OURS, exposed=()), OURS], False),
    ],
)
def test_a_rule_must_permit_all_that_an_upload_needs(rules: list[CorsRule], permitted: bool) -> None:
    assert permits_uploads(rules, ORIGIN) == permitted


def test_the_command_for_administrators_has_every_rule() -> None:
    words = shlex.split(aws_command("ife-media", "https://store.example.net", [OURS]))
    assert words[:7] == [
        *("aws", "s3api", "put-bucket-cors"),
        *("--endpoint-url", "https://store.example.net", "--bucket", "ife-media"),
    ]
    (rule,) = json.loads(words[-1])["CORSRules"]
    assert (rule["AllowedOrigins"], rule["AllowedMethods"], rule["ExposeHeaders"]) == ([ORIGIN], ["PUT"], ["ETag"])
