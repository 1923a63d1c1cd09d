"""Reporters of one tail for tests."""

from __future__ import annotations

from typing import Any

from loader.contract.heartbeat import Heartbeat
from loader.reporting.context import ReportingContext
from loader.reporting.lease import TailLease
from loader.reporting.reporter import StatusReporter
from loader.s3.interface import Bucket


def make_reporter(bucket: Bucket, *, interval: float = 0.05, **context: Any) -> StatusReporter:
    """Return a reporter of ACME/N1 that takes the lease at once. `context`: other fields of its ReportingContext."""
    defaults = {
        "lease": TailLease(bucket, "ACME/N1/loader.json", [], takeover_after=0.0),
        "heartbeat": lambda: Heartbeat(loader="1", state="idle"),
    }
    return StatusReporter(ReportingContext(bucket, "ACME", "N1", interval=interval, **{**defaults, **context}))
