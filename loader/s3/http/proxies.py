"""Decides which proxy a request goes through: HTTPS_PROXY and NO_PROXY as curl reads them. Pure.

The only place that decides it: for requests to the store (`loader.s3.http.connections`), for the queue
(`loader.s3.sqs`), and for the link check (`loader.network.link_monitor`).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import field
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlsplit

from urllib3.util.request import make_headers

from loader.frozen import frozen

_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_FORM: Final = (
    "must be the address of a proxy, such as http://proxy.example.net:3128; "
    "percent-encode special characters in its user name and password"
)


@frozen
class Proxy:
    """A proxy. `user` and `password` are decoded, None without a user name in the address."""

    scheme: str
    host: str
    port: int
    user: str | None = None
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        """Return host and port, for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The address without user name and password."""
        return f"{self.scheme}://{self}"

    @property
    def headers(self) -> dict[str, str]:
        """Proxy-Authorization, if the address has a user name."""
        if self.user is None:
            return {}
        credentials = f"{self.user}:{self.password}"
        return dict(make_headers(proxy_basic_auth=credentials, proxy_basic_auth_encoding="utf-8"))

    @property
    def url_with_credentials(self) -> str:
        """The complete address, for libraries that authenticate by themselves. A secret."""
        if self.user is None:
            return self.url
        return f"{self.scheme}://{quote(self.user, safe='')}:{quote(self.password, safe='')}@{self}"


def parse_proxy(text: str) -> Proxy:
    """Parse the address of an http or https proxy; without a scheme it is http.

    Raises ValueError, which continues a sentence that begins with the variable and never contains the address.
    """
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port
    except ValueError:  # its text may contain a part of the password
        raise ValueError(_FORM) from None
    if parts.scheme not in _PORTS:
        raise ValueError("must be an http:// or https:// address; other kinds of proxies are not supported")
    if not _HOST.fullmatch(parts.hostname or "") or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(_FORM)
    user, password = _credentials(parts)
    return Proxy(parts.scheme, parts.hostname or "", port or _PORTS[parts.scheme], user, password)


def _credentials(parts: SplitResult) -> tuple[str | None, str]:
    if parts.username is None:
        return None, ""
    return unquote(parts.username), unquote(parts.password or "")


def proxy_for(address: str, environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for requests to an address; None for a direct connection, as for every http:// address.

    Lower-case variables override upper-case ones. Raises ValueError for a proxy that is not an http(s) address.
    """
    parts = urlsplit(address)
    text = _variable(environment, "https_proxy")
    if parts.scheme != "https" or not text:
        return None
    if bypasses_proxy(parts.hostname or "", parts.port or 443, _variable(environment, "no_proxy")):
        return None
    try:
        return parse_proxy(text)
    except ValueError as error:
        raise ValueError(f"HTTPS_PROXY {error}") from None


def _variable(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name, environment.get(name.upper(), ""))


def bypasses_proxy(host: str, port: int, no_proxy: str) -> bool:
    """Whether NO_PROXY lists the host: by name, domain, address or network (10.0.0.0/8), with or without a port.

    Entries are separated by commas or white space; `*` lists every host. Names are not resolved.
    """
    host = host.lower().strip("[]").rstrip(".")
    return any(_is_listed(entry, host, port) for entry in re.split(r"[\s,]+", no_proxy.lower()) if entry)


def _is_listed(entry: str, host: str, port: int) -> bool:
    name, entry_port = _split_port(entry)
    if entry_port not in ("", str(port)):
        return False
    network, address = _network(name), _address(host)
    if network is not None:
        return address is not None and address in network
    domain = name.removeprefix("*").strip(".")
    return name == "*" or (bool(domain) and f".{host}".endswith(f".{domain}"))


def _split_port(entry: str) -> tuple[str, str]:
    """Split `host:port` and `[address]:port`. A port is "" if there is none."""
    match = re.fullmatch(r"\[([^\]]*)\]([^:]*)(?::([0-9]+))?", entry) or re.fullmatch(r"([^:]*)():([0-9]+)", entry)
    return (match[1] + match[2], match[3] or "") if match else (entry, "")


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Return a network, or an address as a network of one; None for a name."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
