"""Addresses of a store: endpoint, path of a bucket, quoting as Signature Version 4 needs it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlsplit

_DNS_COMPATIBLE: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")


def endpoint_for(bucket: str, endpoint: str | None, region: str) -> tuple[str, str]:
    """Scheme and host, and what every path begins with. Raises ValueError for an endpoint that is no http(s) address.

    On AWS the bucket is part of the host name, unless dots or capitals in its name would break TLS there.
    """
    if endpoint:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"the endpoint {endpoint!r} is not an http:// or https:// address")
        return f"{parts.scheme}://{parts.netloc}", f"{parts.path.rstrip('/')}/{bucket}"
    domain = f"s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")
    if _DNS_COMPATIBLE.fullmatch(bucket):
        return f"https://{bucket}.{domain}", ""
    return f"https://{domain}", f"/{bucket}"


def quote_key(key: str) -> str:
    """A key as it stands in a request's path and signature. Unpaired surrogates raise UnicodeEncodeError."""
    return quote(key, safe="/~")


def quote_query(values: Mapping[str, str]) -> str:
    """A query string in the one spelling that Signature Version 4 also signs."""
    pairs = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in values.items())
    return "&".join(f"{name}={value}" for name, value in pairs)


_PORTS: Final = {"http": 80, "https": 443}


def host_header(base: str) -> str:
    """What the Host header says for scheme and host of an endpoint: with a port only where it is not the usual one."""
    parts = urlsplit(base)
    name = parts.hostname or ""
    host = f"[{name}]" if ":" in name else name
    return host if parts.port in (None, _PORTS.get(parts.scheme)) else f"{host}:{parts.port}"
