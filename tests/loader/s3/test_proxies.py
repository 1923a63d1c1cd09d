"""Proxies of the environment: which requests go through one, how it is authenticated to, and what its refusal says."""

from __future__ import annotations

import base64
import socket
import traceback
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from loader.errors import WorldError
from loader.network.link_monitor import connect_target
from loader.s3.client import S3Bucket
from loader.s3.http.proxies import Proxy, bypasses_proxy, parse_proxy, proxy_for
from loader.s3.sqs import EventQueue
from tests.support.connect_proxy import ConnectProxy
from tests.support.scripted_store import ScriptedStore

VARIABLES = ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "AWS_CA_BUNDLE")


@pytest.fixture(autouse=True)
def remove_proxy_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


# NO_PROXY.


@pytest.mark.parametrize(
    ("no_proxy", "address"),
    [
        ("*", "https://s3.example.com"),
        ("other, *", "https://10.1.2.3"),
        ("s3.example.com", "https://s3.example.com"),
        ("S3.Example.COM", "https://s3.example.com"),
        ("s3.example.com.", "https://S3.EXAMPLE.com."),
        ("example.com", "https://films.s3.example.com"),
        (".example.com", "https://s3.example.com"),
        (".example.com", "https://example.com"),
        ("*.example.com", "https://s3.example.com"),
        ("a b,,s3.example.com", "https://s3.example.com"),
        ("s3.example.com:443", "https://s3.example.com"),
        ("s3.example.com:8443", "https://s3.example.com:8443"),
        ("10.1.2.3", "https://10.1.2.3:9000"),
        ("10.1.2.3:9000", "https://10.1.2.3:9000"),
        ("10.0.0.0/8", "https://10.1.2.3:9000"),
        ("10.255.0.1/8", "https://10.1.2.3"),
        ("127.0.0.0/8", "https://127.0.0.1"),
        ("fd00::1", "https://[fd00::1]"),
        ("[fd00::1]", "https://[FD00:0::1]:8443"),
        ("[fd00::1]:8443", "https://[fd00::1]:8443"),
        ("fd00::/8", "https://[fd12:3456::1]"),
        ("[fd00::]/8", "https://[fd12:3456::1]"),
        ("10.0.0.0/8", "https://[::ffff:10.1.2.3]"),
    ],
)
def test_a_listed_store_is_reached_without_the_proxy(no_proxy: str, address: str) -> None:
    assert proxy_for(address, {"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": no_proxy}) is None


@pytest.mark.parametrize(
    ("no_proxy", "address"),
    [
        ("", "https://s3.example.com"),
        ("other.example.com", "https://s3.example.com"),
        ("ample.com", "https://s3.example.com"),
        ("s3.example.com:8443", "https://s3.example.com"),
        ("s3.example.com:443", "https://s3.example.com:8443"),
        ("10.0.0.0/8", "https://11.1.2.3"),
        ("10.0.0.0/33", "https://10.1.2.3"),
        ("10.0.0.0/8", "https://s3.example.com"),
        ("10", "https://10.1.2.3"),
        ("fd00::/8", "https://[fe80::1]"),
        ("fd00::/8", "https://10.1.2.3"),
        ("[fd00::1]:443", "https://[fd00::1]:8443"),
        (".", "https://s3.example.com"),
        ("*.", "https://s3.example.com"),
        ("[", "https://s3.example.com"),
    ],
)
def test_any_other_store_is_reached_through_the_proxy(no_proxy: str, address: str) -> None:
    assert proxy_for(address, {"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": no_proxy})


def test_lower_case_variables_override_upper_case_ones() -> None:
    upper = {"HTTPS_PROXY": "http://upper:1", "NO_PROXY": "s3.example.com"}
    assert proxy_for("https://s3.example.com", upper) is None
    assert proxy_for("https://s3.example.com", upper | {"no_proxy": "", "https_proxy": "lower:2"}) == Proxy(
        "http", "lower", 2
    )
    assert proxy_for("https://s3.example.com", {"HTTPS_PROXY": "http://upper:1", "https_proxy": ""}) is None
    assert proxy_for("http://s3.example.com", {"HTTPS_PROXY": "http://upper:1"}) is None


