"""Networks of clients, by which attempts are counted. Pure, apart from the settings that name the proxy."""

from __future__ import annotations

import ipaddress
from typing import Final

from django.http import HttpRequest
from rest_framework.request import Request

from ifeportal.client_address import client_address

NO_ADDRESS: Final = "0.0.0.0"  # noqa: S104  # for a Unix socket; not an address to listen on
SUBSCRIBER_PREFIX: Final = 64  # bits; a single IPv6 subscriber has 2**64 addresses
SITE_PREFIX: Final = 48  # bits; a site, or a customer of a hosting provider, can have 65,536 networks of /64


def client_network(request: HttpRequest | Request) -> str:
    """Return the network of the client: its IPv4 address, the /64 of its IPv6 address, or NO_ADDRESS."""
    address = client_address(request)
    if address is None or ":" not in address:
        return address or NO_ADDRESS
    return _network(ipaddress.IPv6Address(address), SUBSCRIBER_PREFIX)


def client_site(request: HttpRequest | Request) -> str | None:
    """Return the /48 of the client's IPv6 address; None for other clients."""
    network = client_network(request)
    return f"{_network(ipaddress.IPv6Address(network), SITE_PREFIX)}/{SITE_PREFIX}" if ":" in network else None


def _network(address: ipaddress.IPv6Address, prefix: int) -> str:
    return str(ipaddress.IPv6Network((address, prefix), strict=False).network_address)
