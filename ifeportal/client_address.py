"""The IP address of the client of a request: for the audit log, the lock-out and every count of requests.

With BEHIND_PROXY it is an entry of X-Forwarded-For, which each proxy extends at the end: the entry that many from the
end as there are proxies of our own (PROXY_HOPS). Entries before it can be forged by the client.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from django.conf import settings
from django.http import HttpRequest
from rest_framework.request import Request

# Azure, IIS and some load balancers append the port; an IPv6 address with a port is in brackets (RFC 7239, section 6).
_WITH_PORT: Final = re.compile(r"(?:\[(?P<bracketed>[^\[\]]+)\]|(?P<plain>[0-9.]+))(?::[0-9]{1,5})?")
LONGEST: Final = 100  # characters of an entry; the longest IPv6 address with zone, brackets and port is shorter


def client_address(request: HttpRequest | Request) -> str | None:
    """Return the IP address of the client; None for a Unix socket.

    An entry of X-Forwarded-For that is no address counts for nothing: the address of the peer is returned.
    """
    peer = parse_address(request.META.get("REMOTE_ADDR", ""))
    if not settings.BEHIND_PROXY:
        return peer
    return parse_address(forwarded_entry(request.META.get("HTTP_X_FORWARDED_FOR", ""), settings.PROXY_HOPS)) or peer


def forwarded_entry(header: str, hops: int) -> str:
    """Return the entry of X-Forwarded-For that the outermost of `hops` proxies wrote.

    With fewer entries the request came in behind the outermost proxy, so the first entry is that of the first proxy.
    """
    return header.rsplit(",", hops)[-hops:][0]


def parse_address(text: str) -> str | None:
    """Return the IP address in `text`, which may have a port, brackets, quotes or an IPv6 zone; None without one.

    An IPv6 address that contains an IPv4 address (::ffff:198.51.100.7) is returned as that.
    """
    text = text.strip().strip('"')
    if len(text) > LONGEST:
        return None
    match = _WITH_PORT.fullmatch(text)
    host = (match["bracketed"] or match["plain"]) if match else text
    try:
        address = ipaddress.ip_address(host.partition("%")[0])  # without the zone, which PostgreSQL refuses
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)
