"""Each reason why TLS fails has its own sentence: unknown authority, wrong name, expired, wrong port."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loader.errors import WorldError
from loader.s3.client import S3Bucket
from loader.s3.sqs import EventQueue
from tests.support.certificates import HOUR, write_certificate
from tests.support.scripted_store import Reply, ScriptedStore

FOUND = Reply(200, b"ok", {"ETag": '"abc"'})
Stores = Callable[..., ScriptedStore]


@pytest.fixture
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stores]:
    """Return a function that starts a store behind TLS whose certificate is trusted unless `trusted` is false."""
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret")
    started: list[ScriptedStore] = []

    def start(
        *,
        begins: dt.timedelta = -HOUR,
        ends: dt.timedelta = HOUR,
        address: str = "127.0.0.1",
        trusted: bool = True,
        protocol: ssl.TLSVersion | None = None,
    ) -> ScriptedStore:
        path = write_certificate(tmp_path / "certificate.pem", begins=begins, ends=ends, address=address)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        if protocol:
            context.set_ciphers("ALL:@SECLEVEL=0")
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
                context.minimum_version = context.maximum_version = protocol
        if trusted:
            monkeypatch.setenv("AWS_CA_BUNDLE", str(path))
        else:
            monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
        store = ScriptedStore(context)
        store.__enter__()
        store.answers(FOUND)
        started.append(store)
        return store

    yield start
    for store in started:
        store.__exit__()


def reason(endpoint: str) -> str:
    """Return why a request failed, without the name of the request. Nothing may have reached the store."""
    with pytest.raises(WorldError) as failed:
        S3Bucket("b", endpoint=endpoint, access_key="a", secret_key="b", sleep=lambda _: None).get("k", 10)
    assert failed.value.code == "NETWORK"
    return str(failed.value).removeprefix("GET k: ")


CASES = [
    ({"trusted": False}, "the certificate of {} is not from an authority that this machine trusts; set AWS_CA_BUNDLE"),
    ({"address": "127.0.0.2"}, "the certificate of {} is for another name"),
    ({"begins": -2 * HOUR, "ends": -HOUR}, "the certificate of {} has expired, or the clock of this machine is wrong"),
    ({"begins": HOUR, "ends": 2 * HOUR}, "the certificate of {} is not valid yet; the clock of this machine is prob"),
]


@pytest.mark.parametrize(("fault", "sentence"), CASES)
def test_a_certificate_that_is_refused_has_its_own_reason(
    fault: dict[str, object], sentence: str, stores: Stores
) -> None:
    store = stores(**fault)
    assert reason(store.endpoint).startswith(sentence.format("the store"))
    assert store.asked == []


@pytest.mark.parametrize(("fault", "sentence"), CASES)
def test_the_queue_of_events_has_the_same_reasons(fault: dict[str, object], sentence: str, stores: Stores) -> None:
    store = stores(**fault)
    with pytest.raises(WorldError) as failed:
        EventQueue(f"{store.endpoint}/1/events").receive(10, 0)
    assert sentence.format("the queue") in str(failed.value)
    assert store.asked == []


def test_the_clock_is_shown_where_it_may_be_the_reason(stores: Stores) -> None:
    shown = reason(stores(begins=-2 * HOUR, ends=-HOUR).endpoint)
    assert shown.endswith(f"it says {dt.datetime.now(dt.UTC):%Y-%m-%d %H:}{shown[-6:]}")
    assert shown.endswith(" UTC")


def test_https_on_a_port_for_http_is_named(store: ScriptedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    store.answers(FOUND)
    shown = reason(store.endpoint.replace("http://", "https://"))
    assert shown == (
        "the store does not use TLS on this port: use http:// in its address, or the port that it uses for https"
    )


@pytest.mark.parametrize(
    "body",
    [
        b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title>",
        b"Client sent an HTTP request to an HTTPS server.\n",
        b"Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",
    ],
    ids=["nginx", "Go", "Apache"],
)
def test_http_on_a_port_for_https_is_named(body: bytes, store: ScriptedStore) -> None:
    store.answers(Reply(400, body))
    assert reason(store.endpoint) == "the store uses TLS on this port: use https:// in its address (400)"
    assert store.asked


def test_a_tls_alert_in_place_of_an_answer_is_recognised() -> None:
    alert = b"\x15\x03\x01\x00\x02\x02\x46"  # "protocol version", as OpenSSL sends it for a request without TLS

    def answer() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(alert)

    with socket.create_server(("127.0.0.1", 0)) as server:
        for _ in range(3):
            threading.Thread(target=answer, daemon=True).start()
        shown = reason(f"http://127.0.0.1:{server.getsockname()[1]}")
    assert shown == "the store uses TLS on this port: use https:// in its address"


def test_a_store_with_only_old_versions_of_tls_is_named(stores: Stores) -> None:
    assert reason(stores(protocol=ssl.TLSVersion.TLSv1).endpoint) == (
        "the store and this machine have no TLS version or cipher in common"
    )
