"""A malformed credential counts as a wrong passkey: no server error, and no sign-in."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.core.cache import cache
from django.test import Client

from tests.conftest import Cast

PASSWORD = "a long one indeed"  # created for this test
DEEP = b"[" * 100_000


def packed(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def credential(part: str = "", value: object = None, **more: object) -> str:
    """Return the credential of an unknown passkey, with one part of the response replaced."""
    client_data = {"type": "webauthn.get", "challenge": "AAAA", "origin": "http://testserver"}
    response: dict[str, Any] = {
        "clientDataJSON": packed(json.dumps(client_data).encode()),
        "authenticatorData": packed(b"\0" * 37),
        "signature": packed(b"x"),
        "userHandle": packed(b"1"),
    }
    if part:
        response[part] = value
    return json.dumps({"id": "YWJj", "rawId": "YWJj", "type": "public-key", "response": response, **more})


CREDENTIALS = {
    "deep": DEEP.decode(),
    "a long number": "9" * 5_000,
    "a number": "1",
    "without parts": '{"id": 1}',
    "nobody": credential(),
    "no number": credential("userHandle", packed(b"\xff\0")),
    "a long handle": credential("userHandle", packed(b"z" * 5_000)),
    "deep inside": credential("clientDataJSON", packed(DEEP)),
    "a list inside": credential("clientDataJSON", packed(b"[]")),
    "deep data": credential("authenticatorData", packed(b"\0" * 32 + b"\x80\0\0\0\0" + b"\x81" * 5_000)),
    "deep proof": credential("attestationObject", packed(b"\x81" * 5_000)),
    "other results": credential(clientExtensionResults=1),
}


@pytest.mark.parametrize("sent", CREDENTIALS.values(), ids=CREDENTIALS.keys())
def test_a_malformed_passkey_signs_no_user_in_and_causes_no_error(db: None, client: Client, sent: str) -> None:
    cache.clear()  # counters of attempts
    client.raise_request_exception = False
    assert client.get("/login/passkey/", headers={"Accept": "application/json"}).status_code == 200
    answer = client.post("/login/passkey/", {"credential": sent})
    assert (answer.status_code, answer.headers.get("Location")) == (302, "/login/")
    assert client.get("/").status_code == 302


def test_a_malformed_passkey_is_not_registered_and_confirms_no_user(cast: Cast, client: Client) -> None:
    client.raise_request_exception = False
    cast.alice.set_password(PASSWORD)
    cast.alice.save()
    client.force_login(cast.alice)
    assert client.post("/account/confirm/", {"password": PASSWORD}).status_code == 302
    for sent in CREDENTIALS.values():
        assert client.get("/account/passkeys/add/").status_code == 200
        assert client.post("/account/passkeys/add/", {"credential": sent, "name": "x"}).status_code == 200
    assert not Authenticator.objects.exists()
