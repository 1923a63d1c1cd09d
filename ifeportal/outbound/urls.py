"""Parses the URLs that outgoing requests may be sent to. Pure."""

from __future__ import annotations

from typing import Self
from urllib.parse import urljoin

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from ifeportal.outbound.errors import OutboundRefused
from loader.frozen import frozen

URL_LIMIT = 4_096  # characters


@frozen
class OutboundUrl:
    """An https URL in parts. `host` without brackets, `target` is path and query, percent-encoded."""

    host: str
    port: int
    target: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises OutboundRefused, with a sentence that does not quote the URL: it may contain a signature."""
        if len(text) > URL_LIMIT:
            raise OutboundRefused(f"The URL has {len(text):,} characters; the limit is {URL_LIMIT:,}.")
        try:
            url = parse_url(text)
        except LocationParseError:
            raise OutboundRefused("The URL is invalid.") from None
        if url.scheme != "https":
            raise OutboundRefused("The URL does not begin with https://.")
        host = (url.host or "").strip("[]")
        if not host or "%" in host:
            raise OutboundRefused("The URL has no valid host name.")
        if url.auth is not None:
            raise OutboundRefused("The URL contains a user name or password.")
        return cls(host, url.port or 443, url.request_uri)

    def redirected(self, location: str) -> Self:
        """Return the URL that a redirect from this one names. Raises OutboundRefused."""
        return self.parse(urljoin(str(self), location.strip()))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}{self.target}"
