"""Addresses from which the portal fetches a file, parsed where they arrive. Pure.

Which hosts may be connected to is decided where the connection is made, because names can resolve to anything.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit, urlunsplit

URL_LIMIT: Final = 4_096  # characters; addresses with a signature have up to 2,000


def parse_source_url(text: str) -> str:
    """Return an https: URL without a fragment. Raises ValueError with a sentence that does not repeat the URL."""
    if len(text) > URL_LIMIT:
        raise ValueError(f"The URL is too long. The limit is {URL_LIMIT:,} characters.")
    if not text.isascii() or not text.isprintable() or any(character in text for character in ' \\"<>^`{|}'):
        raise ValueError("The URL has a character that must be percent-encoded.")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError("This is not a URL.") from error
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError("Send a URL that starts with https:// and a host name.")
    if parts.username is not None or parts.password is not None:
        raise ValueError("The URL must not contain a user name or a password.")
    if port == 0:
        raise ValueError("This is not a URL.")
    return urlunsplit(parts._replace(fragment=""))
