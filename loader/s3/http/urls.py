"""Addresses of a store: endpoint, path of a bucket, quoting for Signature Version 4. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final, Literal
from urllib.parse import SplitResult, quote, urlsplit

AddressingStyle = Literal["auto", "path", "virtual"]
_STYLES: Final[tuple[AddressingStyle, ...]] = ("auto", "path", "virtual")
# A host name, which may have underscores in private networks, or an IPv6 address.
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_.])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_DNS_COMPATIBLE: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_HOST_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def check_endpoint(text: str) -> SplitResult:
    """Return the parts of a store's address. Raises ValueError, which continues a sentence and contains no value."""
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(_HOST.fullmatch(parts.hostname or "")) and parts.port != 0
    except ValueError:  # a port that is not a number, or an incomplete IPv6 address
        valid = False
    if not valid:
        raise ValueError("is not an http:// or https:// address, such as https://s3.example.net")
    if parts.username is not None:
        raise ValueError("must not contain a user name or a password")
    if parts.query or parts.fragment:
        raise ValueError("must not contain a query or a fragment")
    return parts


def parse_addressing_style(text: str) -> AddressingStyle:
    """Parse the value of AWS_S3_ADDRESSING_STYLE. Raises ValueError."""
    for style in _STYLES:
        if text.lower() == style:
            return style
    raise ValueError(f"the addressing style (AWS_S3_ADDRESSING_STYLE) is not one of {', '.join(_STYLES)}")


def endpoint_for(bucket: str, endpoint: str | None, region: str, style: AddressingStyle = "auto") -> tuple[str, str]:
    """Return scheme and host, and the prefix of every path.

    With `auto`, the bucket is part of the host name on AWS, unless dots or capitals in its name would break TLS, and
    part of the path elsewhere. Raises ValueError if `endpoint` is not an http(s) address, or has no host name that the
    bucket could be part of.
    """
    if not endpoint:
        domain = f"s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")
        if style != "path" and _DNS_COMPATIBLE.fullmatch(bucket):
            return f"https://{bucket}.{domain}", ""
        return f"https://{domain}", f"/{bucket}"
    try:
        parts = check_endpoint(endpoint)
    except ValueError as error:
        raise ValueError(f"the endpoint {error}") from None
    path = parts.path.rstrip("/")
    if style != "virtual":
        return f"{parts.scheme}://{parts.netloc}", f"{path}/{bucket}"
    check_virtual_hosts(parts.hostname or "", bucket)
    return f"{parts.scheme}://{bucket}.{parts.netloc}", path


def check_virtual_hosts(host: str, bucket: str) -> None:
    """Raise ValueError unless the bucket can be part of the host name, as AWS_S3_ADDRESSING_STYLE=virtual requires."""
    advice = "set AWS_S3_ADDRESSING_STYLE=path"
    try:
        ip_address(host)
    except ValueError:
        if _HOST_NAME.fullmatch(bucket):
            return
        raise ValueError(f"the bucket name {bucket!r} cannot be part of a host name; {advice}") from None
    raise ValueError(f"the endpoint has an IP address, so the bucket cannot be part of its name; {advice}")


def quote_key(key: str) -> str:
    """Quote a key for the path of a request and its signature. Raises UnicodeEncodeError for unpaired surrogates."""
    return quote(key, safe="/~")


def quote_query(values: Mapping[str, str]) -> str:
    """Return the query string in the canonical form that Signature Version 4 signs."""
    pairs = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in values.items())
    return "&".join(f"{name}={value}" for name, value in pairs)


_PORTS: Final = {"http": 80, "https": 443}


def host_header(base: str) -> str:
    """Return the Host header for the scheme and host of an endpoint; the port only if it is not the default."""
    parts = urlsplit(base)
    name = parts.hostname or ""
    host = f"[{name}]" if ":" in name else name
    return host if parts.port in (None, _PORTS.get(parts.scheme)) else f"{host}:{parts.port}"


def origin_of(base: str) -> str:
    """Return the scheme and host of an endpoint as browsers name an origin: without the default port."""
    return f"{urlsplit(base).scheme}://{host_header(base)}"
