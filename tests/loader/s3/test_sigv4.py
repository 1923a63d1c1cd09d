"""Requests are signed as botocore signs them, with any kind of credentials; texts contain no keys."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from loader.s3.auth.credentials import CredentialProvider, S3Credentials
from loader.s3.auth.sigv4 import sign_request
from loader.s3.http.urls import host_header, quote_key, quote_query
from loader.s3.interface import Bucket

NOW = dt.datetime(2026, 11, 21, 3, 4, 5, tzinfo=dt.UTC)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
VALUE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
HEADERS = st.dictionaries(st.sampled_from(["Range", "If-Match", "If-None-Match", "X-Amz-Meta-A", "Content-MD5"]), VALUE)
KEYS = st.builds(S3Credentials, TEXT, TEXT, st.none() | VALUE.filter(str.strip))
BASES = ["http://127.0.0.1:8333", "https://b.s3.eu-west-1.amazonaws.com", "https://store:443", "http://[::1]:80"]


def by_botocore(
    method: str, address: str, headers: dict[str, str], body: bytes, keys: S3Credentials, region: str
) -> dict[str, str]:
    request = AWSRequest(method=method, url=address, headers=headers, data=body)
    request.context["timestamp"] = NOW.strftime("%Y%m%dT%H%M%SZ")
    signer: Any = S3SigV4Auth(Credentials(keys.access, keys.secret, keys.token), "s3", region)
    signer._modify_request_before_signing(request)
    canonical = signer.canonical_request(request)
    signer._inject_signature_to_request(request, signer.signature(signer.string_to_sign(request, canonical), request))
    return dict(request.headers.items())


@given(
    st.sampled_from(["GET", "PUT", "DELETE"]),
    st.sampled_from(BASES),
    TEXT,
    st.dictionaries(TEXT, TEXT, max_size=4),
    HEADERS,
    st.binary(max_size=50),
    KEYS,
    st.sampled_from(["us-east-1", "eu-west-1"]),
)
def test_a_signature_is_the_one_of_botocore(
    method: str,
    base: str,
    key: str,
    query: dict[str, str],
    headers: dict[str, str],
    body: bytes,
    keys: S3Credentials,
    region: str,
) -> None:
    target = f"/{quote_key(key)}" + (f"?{quote_query(query)}" if query else "")
    ours = sign_request(
        method, target, {"Host": host_header(base), **headers}, body, credentials=keys, region=region, now=NOW
    )
    theirs = by_botocore(method, base + target, {**headers}, body, keys, region)
    assert ours["Authorization"] == theirs["Authorization"]
    assert ours["X-Amz-Content-SHA256"] == theirs["X-Amz-Content-SHA256"]
    assert ours.get("X-Amz-Security-Token") == theirs.get("X-Amz-Security-Token")


@pytest.mark.parametrize(
    ("base", "host"),
    list(zip(BASES, ["127.0.0.1:8333", urlsplit(BASES[1]).netloc, "store", "[::1]"], strict=True)),
)
def test_the_host_has_a_port_only_where_it_is_an_unusual_one(base: str, host: str) -> None:
    assert host_header(base) == host


@pytest.mark.parametrize("name", ["plain", "with space", "ä+b&c=d", "~-._", "a//b", "%41", "quote'\"", "日本"])
def test_a_store_accepts_what_was_signed(bucket: Bucket, name: str) -> None:
    bucket.put(f"signed/{name}", name.encode())
    fetched = bucket.get(f"signed/{name}", 100)
    assert fetched is not None
    assert fetched.body == name.encode()
    assert [entry.key for entry in bucket.list(f"signed/{name}")] == [f"signed/{name}"]


def test_keys_show_in_no_text() -> None:
    assert "SECRET" not in f"{S3Credentials('AKEY', 'SECRET', 'SECRET TOKEN')!r}"


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "SECURITY_TOKEN", "CREDENTIAL_EXPIRATION"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    return monkeypatch


def test_given_keys_win_over_those_of_the_environment(no_environment: pytest.MonkeyPatch) -> None:
    no_environment.setenv("AWS_ACCESS_KEY_ID", "A")
    no_environment.setenv("AWS_SECRET_ACCESS_KEY", "S")
    assert CredentialProvider().current() == S3Credentials("A", "S")
    no_environment.setenv("AWS_SESSION_TOKEN", "T")
    assert CredentialProvider().current() == S3Credentials("A", "S", "T")
    assert CredentialProvider(S3Credentials("mine", "own")).current() == S3Credentials("mine", "own")


def test_the_rest_of_the_chain_is_botocores(no_environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    path.write_text("[default]\naws_access_key_id = FILE\naws_secret_access_key = S\naws_session_token = T\n")
    no_environment.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    keyring = CredentialProvider()
    assert keyring.current() == S3Credentials("FILE", "S", "T")
    path.write_text("[default]\naws_access_key_id = RENEWED\naws_secret_access_key = S\n")
    assert keyring.current().access == "FILE"
    assert keyring.invalidate()
    assert keyring.current() == S3Credentials("RENEWED", "S")


def test_given_keys_are_not_looked_up_again() -> None:
    assert not CredentialProvider(S3Credentials("mine", "own")).invalidate()
