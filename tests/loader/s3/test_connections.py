"""Addresses, proxies, credentials and trusted certificates of requests."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from loader.errors import WorldError
from loader.s3.client import S3Bucket
from loader.s3.http.urls import AddressingStyle, endpoint_for
from tests.support.scripted_store import Reply, ScriptedStore

FOUND = Reply(200, b"ok", {"ETag": '"abc"'})
EXPIRED = Reply(400, b"<Error><Code>ExpiredToken</Code></Error>")


@pytest.mark.parametrize(
    ("style", "bucket", "endpoint", "region", "base", "root"),
    [
        ("auto", "ife-media", None, "eu-west-1", "https://ife-media.s3.eu-west-1.amazonaws.com", ""),
        ("auto", "ife.media", None, "eu-west-1", "https://s3.eu-west-1.amazonaws.com", "/ife.media"),
        ("auto", "ife-media", None, "cn-north-1", "https://ife-media.s3.cn-north-1.amazonaws.com.cn", ""),
        ("auto", "ife-media", "http://127.0.0.1:8333", "us-east-1", "http://127.0.0.1:8333", "/ife-media"),
        ("auto", "ife-media", "https://a.example.org/s3/", "us-east-1", "https://a.example.org", "/s3/ife-media"),
        ("path", "ife-media", None, "eu-west-1", "https://s3.eu-west-1.amazonaws.com", "/ife-media"),
        ("path", "ife-media", "https://a.example.org", "eu-west-1", "https://a.example.org", "/ife-media"),
        ("virtual", "ife-media", None, "eu-west-1", "https://ife-media.s3.eu-west-1.amazonaws.com", ""),
        ("virtual", "ife-media", "https://a.example.org:9000", "", "https://ife-media.a.example.org:9000", ""),
        ("virtual", "ife.media", "https://a.example.org/s3/", "", "https://ife.media.a.example.org", "/s3"),
    ],
)
def test_a_bucket_has_an_address(
    style: AddressingStyle, bucket: str, endpoint: str | None, region: str, base: str, root: str
) -> None:
    assert endpoint_for(bucket, endpoint, region, style) == (base, root)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:8333", "http://[::1]:8333"])
def test_an_ip_address_has_no_room_for_a_bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_S3_ADDRESSING_STYLE", "virtual")
    with pytest.raises(ValueError, match=r"has an IP address.* set AWS_S3_ADDRESSING_STYLE=path"):
        S3Bucket("ife-media", endpoint=endpoint)


def test_an_unknown_addressing_style_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_S3_ADDRESSING_STYLE", "dns")
    with pytest.raises(ValueError, match=r"AWS_S3_ADDRESSING_STYLE.*auto, path, virtual"):
        S3Bucket("ife-media")


@pytest.mark.parametrize("endpoint", ["127.0.0.1:8333", "ftp://store", "store", "http://"])
def test_an_endpoint_that_is_no_address_is_refused_at_once(endpoint: str) -> None:
    with pytest.raises(ValueError, match="is not an http"):
        S3Bucket("b", endpoint=endpoint)


def test_everything_may_come_from_the_environment(store: ScriptedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", store.endpoint)
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "TOKEN")
    store.answers(FOUND)
    assert S3Bucket("b").get("k", 10)
    headers = store.asked[0].headers
    assert "Credential=AKEY/" in headers["authorization"]
    assert "/eu-north-1/s3/aws4_request" in headers["authorization"]
    assert headers["x-amz-security-token"] == "TOKEN"
    assert len(headers["x-amz-content-sha256"]) == 64


def test_without_credentials_nothing_is_sent(
    store: ScriptedStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(WorldError, match="AWS_ACCESS_KEY_ID") as error:
        S3Bucket("b", endpoint=store.endpoint).get("k", 10)
    assert error.value.code == "CREDENTIALS"
    assert store.asked == []


@pytest.mark.parametrize("how", ["get", "open"])
def test_credentials_that_expired_are_looked_up_again_once(
    how: str, store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "OLD")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    bucket = S3Bucket("b", endpoint=store.endpoint)
    store.answers(FOUND)
    assert bucket.get("k", 10)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "NEW")
    store.answers(EXPIRED, FOUND)
    if how == "get":
        assert bucket.get("k", 10)
    else:
        bucket.open("k").close()
    assert ["Credential=NEW/" in asked.headers["authorization"] for asked in store.asked] == [False, False, True]
    store.answers(EXPIRED)
    with pytest.raises(WorldError) as error:
        bucket.get("k", 10)
    assert error.value.code == "CREDENTIALS"
    assert len(store.asked) == 5


def test_only_a_trusted_certificate_will_do(
    tls_store: ScriptedStore, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bucket() -> S3Bucket:
        return S3Bucket("b", endpoint=tls_store.endpoint, access_key="a", secret_key="b", sleep=lambda _: None)

    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    with pytest.raises(WorldError, match="is not from an authority that this machine trusts") as error:
        bucket().get("k", 10)
    assert error.value.code == "NETWORK"
    assert tls_store.asked == []
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    assert bucket().get("k", 10)


def test_a_write_leaves_in_one_piece() -> None:
    """A loader killed between headers and body would leave an empty object in some stores."""
    received: list[bytes] = []

    def answer() -> None:
        connection, _ = server.accept()
        with connection:
            received.append(connection.recv(65_536))
            connection.sendall(b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 0\r\n\r\n')

    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        thread = threading.Thread(target=answer)
        thread.start()
        bucket = S3Bucket("b", endpoint=endpoint, access_key="a", secret_key="s")
        assert bucket.put("k", b"x" * 4096) == "e"
        thread.join()
    assert received[0].startswith(b"PUT /b/k HTTP/1.1\r\n")
    assert received[0].endswith(b"x" * 4096)
