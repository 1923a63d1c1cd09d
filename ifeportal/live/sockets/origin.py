"""Origin check of sockets: only pages of the portal itself, by scheme, host and port. Touches nothing.

A browser sends cookies with a socket from any site, without a CORS preflight. Only the Origin header shows the site.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from channels.security.websocket import WebsocketDenier
from django.conf import settings
from django.http.request import split_domain_port, validate_host

DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class OriginCheck:
    """Refuses a socket from another site, before anything else is checked."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        inner = (
            self.application
            if is_allowed(_decode_headers(scope["headers"]), scope.get("scheme", "ws"))
            else WebsocketDenier()
        )
        return await inner(scope, receive, send)


def is_allowed(headers: Mapping[bytes, str], scheme: str) -> bool:
    """Whether the Origin is the portal's own address, by the Host header, or is in CSRF_TRUSTED_ORIGINS."""
    origin, host = normalise_origin(headers.get(b"origin", "")), headers.get(b"host", "")
    if not validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS):
        return False
    trusted = {normalise_origin(each) for each in settings.CSRF_TRUSTED_ORIGINS}
    return origin in trusted or origin == normalise_origin(f"{_page_scheme(headers, scheme)}://{host}")


def normalise_origin(origin: str) -> str:
    """Return the origin as browsers write it: lower case, without the scheme's default port."""
    origin = origin.strip().lower()
    return origin.removesuffix(DEFAULT_PORTS.get(origin.partition("://")[0], ""))


def _page_scheme(headers: Mapping[bytes, str], scheme: str) -> str:
    """Return the scheme of the page. Behind a proxy that terminates TLS the socket's own scheme does not show it."""
    forwarded = settings.BEHIND_PROXY and headers.get(b"x-forwarded-proto", "").strip().lower() == "https"
    return "https" if settings.HTTPS or forwarded or scheme in ("wss", "https") else "http"


def _decode_headers(found: Iterable[tuple[bytes, bytes]]) -> dict[bytes, str]:
    return {name.lower(): value.decode("latin-1") for name, value in found}
