"""The address of a client as proxies write it: with ports, brackets, zones, several hops, or not at all."""

from __future__ import annotations

import pytest
from django.http import HttpRequest
from django.test import RequestFactory, override_settings
from rest_framework.request import Request

from ifeportal.accounts.limits.networks import client_network
from ifeportal.api.throttling import CallerRateThrottle
from ifeportal.client_address import client_address, parse_address

PEER = "192.0.2.1"


def request(forwarded: str | None, peer: str = PEER) -> HttpRequest:
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    return RequestFactory(headers=headers).get("/", REMOTE_ADDR=peer)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("198.51.100.9", "198.51.100.9"),
        (" 198.51.100.9:50123 ", "198.51.100.9"),
        ('"198.51.100.9:50123"', "198.51.100.9"),
        ("2001:DB8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:50123", "2001:db8::7"),
        ("[fe80::1%eth0]:443", "fe80::1"),
        ("fe80::1%25eth0", "fe80::1"),
        ("::ffff:198.51.100.9", "198.51.100.9"),
        ("[::ffff:198.51.100.9]:50123", "198.51.100.9"),
        *((text, None) for text in ("", "unknown", "_hidden", "198.51.100.9:", "198.51.100.9:port", "198.51.100")),
        *((text, None) for text in ("[]", "[2001:db8::7", "2001:db8::7]", "198.51.100.9.1:5", "unix:", "1" * 200)),
    ],
)
def test_an_address_is_read_in_every_form_that_proxies_write(text: str, address: str | None) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("hops", "forwarded", "address"),
    [
        (1, "203.0.113.9, 198.51.100.7", "198.51.100.7"),
        (2, "203.0.113.9, 198.51.100.7", "203.0.113.9"),
        (2, "forged, 203.0.113.9:1, 198.51.100.7:2", "203.0.113.9"),
        (3, "forged, [2001:db8::7]:1, 203.0.113.9, 198.51.100.7", "2001:db8::7"),
        (3, "198.51.100.7", "198.51.100.7"),
        (1, "203.0.113.9, unknown", PEER),
        (1, "203.0.113.9,", PEER),
        (2, "unknown, 198.51.100.7", PEER),
        (1, None, PEER),
        (1, "", PEER),
    ],
)
def test_the_entry_of_the_outermost_proxy_counts_and_anything_else_falls_back_to_the_peer(
    hops: int, forwarded: str | None, address: str
) -> None:
    with override_settings(BEHIND_PROXY=True, PROXY_HOPS=hops):
        assert client_address(request(forwarded)) == address
    with override_settings(BEHIND_PROXY=False, PROXY_HOPS=hops):
        assert client_address(request(forwarded)) == PEER


@override_settings(BEHIND_PROXY=True)
def test_a_throttle_counts_networks_and_no_ports() -> None:
    throttle = CallerRateThrottle()
    counted = {throttle.get_ident(Request(request(f"198.51.100.9:{port}"))) for port in range(50_000, 50_010)}
    assert counted == {"198.51.100.9"}
    counted = {throttle.get_ident(Request(request(f"[2001:db8:1:2::{port}]:{port}"))) for port in range(1, 9)}
    assert counted == {"2001:db8:1:2::"}


def test_clients_over_ipv4_at_an_ipv6_socket_are_no_single_network() -> None:
    assert client_network(request(None, "::ffff:198.51.100.9")) == "198.51.100.9"
    assert client_network(request(None, "::ffff:198.51.100.10")) == "198.51.100.10"
