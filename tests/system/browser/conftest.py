"""The browser and the portal of the browser tests: one of each per module, started on first use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser

from ifeportal.live.feed import COUNTER_ID
from ifeportal.live.models import Counter
from ifeportal.models import User
from tests.support.browser_portal import BrowserSession, PortalProcess, chromium

Visitor = Callable[..., BrowserSession]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def served(
    django_db_setup: None, browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PortalProcess]:
    portal = PortalProcess(tmp_path_factory.mktemp("portal"))
    portal.start()
    yield portal
    portal.stop()


@pytest.fixture
def portal(served: PortalProcess, transactional_db: None) -> PortalProcess:
    """Return the portal with an empty database. Revisions continue to grow, because the running process has seen
    earlier ones.
    """
    Counter.objects.update_or_create(pk=COUNTER_ID, defaults={"rev": time.time_ns() // 1_000_000})
    return served


@pytest.fixture
def visit(browser: Browser, portal: PortalProcess) -> Iterator[Visitor]:
    """Open a window for a user: `visit(user, java_script_enabled=False, …)`."""
    visits: list[BrowserSession] = []

    def begin(user: User | None, **options: object) -> BrowserSession:
        visits.append(BrowserSession(browser, portal, user, **options))
        return visits[-1]

    yield begin
    for one in visits:
        one.context.close()
