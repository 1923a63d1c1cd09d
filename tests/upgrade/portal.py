"""The portal as a separate process, and users and programs that request it over HTTP."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPCookieProcessor, OpenerDirector, Request, build_opener, urlopen

from tests.support import portal_forks
from tests.upgrade.ground import LOOPBACK, PASSWORD, ROOT, TOTP_SECRET, code_of_app

PATIENCE = 60.0  # seconds
TAGS = re.compile(r"<(script|style|template)\b.*?</\1>|<[^>]*>", re.DOTALL)


@dataclass(frozen=True)
class Page:
    """A response: its final address and its body."""

    status: int
    path: str
    body: str

    @property
    def text(self) -> str:
        """Return the visible text, with white space collapsed."""
        return " ".join(TAGS.sub(" ", self.body).split())


@dataclass
class Visitor:
    """A browser without a screen: it stores cookies and follows redirects."""

    address: str
    cookies: CookieJar = field(default_factory=CookieJar)

    def get(self, path: str) -> Page:
        return self._ask(Request(self.address + path))

    def get_bytes(self, path: str) -> bytes:
        with self._opener.open(self.address + path, timeout=PATIENCE) as answer:
            return bytes(answer.read())

    def post(self, page: Page, **fields: str) -> Page:
        """Send a form to the address of its page."""
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.body)
        assert token, page.text
        data = urlencode({**fields, "csrfmiddlewaretoken": token[1]}).encode()
        return self._ask(Request(self.address + page.path, data, {"Referer": self.address + page.path}))

    def sign_in(self, name: str) -> Page:
        return self.post(self.get("/login/"), login=name, password=PASSWORD)

    def show_code(self, page: Page) -> Page:
        """Enter the code of the authenticator app, but not shortly before it changes."""
        while time.time() % 30 > 27:
            time.sleep(0.1)
        return self.post(page, code=code_of_app(TOTP_SECRET, time.time()))

    @property
    def _opener(self) -> OpenerDirector:
        return build_opener(HTTPCookieProcessor(self.cookies))

    def _ask(self, request: Request) -> Page:
        try:
            with self._opener.open(request, timeout=PATIENCE) as answer:
                return Page(answer.status, urlsplit(answer.url).path, answer.read().decode())
        except HTTPError as error:
            return Page(error.code, urlsplit(error.url or "").path, error.read().decode())


@dataclass(frozen=True)
class Program:
    """A program with a token."""

    address: str
    token: str

    def read(self, name: str, **filters: str) -> Any:
        """Return the response of an API address."""
        request = Request(f"{self.address}/api/v1/{name}/?{urlencode(filters)}", headers=self._headers)
        with urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def rows(self, name: str, **filters: str) -> list[dict[str, Any]]:
        """Return all rows of a list."""
        found = self.read(name, page_size="1000", **filters)
        assert found["count"] == len(found["results"])
        return list(found["results"])

    def post(self, name: str) -> int:
        """Return the status of a write request."""
        request = Request(
            f"{self.address}/api/v1/{name}/", b"{}", {**self._headers, "Content-Type": "application/json"}
        )
        try:
            with urlopen(request, timeout=PATIENCE) as answer:
                return int(answer.status)
        except HTTPError as error:
            return error.code

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@contextmanager
def portal(environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """Run the portal with these settings. Yields its address."""
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        port = free.getsockname()[1]
    address = f"http://{LOOPBACK}:{port}"
    command = [sys.executable, "manage.py", "runserver", "--noreload", f"{LOOPBACK}:{port}"]
    with log.open("wb") as output:
        process = portal_forks.popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        _await(address, process, log)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urlopen(f"{address}/login/", timeout=PATIENCE):
                return
        except URLError:
            time.sleep(0.05)
    raise AssertionError(log.read_text())
