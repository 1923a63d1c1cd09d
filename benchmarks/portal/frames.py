"""Script time and paint time of a page of 1,000 rows in a browser, while 100 rows change each second.

`python -m benchmarks.portal` runs it. Chromium's trace has the duration of every piece of script. Counted are the
callback of an animation frame, in which the page applies all changes since the previous one, and the message handler
before it. Long tasks (over 50 ms, including style and layout) come from the page's PerformanceObserver.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from playwright.sync_api import Browser, Page, Response

from tests.support.chromium import headless_chromium

ROWS: Final = 100  # changed per second
SECONDS: Final = 20
PAINTS: Final = 10  # first paints of each page
PATIENCE: Final = 60_000  # milliseconds
SCRIPT: Final = ("FireAnimationFrame", "WebSocketReceive", "FunctionCall")
OBSERVE: Final = """() => {
    window.longTasks = [];
    new PerformanceObserver((list) => window.longTasks.push(...list.getEntries().map((entry) => entry.duration)))
        .observe({type: "longtask"});
    window.patched = 0;
    new MutationObserver((found) => { window.patched += found.length; })
        .observe(document.querySelector("table.tails"), {subtree: true, childList: true, characterData: true});
}"""
PAINTED: Final = """() => new Promise((resolve) => {
    const check = () => {
        const found = performance.getEntriesByName("first-contentful-paint")[0];
        if (found) resolve(found.startTime);
        else requestAnimationFrame(check);
    };
    check();
})"""


@dataclass
class BrowserResult:
    """Milliseconds of script per batch, of each long task, and to each first paint; transferred bytes of script."""

    batches: list[float] = field(default_factory=list)
    long_tasks: list[float] = field(default_factory=list)
    patches: int = 0
    paints: list[float] = field(default_factory=list)
    script: dict[str, int] = field(default_factory=dict)


def measure_browser(
    address: str, cookie: str, table: str, pages: Sequence[str], change: Callable[[], object]
) -> BrowserResult:
    """Watch the page at `table` while `change` is called each second; then open each of `pages` without a cache."""
    result = BrowserResult()
    with headless_chromium() as browser:
        _record_updates(browser, _page(browser, address, cookie), table, change, result)
        for path in pages:
            for _ in range(PAINTS):
                page = _page(browser, address, cookie)
                page.on("response", lambda response: _add_script_size(response, result))
                page.goto(path, wait_until="load")
                result.paints.append(page.evaluate(PAINTED))
                page.wait_for_load_state("networkidle")
                page.context.close()
    return result


def _page(browser: Browser, address: str, cookie: str) -> Page:
    """Return a signed-in page in a new browser context with an empty cache."""
    context = browser.new_context(base_url=address, viewport={"width": 1440, "height": 900})
    context.set_default_timeout(PATIENCE)
    name, _, value = cookie.partition("=")
    context.add_cookies([{"name": name, "value": value, "url": address}])
    return context.new_page()


def _record_updates(
    browser: Browser, page: Page, table: str, change: Callable[[], object], result: BrowserResult
) -> None:
    page.goto(table)
    page.locator('[data-live-status][data-state="live"]').wait_for()
    change()
    page.wait_for_timeout(2_000)
    page.evaluate(OBSERVE)
    browser.start_tracing(page=page, categories=["devtools.timeline"])
    started = time.monotonic()
    for number in range(SECONDS):
        change()
        page.wait_for_timeout(max(started + number + 1 - time.monotonic(), 0) * 1000)
    page.wait_for_timeout(1_000)
    trace = json.loads(browser.stop_tracing())
    result.batches = _batches(trace["traceEvents"])
    result.long_tasks, result.patches = page.evaluate("() => [window.longTasks, window.patched]")
    page.context.close()


def _batches(events: Sequence[dict[str, Any]]) -> list[float]:
    """Return the milliseconds of script in each task that ran any. Nested events are not added."""
    spans = sorted(
        (event["ts"], event["ts"] + event["dur"])
        for event in events
        if event["name"] in SCRIPT and event.get("ph") == "X"
    )
    durations, end = [], 0
    for start, stop in spans:
        if start >= end:
            durations.append((stop - start) / 1000)
            end = stop
    return durations


def _add_script_size(response: Response, result: BrowserResult) -> None:
    if response.url.endswith(".js") and response.url not in result.script:
        result.script[response.url] = response.request.sizes()["responseBodySize"]
