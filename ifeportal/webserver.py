"""What daphne does with a request before the application sees it. Touches daphne and Twisted only.

The command `daphne` has no option for a request class, so `ifeportal.asgi` installs ours when daphne imports it.
"""

from __future__ import annotations

from daphne import http_protocol


class PortalRequest(http_protocol.WebRequest):
    """A request of daphne without the header that sets `root_path`."""

    def process(self) -> object:
        """Remove the header first: daphne answers 500 if its value is not ASCII. Sockets come this way too."""
        self.requestHeaders.removeHeader(b"daphne-root-path")
        return super().process()


def install_request_class() -> None:
    """Make daphne use PortalRequest for every connection from now on."""
    http_protocol.WebRequest = PortalRequest
