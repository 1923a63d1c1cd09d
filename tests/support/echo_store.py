"""A store that echoes credentials: responses of the media bucket repeat what the request contained.

Signatures, tokens and complete Authorization headers are returned in bodies, headers, reason phrases, redirects and
ETags. Records the objects written to the status bucket and every signature it received, for tests to search.
"""

from __future__ import annotations

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, Self

MEDIA, STATUS = "media", "status-of-tails"
_SIGNATURE: Final = re.compile(r"Signature=([0-9a-f]{64})")
ECHO_KINDS: Final = (
    "denied",
    "mismatch",
    "code",
    "redirect",
    "busy",
    "listing",
    "manifest",
    "item",
    "reason",
    "broken",
    "range",
    "junk",
)


class EchoStore(ThreadingHTTPServer):
    """`kind`: how it echoes. `echoes`: how often. `stored`: the status bucket. `signatures`: all it received."""

    daemon_threads = True
    request_queue_size = 128  # connections; of more at once the kernel refuses some

    def __init__(self, tale: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.kind, self.echoes = tale, 0
        self.stored: list[bytes] = []
        self.signatures: set[str] = set()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: EchoStore

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        self._take_down()
        if self.path.startswith(f"/{STATUS}"):
            self._say(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            self._tell()

    def do_PUT(self) -> None:
        self._take_down()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.stored.append(body)
        self._say(200, b"", ETag=f'"{hashlib.md5(body).hexdigest()}"')

    def do_DELETE(self) -> None:
        self._take_down()
        self._say(204, b"")

    def _take_down(self) -> None:
        self.server.signatures.update(_SIGNATURE.findall(self.headers.get("Authorization", "") + self.path))

    def _tell(self) -> None:
        """Echo the request in the way of `kind`."""
        self.server.echoes += 1
        said = "\n".join(f"{name}: {value}" for name, value in self.headers.items()) + "\n" + self.path
        authorization = self.headers.get("Authorization", "")
        signature = next(iter(_SIGNATURE.findall(authorization)), "")
        token = self.headers.get("X-Amz-Security-Token", "")
        xml = f"<Error><Code>{{}}</Code><Message>{said}</Message><StringToSign>{authorization}</StringToSign></Error>"
        signed = f"X-Amz-Signature={signature}&X-Amz-Security-Token={token}"
        match self.server.kind:
            case "denied":
                self._say(403, xml.format("AccessDenied").encode())
            case "mismatch":
                self._say(403, xml.format("SignatureDoesNotMatch").encode())
            case "code":
                self._say(400, xml.format(signature or token).encode(), ETag=f'"{token}"')
            case "redirect":
                self._say(307, xml.format("TemporaryRedirect").encode(), Location=f"http://other.invalid/?{signed}")
            case "busy":
                self._say(503, xml.format("SlowDown").encode(), Retry_After=token)
            case "listing":
                self._say(200, f"<ListBucketResult><{token}>{said}".encode())
            case "manifest":
                self._manifest(said.encode())
            case "item" if not self.path.endswith(".tgz"):
                self._manifest(b'{"schema": 1, "content": [{"name": "a", "size": 5}]}')
            case "item":
                self._say(400, xml.format("InvalidRequest").encode(), ETag=f'"{token}"')
            case "reason":
                self._say(403, b"", reason=f"{authorization} {token}")
            case "broken":
                self.close_connection = True
                self._say(200, said.encode(), Content_Length=signature)
            case "range":
                self._say(206, said.encode(), Content_Range=f"bytes {signature}", ETag=f'"{token}"')
            case _:
                self.wfile.write(f"{authorization} {token}\r\n\r\n".encode())
                self.close_connection = True

    def _manifest(self, body: bytes) -> None:
        """Answer as a bucket with one campaign that has this manifest."""
        if "list-type" in self.path:
            prefix = "<CommonPrefixes><Prefix>ACME/c/</Prefix></CommonPrefixes>"
            self._say(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{prefix}</ListBucketResult>".encode())
        else:
            self._say(200, body, ETag='"1"')

    def _say(self, status: int, body: bytes, reason: str | None = None, **headers: str) -> None:
        self.send_response(status, reason)
        if "Content_Length" not in headers and status != 204:
            headers["Content_Length"] = str(len(body))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
