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
