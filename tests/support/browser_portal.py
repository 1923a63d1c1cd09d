"""A headless Chromium and a portal of its own process to point it at; and what is done with them in the tests.

Chromium is Debian's (`apt-get install chromium`). Where there is none the tests are skipped loudly; with CI=true they
fail. Playwright keeps an event loop running in this thread, so Django is told that queries in it are meant.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import pytest
from axe_core_python.sync_playwright import Axe
from django.conf import settings
from django.db import connection
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page

from ifeportal.embedded.processes import Process, free_port
from ifeportal.models import User
from tests.support.chromium import NoBrowser, headless
from tests.support.portal_system import answers, wait_for

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60_000  # milliseconds; generous, the machine may be busy


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser. Skips the test, or fails it with CI=true, if there is none."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        try:
            browser = stack.enter_context(headless())
        except NoBrowser as none:
            if os.environ.get("CI") == "true":
                pytest.fail(str(none))
            pytest.skip(str(none))
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        yield browser


class Served(Protocol):
    """A portal somewhere."""

    @property
    def address(self) -> str: ...


class Portal:
    """daphne in a process of its own, on a free port, with this test run's database."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        command = [
            sys.executable,
            "-m",
            "daphne",
            "-b",
            "127.0.0.1",
            "-p",
            str(self.port),
            settings.ASGI_APPLICATION.replace(".application", ":application"),
        ]
        environment = {**os.environ, "DATABASE_URL": database_url(), "DEBUG": "1", "SECRET_KEY": settings.SECRET_KEY}
        self.log = folder / "daphne.log"
        self.process = Process("portal", command, log=self.log, environment=environment, folder=ROOT)

    def start(self) -> None:
        self.process.start()
        wait_for("the portal answers", lambda: answers(self.address, self.process), seconds=PATIENCE / 1000)

    def stop(self) -> None:
        self.process.signal()
        self.process.wait()


def database_url() -> str:
    """Where another process finds this test run's database."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()


class Visit:
    """A user signed in with a browser window of their own; it gathers what the console complains of."""

    def __init__(self, browser: Browser, portal: Served, user: User | None, **options: object) -> None:
        self.portal = portal
        self.complaints: list[str] = []
        self.context: BrowserContext = browser.new_context(base_url=portal.address, **options)  # type: ignore[arg-type]
        self.context.set_default_timeout(PATIENCE)
        if user:
            client = Client()
            client.force_login(user)
            name = settings.SESSION_COOKIE_NAME
            self.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": portal.address}])
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.on("pageerror", lambda error: self._note("error", str(error)))

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def go(self, path: str, *, live: bool = True) -> Page:
        """Open a page; with `live` wait until its socket is."""
        self.page.goto(path)
        if live:
            self.page.locator('[data-live-status][data-state="live"]').wait_for()
        return self.page


WCAG: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")


def axe_violations(page: Page, rules: Sequence[str] = WCAG) -> list[str]:
    """What axe finds against WCAG 2.2 A and AA, or against some of its rules alone, a line each."""
    found = Axe().run(page, options={"runOnly": list(rules)})
    return [
        f"{violation['id']}: {violation['help']}: {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]
