"""Request class for daphne: bounds the body and drops a header before the application is called.

`daphne_server` installs it.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final
from urllib.parse import unquote

from daphne import http_protocol
from django.conf import settings
from django.http import HttpResponse

from ifeportal.web.errors import body_too_large

# Seconds for which a refused client may continue to send. Closing immediately would reset the connection, and the reset
# could reach the client before the response (RFC 9112, section 9.6).
LINGER: Final = 5


class PortalRequest(http_protocol.WebRequest):
    """A daphne request with a bounded body, and without the header that sets `root_path`.

    daphne stores the complete body before it calls the application. Only this class can refuse a body early.
    """

    content: BytesIO  # or a temporary file, for large bodies
    _received = 0  # bytes of the body
    _refused = False

    def __init__(self, *arguments: Any) -> None:
        # Twisted would parse forms in the event loop, at many times their size in memory, into `args`, which daphne
        # never reads.
        super().__init__(*arguments, parsePOSTFormSubmission=False)

    def gotLength(self, length: int | None) -> None:
        """Refuse a body whose declared length is too large; `length` is None for a chunked body."""
        super().gotLength(length if length is None else min(length, settings.BODY_LIMIT))
        if length is not None and length > settings.BODY_LIMIT:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        """Store a part of the body; refuse the body when it exceeds the limit."""
        self._received += len(data)
        if not self._refused and self._received > settings.BODY_LIMIT:
            self._refuse()
        if not self._refused:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Process the request at the end of its body. Close the connection of a refused request."""
        if self._refused:
            self.channel.loseConnection()
        else:
            super().requestReceived(command, path, version)

    def process(self) -> object:
        """Remove the header first: daphne responds with 500 if its value is not ASCII. Also called for WebSockets."""
        self.requestHeaders.removeHeader(b"daphne-root-path")
        return super().process()

    def _refuse(self) -> None:
        """Respond with 413, discard all received and further data, and close the connection after LINGER seconds."""
        self._refused = True
        self.content.close()
        self.content = BytesIO()
        self.requestHeaders.removeHeader(b"expect")  # Twisted would ask for the body
        channel = self.channel
        channel.stop_deadline()
        uri = channel._path.decode("latin-1")
        response = body_too_large(unquote(uri.partition("?")[0]))
        channel.transport.write(_serialize(response))
        channel.transport.unregisterProducer()
        channel.transport.loseWriteConnection()
        channel.dataReceived = _drop
        channel.setTimeout(LINGER)
        self._log_refusal(uri, response)

    def _log_refusal(self, uri: str, response: HttpResponse) -> None:
        details = {
            "path": uri,
            "status": response.status_code,
            "method": self.channel._command.decode("latin-1"),
            "client": f"{getattr(self.client, 'host', '')}:{getattr(self.client, 'port', '')}",
            "time_taken": 0.0,
            "size": len(response.content),
        }
        self.server.log_action("http", "complete", details)


def _drop(data: bytes) -> None:
    """Discard data that a refused client still sends."""


def _serialize(response: HttpResponse) -> bytes:
    """Return the response as an HTTP/1.1 message that is the last one of its connection."""
    status = f"HTTP/1.1 {response.status_code} {response.reason_phrase}"
    headers = {**response.headers, "Content-Length": str(len(response.content)), "Connection": "close"}
    lines = [status, *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + response.content