def test_an_entry_cannot_match_by_accident() -> None:
    assert not bypasses_proxy("", 443, "")
    assert not bypasses_proxy("", 443, "example.com")


# Addresses of proxies.


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("127.0.0.1:3128", Proxy("http", "127.0.0.1", 3128)),
        ("proxy.cabin", Proxy("http", "proxy.cabin", 80)),
        ("http://proxy.cabin:3128/", Proxy("http", "proxy.cabin", 3128)),
        ("https://proxy.cabin", Proxy("https", "proxy.cabin", 443)),
        ("HTTP://proxy.cabin:3128", Proxy("http", "proxy.cabin", 3128)),
        ("http://[fd00::1]:3128", Proxy("http", "fd00::1", 3128)),
        ("crew:p%40ss@proxy.cabin:3128", Proxy("http", "proxy.cabin", 3128, "crew", "p@ss")),
        ("http://crew:p@ss@proxy.cabin:3128", Proxy("http", "proxy.cabin", 3128, "crew", "p@ss")),
        ("http://crew@proxy.cabin:3128", Proxy("http", "proxy.cabin", 3128, "crew")),
    ],
)
def test_the_address_of_a_proxy_is_read_as_curl_reads_it(text: str, proxy: Proxy) -> None:
    assert parse_proxy(text) == proxy
    assert parse_proxy(proxy.url_with_credentials) == proxy


@pytest.mark.parametrize("password", ["p@ss:word", "a b", "üñ映画", "p%", "/?#"])
def test_a_percent_encoded_password_is_sent_decoded(password: str) -> None:
    proxy = parse_proxy(f"http://crew:{quote(password, safe='')}@proxy.cabin:3128")
    expected = base64.b64encode(f"crew:{password}".encode()).decode()
    assert proxy.headers == {"proxy-authorization": f"Basic {expected}"}
    assert password not in repr(proxy) + str(proxy) + proxy.url


@pytest.mark.parametrize(
    "text",
    [
        "socks5://crew:hunter2@proxy:1080",
        "ftp://crew:hunter2@proxy",
        "http://crew:hunter2/x@proxy:3128",
        "http://crew:12/hunter2@proxy:3128",
        "http://crew:hunter2#x@proxy",
        "http://crew:hunter2@proxy:notaport",
        "http://crew:hunter2@proxy:65536",
        "http://crew:hunter2@",
        "http://crew:hunter2@pro xy:1",
        "http://crew:hunter2@pr\u043exy:1",
        "http://[::1",
        "://",
    ],
)
def test_an_invalid_proxy_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(ValueError, match="HTTPS_PROXY must be") as refused:
        proxy_for("https://s3.example.com", {"HTTPS_PROXY": text})
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


# Requests.


def bucket(endpoint: str) -> S3Bucket:
    return S3Bucket("b", endpoint=endpoint, access_key="a", secret_key="b", sleep=lambda _: None)


def target(store: ScriptedStore) -> tuple[str, int]:
    parts = urlsplit(store.endpoint)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


BASIC = "Basic " + base64.b64encode(b"crew:p@ss").decode()


