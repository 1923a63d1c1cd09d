"""Endpoint, region and addressing style come from where boto3 takes them."""

from __future__ import annotations

import sys
from pathlib import Path

import boto3
import pytest

from loader.s3.client import S3Bucket
from loader.s3.location import DEFAULT_REGION, StoreLocation, find_location
from tests.support.scripted_store import Reply, ScriptedStore

CONFIG = """
[default]
region = eu-north-1

[profile crew]
region = garage
endpoint_url = http://crew.example.org:3900
s3 =
  addressing_style = virtual

[profile split]
region = eu-west-3
services = two
endpoint_url = http://any.example.org

[services two]
s3 =
  endpoint_url = http://split.example.org
"""
CREDENTIALS = """
[crew]
aws_access_key_id = AKEY
aws_secret_access_key = SECRET
"""
NAMES = [
    *("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_S3_ADDRESSING_STYLE", "AWS_DEFAULT_PROFILE"),
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the AWS files."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "config").write_text(CONFIG)
    (tmp_path / "credentials").write_text(CREDENTIALS)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path


CREW = {"AWS_PROFILE": "crew"}
CASES = {
    "the default profile": ({}, StoreLocation(None, "eu-north-1", "auto")),
    "a profile": (CREW, StoreLocation("http://crew.example.org:3900", "garage", "virtual")),
    "a service of it": (
        {"AWS_PROFILE": "split"},
        StoreLocation("http://split.example.org", "eu-west-3", "auto"),
    ),
    "variables before the profile": (
        CREW
        | {
            "AWS_ENDPOINT_URL_S3": "http://a",
            "AWS_ENDPOINT_URL": "http://b",
            "AWS_DEFAULT_REGION": "r",
            "AWS_S3_ADDRESSING_STYLE": "Path",
        },
        StoreLocation("http://a", "r", "path"),
    ),
    "no endpoints": (
        CREW | {"AWS_ENDPOINT_URL": "http://b", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
        StoreLocation(None, "garage", "virtual"),
    ),
    "a profile that is not there": ({"AWS_PROFILE": "gone"}, StoreLocation(None, DEFAULT_REGION, "auto")),
}


@pytest.mark.parametrize("case", CASES)
def test_a_location_is_that_of_boto3(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variables, expected = CASES[case]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find_location() == expected
    if "gone" not in variables.values():
        client = boto3.Session().client("s3")
        assert (client.meta.region_name, client.meta.endpoint_url) == (
            expected.region,
            expected.endpoint or f"https://s3.{expected.region}.amazonaws.com",
        )


def test_arguments_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "crew")
    assert find_location("http://x", "here") == StoreLocation("http://x", "here", "virtual")


def test_a_changed_file_is_read_again(files: Path) -> None:
    assert find_location().region == "eu-north-1"
    (files / "config").write_text("[default]\nregion = us-gov-west-1\n")
    assert find_location().region == "us-gov-west-1"


@pytest.mark.parametrize("content", ["[default\nregion", "region = x"])
def test_a_file_that_cannot_be_read_is_left_to_the_credentials(files: Path, content: str) -> None:
    (files / "config").write_text(content)
    assert find_location() == StoreLocation(None, DEFAULT_REGION, "auto")


def test_without_files_botocore_is_not_imported(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("config", "credentials"):
        (files / name).unlink()
    for name in [name for name in sys.modules if name.partition(".")[0] == "botocore"]:
        monkeypatch.delitem(sys.modules, name)
    assert find_location() == StoreLocation(None, DEFAULT_REGION, "auto")
    assert "botocore" not in sys.modules


def test_a_bucket_of_a_profile_is_signed_for_its_region(
    files: Path, store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (files / "config").write_text(f"[profile crew]\nregion = garage\nendpoint_url = {store.endpoint}\n")
    monkeypatch.setenv("AWS_PROFILE", "crew")
    store.answers(Reply(200, b"ok", {"ETag": '"abc"'}))
    assert S3Bucket("b").get("k", 10)
    (asked,) = store.asked
    assert "Credential=AKEY/" in asked.headers["authorization"]
    assert "/garage/s3/aws4_request" in asked.headers["authorization"]
