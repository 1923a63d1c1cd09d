"""A headless Chromium, a portal process for it, and the actions that browser tests share.

Chromium is Debian's (`apt-get install chromium`). Without it the tests are skipped with a message; with CI=true they
fail. Playwright runs an event loop in this thread, so Django must allow queries in it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import pytest
from axe_core_python.base import AXE_SCRIPT
from django.conf import settings
from django.db import connection
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page

from ifeportal.embedded.processes import Process, free_port
from ifeportal.models import User
from tests.support.chromium import ChromiumMissing, headless_chromium
from tests.support.counted_totals import recount_all
from tests.support.portal_forks import popen
from tests.support.portal_system import is_answering, wait_for
from tests.support.postgresql import copy_database

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60_000  # milliseconds; long enough for a busy machine


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser. Skips the test if it is not installed, or fails it with CI=true."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        try:
            browser = stack.enter_context(headless_chromium())
        except ChromiumMissing as none:
            if os.environ.get("CI") == "true":
                pytest.fail(str(none))
            pytest.skip(str(none))
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        yield browser


class PortalAddress(Protocol):
    """A portal at an address."""

    @property
    def address(self) -> str: ...


class PortalProcess:
    """A daphne process on a free port with the database of this test run."""

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
        self.process = Process("portal", command, log=self.log, environment=environment, folder=ROOT, popen=popen)

    def start(self) -> None:
        self.process.start()
        wait_for("the portal answers", lambda: is_answering(self.address, self.process), seconds=PATIENCE / 1000)

    def stop(self) -> None:
        self.process.signal()
        self.process.wait()


def database_url() -> str:
    """Return the DATABASE_URL of this test run's database for other processes."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{name}").geturl()


def copy_tables(database: str) -> bool:
    """Make the tables in an empty PostgreSQL as those of this test run; return False if they are in SQLite."""
    if connection.vendor != "postgresql":
        return False
    copy_database(database_url(), database)
    return True


class BrowserSession:
    """A user signed in with a separate browser context. Records the errors and warnings of the console."""

    def __init__(self, browser: Browser, portal: PortalAddress, user: User | None, **options: object) -> None:
        self.portal = portal
        self.complaints: list[str] = []
        self.context: BrowserContext = browser.new_context(base_url=portal.address, **options)  # type: ignore[arg-type]
        self.context.set_default_timeout(PATIENCE)
        if user:
            client = Client()
            client.force_login(user)
            name = settings.SESSION_COOKIE_NAME
            self.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": portal.address}])
        self._open_tab()

    def _open_tab(self) -> None:
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.on("pageerror", lambda error: self._note("error", str(error)))

    def another_tab(self) -> BrowserSession:
        """Return the same user in another tab of the same browser context."""
        tab = copy(self)
        tab._open_tab()
        return tab

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def go(self, path: str, *, live: bool = True) -> Page:
        """Open a page with the totals of the rows as they are; with `live` wait until its socket is connected."""
        recount_all()
        self.page.goto(path)
        if live:
            self.page.locator('[data-live-status][data-state="live"]').wait_for()
        return self.page


# Only the violations leave the browser: what passes are megabytes.
RUN_AXE: Final = "options => axe.run(options).then(found => found.violations)"
WCAG: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")


def axe_violations(page: Page, rules: Sequence[str] = WCAG) -> list[str]:
    """Return what axe finds against WCAG 2.2 A and AA, or against the given rules, one line each."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found = page.evaluate(RUN_AXE, {"runOnly": list(rules), "resultTypes": ["violations"]})
    return [
        f"{violation['id']}: {violation['help']}: {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
        for violation in found
        for node in violation["nodes"]
    ]
