"""Parts that clients without credentials send: signed as boto3 signs them, refused by the store where they differ."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
import urllib3
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials, RefreshableCredentials
from hypothesis import given
from hypothesis import strategies as st

from ifeportal.embedded.seaweedfs import SeaweedFS
from loader.errors import WorldError
from loader.s3.auth.credentials import CredentialProvider, S3Credentials
from loader.s3.auth.sigv4 import presign_target
from loader.s3.client import S3Bucket
from loader.s3.http.urls import host_header, quote_key, quote_query
from loader.s3.interface import Bucket, SignedRequest
from loader.s3.memory import MemoryBucket
from tests.loader.s3.test_sigv4 import BASES, HEADERS, KEYS, NOW, TEXT

KEY = "ACME/.incoming/Über den Wolken+1 %41.tgz"
BODY = b"0123456789" * 20


def sha256(body: bytes) -> str:
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def send(request: SignedRequest, body: bytes, *, without: str = "") -> urllib3.BaseHTTPResponse:
    headers = {name: value for name, value in request.headers.items() if name not in (without, "Content-Length")}
    return urllib3.request(request.method, request.url, body=body, headers=headers, retries=False)


# As botocore signs.


@given(
    st.sampled_from(BASES),
    TEXT,
    st.dictionaries(st.sampled_from(["partNumber", "uploadId"]), TEXT),
    HEADERS,
    KEYS,
    st.integers(1, 43_200),
)
def test_a_signature_in_the_query_is_the_one_of_botocore(
    base: str, key: str, query: dict[str, str], headers: dict[str, str], keys: S3Credentials, seconds: int
) -> None:
    target = f"/{quote_key(key)}" + (f"?{quote_query(query)}" if query else "")
    request = AWSRequest(method="PUT", url=base + target, headers={**headers})
    request.context["timestamp"] = NOW.strftime("%Y%m%dT%H%M%SZ")
    signer: Any = S3SigV4QueryAuth(
        Credentials(keys.access, keys.secret, keys.token), "s3", "eu-west-1", expires=seconds
    )
    signer._modify_request_before_signing(request)
    text = signer.string_to_sign(request, signer.canonical_request(request))
    signer._inject_signature_to_request(request, signer.signature(text, request))
    ours = presign_target(
        "PUT",
        target,
        {"Host": host_header(base), **headers},
        credentials=keys,
        region="eu-west-1",
        now=NOW,
        seconds=seconds,
    )
    assert base + ours == request.url


@pytest.mark.parametrize(
    ("endpoint", "style", "token"),
    [
        (None, "virtual", None),
        (None, "path", "session token/+="),
        ("https://store.example.net", "path", None),
        ("https://store.example.net:9000", "virtual", "token"),
    ],
)
def test_the_address_is_the_one_of_boto3(
    endpoint: str | None, style: str, token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_S3_ADDRESSING_STYLE", style)
    keys = {"region": "eu-west-1", "access_key": "AKEY", "secret_key": "SECRET", "session_token": token}
    upload = S3Bucket("ife-media", endpoint=endpoint, **keys).resume_upload(KEY, "u/1+")  # type: ignore[arg-type]
    style_config: Any = {"addressing_style": style}
    client = boto3.client(
        "s3",
        endpoint_url=endpoint or "https://s3.eu-west-1.amazonaws.com",
        region_name="eu-west-1",
        aws_access_key_id="AKEY",
        aws_secret_access_key="SECRET",
        aws_session_token=token,
        config=Config(signature_version="s3v4", s3=style_config),
    )
    part = {"Bucket": "ife-media", "Key": KEY, "PartNumber": 7, "UploadId": "u/1+"}
    part |= {"ContentLength": 200, "ChecksumSHA256": sha256(BODY)}
    for _ in range(100):  # until both sign within the same second
        ours = upload.sign_part(7, 200, sha256=sha256(BODY), valid_for=900)
        theirs = client.generate_presigned_url("upload_part", Params=part, ExpiresIn=900)
        if parse_qs(ours.url)["X-Amz-Date"] == parse_qs(theirs)["X-Amz-Date"]:
            break
    assert urlsplit(ours.url).netloc == urlsplit(theirs).netloc
    wanted, found = parse_qs(urlsplit(theirs).query), parse_qs(urlsplit(ours.url).query)
    assert found == wanted
    assert found["X-Amz-SignedHeaders"] == ["content-length;host;x-amz-checksum-sha256"]
    assert ours.headers == {"Content-Length": "200", "x-amz-checksum-sha256": sha256(BODY)}


# Sent to stores.


def test_a_signed_part_is_sent_without_credentials(bucket: Bucket) -> None:
    upload = bucket.begin_upload(KEY, checksums=True)
    request = upload.sign_part(1, len(BODY), sha256=sha256(BODY))
    if isinstance(bucket, MemoryBucket):
        bucket.send_signed(request, BODY)
    else:
        assert send(request, BODY).status == 200
    (part,) = upload.list_parts()
    assert part.size == len(BODY)
    assert not bucket.requests.get


def test_a_store_refuses_what_was_not_signed(media: S3Bucket) -> None:
    # Not moto, which checks no signature.
    upload = media.begin_upload(KEY, checksums=True)
    request = upload.sign_part(1, len(BODY), sha256=sha256(BODY))
    assert send(request, BODY + b"1").status == 403
    assert send(request, BODY, without="x-amz-checksum-sha256").status == 403
    other = send(request, b"x" * len(BODY))
    assert (other.status, b"BadDigest" in other.data) == (400, True)
    moved = SignedRequest("PUT", request.url.replace("partNumber=1", "partNumber=2"), request.headers, NOW)
    assert send(moved, BODY).status == 403
    assert upload.list_parts() == []
    assert send(request, BODY).status == 200


def test_a_bucket_in_memory_refuses_the_same(memory_media: MemoryBucket) -> None:
    upload = memory_media.begin_upload(KEY)
    request = upload.sign_part(1, len(BODY), sha256=sha256(BODY))
    for body, code in ((BODY + b"1", "FORBIDDEN"), (b"x" * len(BODY), "NETWORK")):
        with pytest.raises(WorldError) as error:
            memory_media.send_signed(request, body)
        assert error.value.code == code
    memory_media.clock = lambda: request.expires_at + dt.timedelta(seconds=1)
    with pytest.raises(WorldError, match="403"):
        memory_media.send_signed(request, BODY)
    assert upload.list_parts() == []


def test_a_signature_is_for_the_address_that_clients_reach(seaweed: SeaweedFS, media: S3Bucket) -> None:
    port = urlsplit(seaweed.endpoint).port
    inside = S3Bucket(
        media.name,
        endpoint="http://store.inside:1",
        region="us-east-1",
        access_key=seaweed.access_key,
        secret_key=seaweed.secret_key,
        public_endpoint=f"http://localhost:{port}",
    )
    assert inside.public_origin == f"http://localhost:{port}"
    upload = media.begin_upload(KEY)
    request = inside.resume_upload(KEY, upload.upload_id).sign_part(1, len(BODY))
    assert request.url.startswith(f"http://localhost:{port}/{media.name}/ACME/")
    assert send(request, BODY).status == 200
    assert [part.size for part in upload.list_parts()] == [len(BODY)]


# Limits.


@pytest.mark.parametrize(
    ("number", "size", "checksum", "seconds"),
    [
        (0, 1, "", 900),
        (10_001, 1, "", 900),
        (1, -1, "", 900),
        (1, 5 * 1024**3 + 1, "", 900),
        (1, 1, "abc", 900),
        (1, 1, sha256(BODY) + "\n", 900),
        (1, 1, "", 12 * 3600 + 1),
        (1, 1, "", 0),
        (1, 1, "", float("nan")),
    ],
)
def test_what_cannot_be_a_part_is_not_signed(number: int, size: int, checksum: str, seconds: float) -> None:
    stored = S3Bucket("b", endpoint="http://127.0.0.1:9", access_key="A", secret_key="S")
    for bucket in (stored, MemoryBucket()):
        with pytest.raises(ValueError, match="must"):
            bucket.resume_upload("k", "u").sign_part(number, size, sha256=checksum, valid_for=seconds)


def test_a_signature_ends_with_the_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    bucket = S3Bucket("b", endpoint="http://127.0.0.1:9")

    def expire(seconds: int) -> None:
        keys = S3Credentials("A", "S", "T", now + dt.timedelta(seconds=seconds))
        monkeypatch.setattr(CredentialProvider, "current", lambda _: keys)

    expire(600)
    assert bucket.resume_upload("k", "u").sign_part(1, 1).expires_at == now + dt.timedelta(seconds=600)
    expire(86_400)
    signed = bucket.resume_upload("k", "u").sign_part(1, 1, valid_for=12 * 3600)
    assert dt.timedelta(0) <= signed.expires_at - now - dt.timedelta(hours=12) < dt.timedelta(hours=1)
    expire(0)
    with pytest.raises(WorldError, match="expired"):
        bucket.resume_upload("k", "u").sign_part(1, 1)


def test_the_end_of_the_credentials_is_the_one_that_botocore_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    end = dt.datetime.now(dt.UTC) + dt.timedelta(hours=2)
    chain = RefreshableCredentials("A", "S", "T", end, lambda: {}, "test")
    provider = CredentialProvider()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("botocore.session.Session.get_credentials", lambda _: chain)
    assert provider.current() == S3Credentials("A", "S", "T", end)


def test_an_address_is_not_part_of_the_representation() -> None:
    signed = S3Bucket("b", endpoint="http://127.0.0.1:9", access_key="A", secret_key="S").resume_upload("k", "u")
    assert "Signature" not in repr(signed.sign_part(1, 1))
