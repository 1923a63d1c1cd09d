"""Buckets in the host name, against a real store and with boto3 as the second client."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config

from ifeportal.embedded.seaweedfs import SeaweedFS
from loader.s3.client import S3Bucket

DOMAIN: Final = "store.invalid"
KEY: Final = "A/c/a b+c%é.tgz"


class VirtualHosts(SeaweedFS):
    """SeaweedFS that also serves buckets as subdomains of DOMAIN."""

    def _command(self) -> list[str]:
        return [*super()._command(), f"-s3.domainName={DOMAIN}"]


@pytest.fixture
def endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start the store; yield its address below DOMAIN, which resolves to the loopback interface."""
    resolve = socket.getaddrinfo

    def local(host: Any, *args: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if str(host).endswith(DOMAIN) else host, *args, **options)

    with VirtualHosts(tmp_path / "store") as store:
        store.create_bucket("ife-media")
        monkeypatch.setattr(socket, "getaddrinfo", local)
        for name, value in store.environment().items():
            monkeypatch.setenv(name, value)
        yield f"http://{DOMAIN}:{urlsplit(store.endpoint).port}"


def test_a_bucket_in_the_host_name_is_the_same_to_both_clients(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_S3_ADDRESSING_STYLE", "virtual")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    ours = S3Bucket("ife-media")
    theirs = boto3.client(
        "s3",
        endpoint_url=endpoint,
        config=Config(s3={"addressing_style": "virtual"}, retries={"total_max_attempts": 1}),
    )
    ours.put(KEY, b"one")
    assert theirs.get_object(Bucket="ife-media", Key=KEY)["Body"].read() == b"one"
    theirs.put_object(Bucket="ife-media", Key=KEY, Body=b"two!")
    fetched = ours.get(KEY, 10)
    assert fetched is not None
    assert fetched.body == b"two!"
    assert [(info.key, info.size) for info in ours.list("A/")] == [(KEY, 4)]
    assert ours.list_prefixes("A/") == ["c"]
    large = tmp_path / "large"
    large.write_bytes(bytes(9_000_000))
    ours.upload("A/c/large.tgz", large)
    assert theirs.head_object(Bucket="ife-media", Key="A/c/large.tgz")["ContentLength"] == 9_000_000
    ours.delete(KEY)
    assert ours.get(KEY, 10) is None
