"""Reports progress, errors and the heartbeat to the status bucket, in a thread next to the transfers.

Of every object only the newest value waits (`loader.reporting.outbox`). A `.progress` is sent at most once per
interval, only if it changed, and its last value at once. While the status bucket is unreachable, values wait and are
replaced by newer ones. Nothing here slows or fails a transfer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from datetime import datetime

from loader.contract.item_reports import build_error, build_progress, progress_to_report
from loader.contract.keys import campaign_error_key, error_key, parse_status_key, progress_key
from loader.errors import BadName, Code
from loader.reporting.context import ReportingContext
from loader.reporting.sender import StatusSender
from loader.s3.auth.redaction import redact


class StatusReporter:
    """Builds the reports of one tail and hands them to a `StatusSender`. Every method but `close` returns at once."""

    def __init__(self, context: ReportingContext) -> None:
        self._airline, self._tail = context.airline, context.tail
        self._sender = StatusSender(context)
        self.lease_checked = self._sender.lease_checked
        self._last_values: dict[tuple[str, str], int] = {}

    def start(self) -> None:
        self._sender.start()

    def close(self, timeout: float) -> bool:
        """Send the rest for at most `timeout` seconds, the heartbeat last, and end. Returns whether all was sent."""
        return self._sender.close(timeout)

    def request_heartbeat(self) -> None:
        """Send a heartbeat now: the state of the loader changed."""
        self._sender.request_heartbeat()

    def link_restored(self) -> None:
        """Send what waited for the link."""
        self._sender.link_restored()

    def progress(self, campaign: str, content: str, bytes_done: int, size: int, *, final: bool = False) -> None:
        """Report the bytes on disk. `final`: the item is complete, checked and durable under its final name."""
        value = progress_to_report(bytes_done, size, final=final)
        if self._last_values.get((campaign, content)) == value:
            return
        self._last_values[campaign, content] = value
        key = progress_key(self._airline, self._tail, campaign, content)
        self._sender.post(key, build_progress(value), urgent=final)

    def error(self, campaign: str, content: str, code: Code, text: str) -> None:
        """Report that the item failed or is being retried."""
        key = error_key(self._airline, self._tail, campaign, content)
        self._sender.post(key, build_error(code, redact(text)), urgent=True)

    def clear_error(self, campaign: str, content: str) -> None:
        self._sender.post(error_key(self._airline, self._tail, campaign, content), None, urgent=True)

    def campaign_error(self, campaign: str, code: Code, text: str) -> None:
        """Report that the complete campaign cannot be loaded."""
        key = campaign_error_key(self._airline, self._tail, campaign)
        self._sender.post(key, build_error(code, redact(text)), urgent=True)

    def clear_campaign_error(self, campaign: str) -> None:
        self._sender.post(campaign_error_key(self._airline, self._tail, campaign), None, urgent=True)

    @property
    def has_listing(self) -> bool:
        """Whether `reported_items` is complete: the bucket was listed, or still holds what the last run reported."""
        return self._sender.cache.is_confirmed

    def reported_items(self) -> dict[str, set[str]]:
        """Return the items of each campaign of which the bucket is known to hold a report."""
        found: dict[str, set[str]] = {}
        for key in self._sender.existing_keys():
            with contextlib.suppress(BadName):
                report = parse_status_key(key)
                if report and report.content:
                    found.setdefault(report.campaign, set()).add(report.content)
        return found

    def remove_items(self, campaign: str, contents: Collection[str]) -> None:
        """Remove all reports of items that are not on disk any more."""
        for content in contents:
            self._last_values.pop((campaign, content), None)
            self._sender.post(progress_key(self._airline, self._tail, campaign, content), None, urgent=True)
            self.clear_error(campaign, content)

    def export_state(self, now: datetime) -> dict[str, object]:
        """Return what was sent, so that the next run need not send it again; call after `close`."""
        return self._sender.cache.export_state(now)

    def import_state(self, record: Mapping[str, object], now: datetime) -> None:
        """Take over what the last run exported; call before `start`."""
        self._sender.cache.import_state(record, now)
