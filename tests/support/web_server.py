"""One daphne process, started as the manual says, with the database of the running test."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Self

from ifeportal.embedded.processes import LOOPBACK, Process, free_port
from tests.support.browser_portal import database_url
from tests.support.portal_forks import popen
from tests.support.portal_system import PATIENCE, ROOT, is_answering, wait_for

RUN_DAPHNE = "from daphne.cli import CommandLineInterface; CommandLineInterface.entrypoint()"


@dataclass(frozen=True)
class WebAnswer:
    """A response. `cookies` are those that it sets, as a client returns them."""

    status: int
    headers: dict[str, str]
    body: str
    cookies: dict[str, str]


class WebServer:
    """The running server. Use as a context manager; `settings` are environment variables besides the database.

    `before` is Python code that runs in its process first, such as to shorten a time limit. `application` is another
    one than the portal's. `popen` creates the process: `subprocess.Popen` where its memory is measured.
    """

    def __init__(
        self,
        folder: Path,
        *,
        before: str = "",
        application: str = "ifeportal.asgi:application",
        popen: Callable[..., subprocess.Popen[bytes]] = popen,
        **settings: str,
    ) -> None:
        self.port = free_port()
        self.address = f"http://{LOOPBACK}:{self.port}"
        environment = {**os.environ, "DEBUG": "1", "DATABASE_URL": database_url(), "PYTHONUNBUFFERED": "1", **settings}
        start = ["-c", f"{before}\n{RUN_DAPHNE}"] if before else ["-m", "daphne"]
        command = [sys.executable, *start, "-b", LOOPBACK, "-p", str(self.port), application]
        self.process = Process(
            "web", command, log=folder / "web.log", environment=environment, folder=ROOT, popen=popen
        )

    @property
    def log(self) -> str:
        """Return its complete output, including mails to the console."""
        return self.process.log.read_text(errors="replace")

    def connect(self) -> socket.socket:
        """Open a raw connection."""
        return socket.create_connection((LOOPBACK, self.port), timeout=PATIENCE)

    def memory(self, field: str = "VmRSS") -> int:
        """Return its memory in bytes: VmRSS is the current value, VmHWM the peak."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024

    def ask(
        self, method: str, path: str, body: str | bytes | None = None, headers: dict[str, str] | None = None
    ) -> WebAnswer:
        """Send one request over a new connection."""
        connection = HTTPConnection(LOOPBACK, self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, headers or {})
            found = connection.getresponse()
            set_cookies = found.headers.get_all("Set-Cookie", [])
            pairs = (line.partition(";")[0].partition("=") for line in set_cookies)
            text = found.read().decode()
            return WebAnswer(found.status, dict(found.headers), text, {name: value for name, _, value in pairs})
        finally:
            connection.close()

    def __enter__(self) -> Self:
        self.process.start()
        wait_for("the web server answers", lambda: is_answering(self.address, self.process, "/healthz"))
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()
