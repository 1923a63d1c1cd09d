"""One slice of work on an operation, as the function of its kind sees it. Touches the operation's row and the feed."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from ifeportal.jobs.workers import is_stopping
from ifeportal.operations.execution.leases import OperationLease
from ifeportal.operations.execution.progress import Progress
from ifeportal.operations.feed import publish_operations
from ifeportal.operations.kinds import SLICE_SECONDS, CancelRequested, Write
from ifeportal.operations.models import Operation

REPORT_INTERVAL: Final = 1.0  # seconds between two records of progress, unless the stage changes


class WorkerSlice:
    """A `Slice` that a worker does under the lease of the operation."""

    def __init__(self, operation: Operation, lease: OperationLease) -> None:
        self.operation, self.lease = operation, lease
        self.is_cleanup = operation.cancel_requested_at is not None
        self._progress = _progress_of(operation)
        self._done: int | None = None  # reported since progress was last recorded
        self._total: int | None = None
        self._end = time.monotonic() + SLICE_SECONDS
        self._published_at = float("-inf")

    @property
    def now(self) -> datetime:
        """The clock of the portal (aware, UTC)."""
        return timezone.now()

    @property
    def is_over(self) -> bool:
        """Whether the slice has lasted SLICE_SECONDS, or the worker is to stop."""
        return is_stopping() or time.monotonic() >= self._end

    def report(self, done: int | None = None, total: int | None = None, *, stage: str | None = None) -> None:
        """See `Slice.report`."""
        is_new_stage = stage is not None and stage != self._progress.stage
        if is_new_stage:
            self._progress = self.progress().advance(done, total, stage, self.now)
            self._done = self._total = None
        else:
            self._done = done if done is not None else self._done
            self._total = total if total is not None else self._total
        if is_new_stage or self._is_publication_due():
            self._write(None, {})

    def commit(self, write: Write | None = None, **checkpoint: Any) -> None:
        """See `Slice.commit`. Raises CancelRequested after the commit."""
        self._write(write, {"checkpoint": {**self.operation.checkpoint, **checkpoint}})

    def progress(self) -> Progress:
        """Return the progress with what was reported last."""
        if self._done is None and self._total is None:
            return self._progress
        return self._progress.advance(self._done, self._total, None, self.now)

    def _is_publication_due(self) -> bool:
        return time.monotonic() - self._published_at >= REPORT_INTERVAL

    def _write(self, write: Write | None, columns: dict[str, Any]) -> None:
        """Write progress and `columns`, and publish the operation if that is due. Raises CancelRequested, LeaseLost."""
        progress, is_due = self.progress(), self._is_publication_due()
        is_due |= progress.stage != self.operation.stage
        columns |= progress_columns(progress)
        with transaction.atomic():
            self.lease.check_fence(**columns, updated_at=self.now)
            if write is not None:
                write()
            if is_due:
                publish_operations([self.operation.pk])
        self._progress, self._done, self._total = progress, None, None
        for name, value in columns.items():
            setattr(self.operation, name, value)
        if is_due:
            self._published_at = time.monotonic()
        if self.lease.is_cancelled and not self.is_cleanup:
            raise CancelRequested


def progress_columns(progress: Progress) -> dict[str, Any]:
    """Return the columns of an operation that hold its progress."""
    return {
        "stage": progress.stage,
        "bytes_done": progress.done,
        "bytes_total": progress.total,
        "rate_bps": progress.rate,
        "progress_at": progress.at,
    }


def _progress_of(row: Operation) -> Progress:
    return Progress(row.stage, row.bytes_done, row.bytes_total, row.rate_bps, row.progress_at)
