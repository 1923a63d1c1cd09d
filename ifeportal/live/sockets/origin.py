"""Origin check of sockets: only pages of the portal itself, by scheme, host and port. Touches nothing.

A browser sends cookies with a socket from any site without preflight; only the Origin header tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from channels.security.websocket import WebsocketDenier
from django.conf import settings
from django.http.request import split_domain_port, validate_host

DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class OriginCheck:
    """Refuses a socket whose page is not of this portal before anything else is looked at."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        """Hand the socket on, or deny it."""
        inner = (
            self.application
            if is_allowed(_decode_headers(scope["headers"]), scope.get("scheme", "ws"))
            else WebsocketDenier()
        )
        return await inner(scope, receive, send)


def is_allowed(headers: Mapping[bytes, str], scheme: str) -> bool:
    """Whether the Origin is the address the portal was asked at, or one that CSRF_TRUSTED_ORIGINS names."""
    origin, host = normalise_origin(headers.get(b"origin", "")), headers.get(b"host", "")
    if not validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS):
        return False
    trusted = {normalise_origin(each) for each in settings.CSRF_TRUSTED_ORIGINS}
    return origin in trusted or origin == normalise_origin(f"{_page_scheme(headers, scheme)}://{host}")


def normalise_origin(origin: str) -> str:
    """An origin as browsers write it: small letters, without the port that its scheme has anyway."""
    origin = origin.strip().lower()
    return origin.removesuffix(DEFAULT_PORTS.get(origin.partition("://")[0], ""))


def _page_scheme(headers: Mapping[bytes, str], scheme: str) -> str:
    """How the page was reached: behind a proxy that ends TLS the socket itself does not tell."""
    forwarded = settings.BEHIND_PROXY and headers.get(b"x-forwarded-proto", "").strip().lower() == "https"
    return "https" if settings.HTTPS or forwarded or scheme in ("wss", "https") else "http"


def _decode_headers(found: Iterable[tuple[bytes, bytes]]) -> dict[bytes, str]:
    return {name.lower(): value.decode("latin-1") for name, value in found}
