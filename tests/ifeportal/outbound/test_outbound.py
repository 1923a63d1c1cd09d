"""Requests to URLs that users name reach the public internet only."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings

from ifeportal.outbound import client
from ifeportal.outbound.addresses import is_public
from ifeportal.outbound.client import OutboundRequest
from ifeportal.outbound.errors import OutboundRefused
from ifeportal.outbound.urls import OutboundUrl
from loader.errors import Code, WorldError
from tests.support.https_source import HttpsSource, https_source


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: LazySettings) -> Iterator[HttpsSource]:
    settings.OUTBOUND_ALLOW_PRIVATE = True
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "source.pem"))
    with https_source(tmp_path) as server:
        server.respond = lambda exchange: exchange.answer(200, body=b"content")
        yield server


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.31.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "192.0.0.170", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:1::", "::127.0.0.1"),
        *("64:ff9b:1::1", "100::1", "fec0::1"),
    ],
)
def test_other_addresses(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.com/", "begin with https"),
        ("ftp://example.com/", "begin with https"),
        ("//example.com/", "begin with https"),
        ("https://user:key@example.com/", "user name or password"),
        ("https://user@example.com/", "user name or password"),
        ("https:///path", "valid host"),
        ("https://[fe80::1%25eth0]/", "valid host"),
        ("https://example.com:99999/", "invalid"),
        ("https://example.com/" + "x" * 5000, "characters"),
    ],
)
def test_urls_that_are_refused(url: str, reason: str) -> None:
    with pytest.raises(OutboundRefused, match=reason) as caught:
        OutboundUrl.parse(url)
    assert "key" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"])
def test_loopback_is_refused_in_every_spelling(source: HttpsSource, settings: LazySettings, host: str) -> None:
    settings.OUTBOUND_ALLOW_PRIVATE = False
    with pytest.raises(OutboundRefused, match="not on the public internet"):
        OutboundRequest(f"https://{host}:{source.server_address[1]}/").open()
    assert source.requests == []


def test_answer_of_a_permitted_host(source: HttpsSource) -> None:
    with OutboundRequest(source.url, {"Range": "bytes=0-"}).open() as response:
        assert (response.status, response.read(100), response.read(100)) == (200, b"content", b"")
    assert source.requests[0]["Range"] == "bytes=0-"
    assert "Cookie" not in source.requests[0]


def test_connection_goes_to_the_address_that_was_checked(
    source: HttpsSource, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second resolution of the name would return a private address (DNS rebinding)."""
    settings.OUTBOUND_ALLOW_PRIVATE = False
    resolved: list[str] = []
    ask = socket.getaddrinfo

    def rebind(host: str, port: int, *arguments: Any, **options: Any) -> Any:
        resolved.append(host)
        if host != "rebinding.example":
            return ask(host, port, *arguments, **options)
        address = "127.0.0.1" if resolved.count(host) == 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebind)
    monkeypatch.setattr(client, "is_public", lambda address: address == "127.0.0.1")
    with pytest.raises(WorldError, match="certificate"):  # it is for the address, not for this name
        OutboundRequest(f"https://rebinding.example:{source.server_address[1]}/").open()
    assert resolved == ["rebinding.example", "127.0.0.1"]


def test_name_with_a_private_address_beside_a_public_one_is_refused(
    settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.OUTBOUND_ALLOW_PRIVATE = False
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 443)) for host in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **o: found)
    with pytest.raises(OutboundRefused):
        OutboundRequest("https://mixed.example/").open()


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://127.0.0.1/", "begin with https"),
        ("https://user:key@127.0.0.1/", "user name or password"),
        ("/", "redirects more than 5 times"),
    ],
)
def test_redirects_are_checked(source: HttpsSource, location: str, reason: str) -> None:
    source.respond = lambda exchange: exchange.answer(307, {"Location": location})
    with pytest.raises(OutboundRefused, match=reason):
        OutboundRequest(source.url).open()


def test_redirect_to_a_permitted_address_is_followed(source: HttpsSource) -> None:
    answers = {"/there": (200, {}, b"there"), "/": (302, {"Location": "there"}, b"")}
    source.respond = lambda exchange: exchange.answer(*answers[exchange.path])
    with OutboundRequest(source.url).open() as response:
        assert response.read(100) == b"there"


def test_unknown_certificate_is_refused(source: HttpsSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(WorldError, match="certificate"):
        OutboundRequest(source.url).open()


def test_closed_port_and_unknown_name(settings: LazySettings) -> None:
    settings.OUTBOUND_ALLOW_PRIVATE = True
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(WorldError) as caught:
        OutboundRequest(f"https://127.0.0.1:{port}/?key=secret").open()
    assert caught.value.code == Code.NETWORK
    assert "secret" not in str(caught.value)
    with pytest.raises(WorldError, match="cannot be resolved"):
        OutboundRequest("https://name.invalid/").open()
