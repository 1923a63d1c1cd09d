"""Run operations: admit what fits, claim one, do a slice of its work, record what follows.

A woken worker does slice after slice for some seconds. A worker that is killed at any moment loses nothing: the lease
of its operation ends, and another worker resumes from the checkpoint.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime
from typing import Final

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Case, Value, When
from django.utils import timezone

from ifeportal.jobs.broker import wake_workers
from ifeportal.jobs.retries import WorkFailure
from ifeportal.jobs.workers import is_stopping
from ifeportal.operations.admission import queue
from ifeportal.operations.admission.due_work import has_due_work
from ifeportal.operations.execution import outcomes
from ifeportal.operations.execution.leases import background_limit, claim, slice_limit, slices_here
from ifeportal.operations.execution.slices import WorkerSlice
from ifeportal.operations.feed import publish_operations
from ifeportal.operations.kinds import (
    SLICE_SECONDS,
    CancelRequested,
    Kind,
    OperationFailed,
    registered_kinds,
    related_rows,
)
from ifeportal.operations.models import Lane, Operation
from ifeportal.work_lease import LeaseLost
from loader.errors import Code, ContractError, WorldError

TIME_SLICE: Final = SLICE_SECONDS  # after which a worker starts no further slice, so that jobs come first again
ADVICE: Final = "Check the log of the portal's workers."
CONTRACT_ADVICE: Final = "Correct the data that the error names, then start again."
WORLD_ADVICE: Final = "If the error persists, check that the portal can reach the object store."
logger = logging.getLogger(__name__)


def run_due_operations() -> None:
    """Do slices of operations until none is due or TIME_SLICE is over. Raises nothing."""
    end = time.monotonic() + TIME_SLICE
    try:
        work = take_slice()
        while work is not None:
            perform(work)
            if is_stopping() or time.monotonic() >= end:
                wake_workers(timezone.now())
                break
            work = take_slice(after_slice=True)
        queue.publish_queue_if_changed(timezone.now())
    except (OperationalError, InterfaceError) as error:
        logger.warning("the database is not responding, operations wait: %s", error)


def take_slice(*, after_slice: bool = False) -> WorkerSlice | None:
    """Admit operations and claim one. None if nothing is due, or this qcluster does as many slices as it may.

    `after_slice`: admit even if nothing else has changed, because an operation may have ended.
    """
    if not after_slice and not has_due_work(timezone.now()):
        return None
    with transaction.atomic():
        queue.lock_queue(timezone.now())
        now = timezone.now()
        slices, background = slices_here(now)
        if slices >= slice_limit():
            return None
        changed = queue.admit(now)
        work = _claim_next(now, takes_background=background < background_limit())
        publish_operations(changed)
    return work


def _claim_next(now: datetime, *, takes_background: bool) -> WorkerSlice | None:
    claimable = Operation.objects.claimable(now).filter(kind__in=registered_kinds()).select_related(*related_rows())
    if not takes_background:
        claimable = claimable.exclude(lane__gte=Lane.BACKGROUND)
    is_ending_last = Case(When(cancel_requested_at=None, then=Value(1)), default=Value(0))
    row = claimable.order_by(is_ending_last, "next_try_at", "lane", "pk").first()
    lease = claim(row, now) if row is not None else None
    return WorkerSlice(row, lease) if row is not None and lease is not None else None


def perform(work: WorkerSlice) -> None:
    """Do the slice and record what follows. Raises django.db errors: then the lease runs out."""
    kind = registered_kinds()[work.operation.kind]
    try:
        if work.is_cleanup:
            _clean_up(work, kind)
        else:
            _run(work, kind)
    except LeaseLost as lost:
        logger.warning("stopped: %s", lost)


def _run(work: WorkerSlice, kind: Kind) -> None:
    try:
        _check_attempts(work, kind)
        outcomes.record_result(work, kind, kind.run(work))
    except CancelRequested:
        outcomes.leave_to_cleanup(work)
    except OperationFailed as failed:
        outcomes.fail(work, kind, failed.failure, can_retry=failed.can_retry)
    except ContractError as error:
        outcomes.fail(work, kind, WorkFailure(error.code, str(error), CONTRACT_ADVICE), can_retry=False)
    except WorldError as error:
        outcomes.postpone_or_fail(work, kind, WorkFailure.of(error, kind.advice.get(error.code, WORLD_ADVICE)))
    except (LeaseLost, OperationalError, InterfaceError):
        raise
    except Exception as error:
        logger.exception("operation %s: unexpected error", work.operation)
        outcomes.postpone_or_fail(work, kind, _unexpected(error))


def _check_attempts(work: WorkerSlice, kind: Kind) -> None:
    """Raise OperationFailed if as many attempts as the policy has were begun, and none of them ended."""
    limit = kind.retry_policy.max_attempts
    if work.operation.attempts > limit:
        raise OperationFailed(WorkFailure(Code.INTERNAL, f"None of {limit} attempts ended with a result.", ADVICE))


def _clean_up(work: WorkerSlice, kind: Kind) -> None:
    """Clean up, then end the operation. A clean-up that kills its worker each time is not repeated for ever."""
    try:
        _check_attempts(work, kind)
        kind.clean_up(work)
    except OperationFailed as failed:
        outcomes.end_cancelled(work, kind, failed.failure)
    except (WorldError, ContractError) as error:
        outcomes.postpone_cleanup(work, kind, WorkFailure(error.code, str(error), WORLD_ADVICE))
    except (LeaseLost, OperationalError, InterfaceError):
        raise
    except Exception as error:
        logger.exception("operation %s: unexpected error of the clean-up", work.operation)
        outcomes.postpone_cleanup(work, kind, _unexpected(error))
    else:
        outcomes.end_cancelled(work, kind)


def _unexpected(error: Exception) -> WorkFailure:
    return WorkFailure(Code.INTERNAL, f"Unexpected error: {type(error).__name__}.", ADVICE)
