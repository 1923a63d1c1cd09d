"""Reasons for tests that take over `LIMIT` seconds: `@pytest.mark.slow("reason")`, else the run lists them.

No test fails because of time: a busy machine is slow, not wrong.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import pytest

LIMIT: Final = 10.0  # seconds, including set-up


def check_reasons(items: list[pytest.Item]) -> None:
    """Raise UsageError for a test that is marked slow without a reason."""
    for item in items:
        for mark in item.iter_markers("slow"):
            if len(mark.args) != 1 or not isinstance(mark.args[0], str):
                raise pytest.UsageError(f'{item.nodeid}: write @pytest.mark.slow("why it takes long")')


def put_slow_modules_first(items: list[pytest.Item]) -> None:
    """Order the tests so that modules with a slow test begin the run; the order is kept otherwise.

    Each worker starts with an equal part of the list, and idle workers take tests from the end of others' parts. So one
    worker runs the slow tests, which mostly wait, each module's fixtures are set up once, and no worker is left alone
    with a long test at the end.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def report_unexplained(terminal: pytest.TerminalReporter) -> None:
    """Name the tests that took longer than `LIMIT` and have no reason beside them."""
    seconds: dict[str, float] = defaultdict(float)
    for outcome in ("", "passed", "failed"):
        for report in terminal.getreports(outcome):
            if isinstance(report, pytest.TestReport) and "slow" not in report.keywords:
                seconds[report.nodeid] += report.duration
    unexplained = sorted(((took, name) for name, took in seconds.items() if took > LIMIT), reverse=True)
    if unexplained:
        terminal.section(f"tests over {LIMIT:.0f} s without a reason")
        for took, name in unexplained:
            terminal.write_line(f"{took:6.1f} s  {name}")
