"""The page `/uploads/` and the page `/activity/` in a browser, with the times at which they show something.

Times are Unix seconds: browser and portal have the same clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, BrowserContext, Page, Request

from benchmarks.shared.processes import MeasurementError

PATIENCE: Final = 1_800_000  # milliseconds
BYTES: Final = '[data-field="bytes_done"]'
# When the row of a file was first in each state, and when an element first had each text.
OBSERVE: Final = """(selector) => {
    const seen = new Map(), awaited = new Map();
    window.states = {};
    const note = (text) => {
        if (text === undefined || seen.has(text)) return;
        seen.set(text, Date.now() / 1000);
        awaited.get(text)?.(seen.get(text));
    };
    const check = () => {
        for (const row of document.querySelectorAll(".upload-row")) {
            window.states[row.dataset.uploadState] ??= Date.now() / 1000;
        }
        note(document.querySelector(selector)?.textContent);
    };
    window.when = (text) => new Promise((resolve, reject) => {
        setTimeout(reject, 60000, new Error(`${text} was never shown`));
        if (seen.has(text)) resolve(seen.get(text));
        else awaited.set(text, resolve);
    });
    const watched = {subtree: true, childList: true, characterData: true, attributes: true};
    new MutationObserver(check).observe(document.body, watched);
    check();
}"""


def new_context(browser: Browser, address: str, cookie: Mapping[str, str]) -> BrowserContext:
    """Return a signed-in window with storage of its own."""
    context = browser.new_context(base_url=address, viewport={"width": 1440, "height": 900})
    context.set_default_timeout(PATIENCE)
    context.add_cookies([{"name": cookie["name"], "value": cookie["value"], "url": address}])
    return context


class UploadPage:
    """The page with the element that uploads files; `signed` counts requests for signatures."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.signed = 0
        self.id = ""
        self.page: Page = context.new_page()
        self.page.on("dialog", lambda dialog: dialog.accept())
        self.page.on("request", self._count)
        self.open()

    def open(self) -> None:
        """Load the page, or load it again."""
        self.page.goto("/uploads/")
        self.page.locator('[data-live-status][data-state="live"]').wait_for()
        self.page.evaluate(OBSERVE, BYTES)

    def choose(self, path: Path) -> None:
        """Choose a file, as the dialog of the browser does."""
        self.page.locator("file-uploads [data-panel=input]").set_input_files(str(path))

    def wait_for(self, *states: str) -> None:
        """Wait until the row of the file is in one of the states. Raises MeasurementError if it fails."""
        wanted = [f'.upload-row[data-upload-state="{state}"]' for state in (*states, "failed")]
        self.page.locator(", ".join(wanted)).first.wait_for()
        row = self.page.locator(".upload-row").first
        if row.get_attribute("data-upload-state") == "failed":
            raise MeasurementError(f"an upload failed: {row.inner_text()}")

    def at(self, *states: str) -> float:
        """Return when the first of these states was shown."""
        found: dict[str, float] = self.page.evaluate("() => window.states")
        return min(found[state] for state in states if state in found)

    def _count(self, request: Request) -> None:
        if request.method == "POST" and request.url.endswith("/parts/"):
            self.signed += 1
            self.id = request.url.split("/")[-3]
