"""`check_store` as a process: what the portal needs, with and without the right to publish."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ifeportal.embedded.seaweedfs import Identity, SeaweedFS
from loader.s3.client import S3Bucket
from loader.s3.cors import upload_rule
from loader.s3.interface import CorsRule
from tests.support.portal_forks import run

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.processes


def check(environment: Mapping[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, "manage.py", "check_store", *options], env={**os.environ, **environment})


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """Start a store with a key that may read and list both buckets, and write neither."""
    actions = ("Read:media-1", "List:media-1", "Read:status-1", "List:status-1")
    with SeaweedFS(tmp_path_factory.mktemp("reading"), identities=[Identity("viewer", actions)]) as server:
        for name in ("media-1", "status-1"):
            server.create_bucket(name)
        yield server


def test_a_key_that_may_publish_is_tried_with_test_objects(
    seaweed: SeaweedFS, media: S3Bucket, status: S3Bucket
) -> None:
    media.put("ACME/2026-12/campaign.json", b"{}")
    buckets = {**seaweed.environment(), "MEDIA_BUCKET": media.name, "STATUS_BUCKET": status.name}
    done = check(buckets, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    outcomes = {(row["bucket"], row["check"]): row["outcome"] for row in report["findings"]}
    assert outcomes["media", "multipart"] == outcomes["media", "clean-up"] == "ok"
    assert "put" not in {name for bucket, name in outcomes if bucket == "status"}
    assert [info.key for info in media.list()] == ["ACME/2026-12/campaign.json"]


def test_a_key_that_may_only_read_is_enough_and_the_limitation_is_named(reading: SeaweedFS) -> None:
    buckets = {**reading.environment("viewer"), "MEDIA_BUCKET": "media-1", "STATUS_BUCKET": "status-1"}
    done = check(buckets)
    assert done.returncode == 0, done.stdout
    assert "warning  media   delete" in done.stdout
    assert "Campaigns cannot be published with these credentials." in done.stdout
    assert done.stdout.endswith("The stores have everything that the portal needs. 1 thing works with limitations.\n")


def test_the_rule_for_browsers_is_added_beside_the_others(
    seaweed: SeaweedFS, media: S3Bucket, status: S3Bucket
) -> None:
    other = CorsRule(("https://other.example.org",), ("GET",))
    media.put_cors([other])
    buckets = {**seaweed.environment(), "MEDIA_BUCKET": media.name, "STATUS_BUCKET": status.name}
    portal = {**buckets, "PORTAL_URL": "http://ife.example.org"}
    done = check(portal, "--fix-cors")
    assert "pages of http://ife.example.org may upload" in done.stderr
    assert "ok       media   cors" in done.stdout
    assert media.get_cors() == [upload_rule(["http://ife.example.org"]), other]
    assert check(portal, "--fix-cors").stderr == ""


def test_a_key_that_may_not_set_rules_gets_the_command_for_an_administrator(reading: SeaweedFS) -> None:
    buckets = {**reading.environment("viewer"), "MEDIA_BUCKET": "media-1", "STATUS_BUCKET": "status-1"}
    done = check(buckets, "--fix-cors")
    assert done.returncode == 1
    assert f"aws s3api put-bucket-cors --endpoint-url {reading.endpoint} --bucket media-1" in done.stderr


def test_missing_features_set_the_exit_code(seaweed: SeaweedFS, media: S3Bucket) -> None:
    done = check({**seaweed.environment(), "MEDIA_BUCKET": media.name, "STATUS_BUCKET": "no-such-bucket"})
    assert done.returncode == 1
    assert "missing  status  list         LIST: the bucket 'no-such-bucket' does not exist." in done.stdout


def test_an_invalid_setting_is_reported_as_such(seaweed: SeaweedFS) -> None:
    done = check({**seaweed.environment(), "AWS_ENDPOINT_URL_S3": "store.example.org"})
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
