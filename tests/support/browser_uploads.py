"""A page that uploads files, in a browser, to a real store behind a proxy that can be slow, faulty or away."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.conf import settings
from playwright.sync_api import Browser, Locator, Page

from campaigns.uploads import operation as upload_operation
from campaigns.uploads.models import Upload
from fleet.simulation.faults import Hang, Rule
from fleet.simulation.proxy import FaultProxy
from ifeportal.embedded.seaweedfs import SeaweedFS
from ifeportal.models import User
from ifeportal.operations.execution.runner import run_due_operations
from loader.contract.units import MIB
from loader.s3.client import S3Bucket
from loader.s3.interface import CorsRule
from tests.support.browser_portal import BrowserSession, database_url
from tests.support.portal_system import PortalSystem, is_answering, wait_for

PART = 16 * MIB


@dataclass
class UploadSite:
    """The portal, its media bucket, and the proxy between both the browser and the portal, and the store."""

    system: PortalSystem
    media: S3Bucket
    link: FaultProxy
    browser: Browser

    def bytes_sent(self) -> int:
        """Return the bytes of parts that browsers have sent."""
        return sum(each.received for each in self.link.requests("PUT", "*/data") if "partNumber" in each.query)

    def hold_after(self, parts: int) -> None:
        """Let so many parts pass, and answer no further one until `release`."""
        self.link.add(Rule(Hang(), method="PUT", key="*/data", nth=parts + 1, times=None))

    def release(self) -> None:
        """Let new requests pass. Those that hang stay so until their client gives up."""
        self.link.rules.clear()

    def reset_connections(self) -> None:
        """Break all requests that are under way."""
        self.link.offline()
        self.link.online()

    def work(self) -> None:
        """Do what is due of operations, as a worker does."""
        run_due_operations()

    def work_until(self, what: str, done: Callable[[], object]) -> None:
        """Work until `done()` is true. Raises AssertionError if that takes too long."""

        def step() -> bool:
            self.work()
            return bool(done())

        wait_for(what, step)


class UploadPage:
    """A user's page with the element that uploads files."""

    def __init__(self, session: BrowserSession, path: str = "/uploads/", *, live: bool = True) -> None:
        self.session = session
        self.page: Page = session.go(path, live=live)
        self.page.locator("file-uploads [data-all=choose]").wait_for()

    def choose(self, *paths: Path) -> None:
        """Choose files, as the dialog of the browser does."""
        self.page.locator("file-uploads [data-panel=input]").set_input_files([str(path) for path in paths])

    def row(self, name: str) -> Locator:
        return self.page.locator(".upload-row", has=self.page.locator(f'b:text-is("{name}")'))

    def state_of(self, name: str) -> str | None:
        """Return the state of the row, None while there is none."""
        rows = self.row(name)
        return rows.first.get_attribute("data-upload-state") if rows.count() else None

    def wait_for(self, name: str, *states: str) -> Locator:
        """Wait until the file is in one of these states."""
        selector = ", ".join(f'.upload-row[data-upload-state="{state}"]' for state in states)
        found = self.page.locator(selector, has=self.page.locator(f'b:text-is("{name}")'))
        found.wait_for()
        return found

    def press(self, name: str, button: str) -> None:
        self.row(name).locator(f"[data-do={button}]").click()


@contextmanager
def upload_site(folder: Path, seaweed: SeaweedFS, media: S3Bucket, browser: Browser) -> Iterator[UploadSite]:
    """Start the portal, with a proxy before the store."""
    with FaultProxy(seaweed.endpoint) as link, pytest.MonkeyPatch.context() as patch:
        environment = {
            "DATABASE_URL": database_url(),
            "SECRET_KEY": settings.SECRET_KEY,
            "MEDIA_BUCKET": media.name,
            "STATUS_BUCKET": f"{media.name}-status",
            **seaweed.environment(),
            "AWS_ENDPOINT_URL_S3": link.endpoint,
        }
        system = PortalSystem(folder, environment)
        patch.setattr(upload_operation, "_media", lambda: media)
        system.portal.start()
        try:
            wait_for("the portal answers", lambda: is_answering(system.address, system.portal))
            rule = CorsRule((system.address,), ("PUT",), ("*",), ("ETag",), 600)
            media.put_cors([rule])
            yield UploadSite(system, media, link, browser)
        finally:
            system.portal.signal()
            system.portal.wait()


def write_file(path: Path, size: int) -> Path:
    """Write a file whose parts differ, without holding all of it in memory."""
    block = os.urandom(MIB)
    with path.open("wb") as file:
        for number in range(-(-size // MIB)):
            file.write((number.to_bytes(8, "big") + block)[: min(MIB, size - number * MIB)])
    return path


def session(site: UploadSite, user: User | None, **options: object) -> BrowserSession:
    """Open a window of the user."""
    return BrowserSession(site.browser, site.system, user, **options)


def only_upload() -> Upload:
    return Upload.objects.select_related("operation").get()
