"""Access log of daphne without the secrets in addresses: links that reset a password, answers of a sign-in service.

The command `daphne` has no option for the class of its log, so `ifeportal.asgi` installs this one when daphne imports
it, before the server starts.
"""

from __future__ import annotations

from typing import Any

from daphne import cli
from daphne.access import AccessLogGenerator

from ifeportal.conf.logging import escape_control_characters, hide_links


class RedactedAccessLog(AccessLogGenerator):  # type: ignore[misc]  # daphne has no annotations
    """Writes a line for each request and each WebSocket."""

    def __call__(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        path = str(details.get("path", ""))
        super().__call__(protocol, action, {**details, "path": escape_control_characters(hide_links(path))})


def install_access_log() -> None:
    """Make daphne use RedactedAccessLog."""
    cli.AccessLogGenerator = RedactedAccessLog
