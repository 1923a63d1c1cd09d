"""Credentials from any source are trimmed; characters that no header can contain raise WorldError before a request."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from loader.errors import WorldError
from loader.s3.auth.credentials import CredentialProvider, S3Credentials
from loader.s3.client import S3Bucket
from tests.support.scripted_store import ScriptedStore

CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.mark.parametrize("end", ["\r", "\r\n", " ", "\t", "\n"])
def test_keys_are_trimmed_wherever_they_come_from(end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*CREDENTIALS, "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    answer = {"Version": 1, "AccessKeyId": f"AKEY{end}", "SecretAccessKey": f"S{end}", "SessionToken": f"T{end}"}
    provider, config = tmp_path / "provider.py", tmp_path / "config"
    provider.write_text(f"import json; print(json.dumps({answer!r}))\n")
    config.write_text(f"[default]\ncredential_process = {sys.executable} {provider}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    assert CredentialProvider().current() == S3Credentials("AKEY", "S", "T")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", f"AENV{end}")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"S{end}")
    assert CredentialProvider().current() == S3Credentials("AENV", "S")
    assert CredentialProvider(S3Credentials(f"mine{end}", f"own{end}", f"token{end}")).current() == S3Credentials(
        "mine", "own", "token"
    )


@pytest.mark.parametrize(
    "keys",
    [
        S3Credentials("A\rB", "secret"),
        S3Credentials("A", "my\nown"),
        S3Credentials("A", "secret", "my\x00own"),
        S3Credentials("A\ufeffB", "secret"),
        S3Credentials("A", "secret", "myöwn"),
        S3Credentials("\udc80A", "secret"),
    ],
    ids=["key", "secret", "token", "byte order mark", "not ASCII", "not text"],
)
def test_keys_that_no_header_can_carry_are_reported_as_credentials(keys: S3Credentials, store: ScriptedStore) -> None:
    bucket = S3Bucket(
        "b", endpoint=store.endpoint, access_key=keys.access, secret_key=keys.secret, session_token=keys.token
    )
    with pytest.raises(WorldError) as error:
        bucket.get("k", 10)
    assert (error.value.code, error.value.permanent, store.asked) == ("CREDENTIALS", True, [])
    assert all(part not in str(error.value) for part in ("my", "own", "A\r"))


@pytest.mark.parametrize("etag", ["a\r\nInjected: yes", "\u2028"])
@pytest.mark.parametrize("how", ["get", "open", "put"])
def test_a_header_that_cannot_be_sent_is_an_error_of_ours(etag: str, how: str, store: ScriptedStore) -> None:
    bucket = S3Bucket("b", endpoint=store.endpoint, access_key="a", secret_key="b", region="r", sleep=_never)
    with pytest.raises(WorldError) as error:
        ask(bucket, how, etag)
    assert (error.value.code, error.value.permanent, store.asked) == ("INTERNAL", True, [])
    assert "Injected" not in str(error.value)


def ask(bucket: S3Bucket, how: str, etag: str) -> None:
    if how == "get":
        bucket.get_if_changed("k", 10, etag)
    elif how == "open":
        bucket.open("k", if_match=etag)
    else:
        bucket.put("k", b"", if_match=etag)


def _never(seconds: float) -> None:
    raise AssertionError("what is permanent is not tried again")