@pytest.mark.parametrize(
    ("authorization", "address"), [(BASIC, "http://crew:p%40ss@{}"), (BASIC, "crew:p%40ss@{}"), ("", "{}")]
)
def test_a_request_goes_through_a_proxy_with_a_password_or_without_a_scheme(
    authorization: str,
    address: str,
    tls_store: ScriptedStore,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    with ConnectProxy(target(tls_store), authorization) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", address.format(proxy.address))
        assert bucket(tls_store.endpoint).get("k", 10)
        assert (proxy.tunnels, len(tls_store.asked)) == (1, 1)
        assert "proxy-authorization" not in tls_store.asked[0].headers
        host, port = proxy.address.split(":")
        assert connect_target("b", tls_store.endpoint, "r") == (host, int(port))
        monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
        assert bucket(tls_store.endpoint).get("k", 10)
        assert connect_target("b", tls_store.endpoint, "r") == target(tls_store)
        assert (proxy.tunnels, len(tls_store.asked)) == (1, 2)


@pytest.mark.parametrize(
    ("credentials", "refusal", "reason"),
    [
        ("", 0, "the proxy {} requires a user name and a password in HTTPS_PROXY (407)"),
        ("crew:wr0ng%20one@", 0, "the proxy {} does not accept the user name and password in HTTPS_PROXY (407)"),
        ("crew:wr0ng%20one@", 403, "the proxy {} does not allow the connection to the store (403)"),
        ("crew:wr0ng%20one@", 502, "the proxy {} cannot reach the store (502)"),
    ],
)
def test_a_refusal_of_the_proxy_is_reported_as_the_proxys(
    credentials: str, refusal: int, reason: str, tls_store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy(target(tls_store), BASIC, refusal) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{credentials}{proxy.address}")
        with pytest.raises(WorldError) as failed:
            bucket(tls_store.endpoint).get("k", 10)
        assert str(failed.value) == f"GET k: {reason.format(proxy.address)}"
        assert len(proxy.asked) == 3
    assert (failed.value.code, tls_store.asked) == ("NETWORK", [])
    shown = "".join(traceback.format_exception(failed.value))
    for secret in ("wr0ng", base64.b64encode(b"crew:wr0ng one").decode()):
        assert secret not in shown


def test_a_proxy_that_is_away_is_named(tls_store: ScriptedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://crew:hunter2@127.0.0.1:{port}")
    with pytest.raises(WorldError, match=f"the proxy 127.0.0.1:{port} refused the connection or is unreachable"):
        bucket(tls_store.endpoint).get("k", 10)
    monkeypatch.setenv("HTTPS_PROXY", "http://crew:hunter2@proxy.invalid:3128")
    with pytest.raises(WorldError, match=r"the host name of the proxy proxy\.invalid:3128 cannot be resolved"):
        bucket(tls_store.endpoint).get("k", 10)


def test_a_proxy_that_speaks_no_tls_is_named(store: ScriptedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", store.endpoint.replace("http://", "https://"))
    with pytest.raises(WorldError, match=r"the proxy 127\.0\.0\.1:.* does not use TLS on this port: use http://"):
        bucket("https://store.invalid").get("k", 10)


# The queue of events, whose client is boto3.


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret")


@pytest.mark.usefixtures("keys")
def test_the_queue_is_reached_by_the_same_rules(
    tls_store: ScriptedStore, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    with ConnectProxy(target(tls_store), BASIC) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"crew:p%40ss@{proxy.address}")
        for tunnels, no_proxy in ((1, ""), (1, "127.0.0.0/8")):
            monkeypatch.setenv("NO_PROXY", no_proxy)
            with pytest.raises(WorldError, match="the response is not from a queue"):
                EventQueue(f"{tls_store.endpoint}/1/events").receive(1, 0)
            assert proxy.tunnels == tunnels
        assert len(tls_store.asked) == 2


@pytest.mark.usefixtures("keys")
def test_a_refusal_of_the_proxy_is_reported_for_the_queue_too(
    tls_store: ScriptedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy(target(tls_store), BASIC) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://crew:wr0ng%20one@{proxy.address}")
        with pytest.raises(WorldError) as failed:
            EventQueue(f"{tls_store.endpoint}/1/events").receive(1, 0)
        reason = f"the proxy {proxy.address} does not accept the user name and password in HTTPS_PROXY (407)"
        assert reason in str(failed.value)
        assert proxy.asked
    shown = "".join(traceback.format_exception(failed.value))
    for secret in ("wr0ng", base64.b64encode(b"crew:wr0ng one").decode()):
        assert secret not in shown
