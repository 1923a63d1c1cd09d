"""The short tasks of drafts: scan, publish, withdraw. A failed task is retried, then reported with advice.

An attempt is counted before it starts, so a task that kills its worker is not retried forever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import transaction
from django.db.models import F

from campaigns.drafts import publication, scan
from campaigns.models import Draft, DraftState
from campaigns.publishing.errors import PublishError
from campaigns.publishing.manifest_writer import PublishedState, read_published_state
from campaigns.signing.envelopes import SigningError
from campaigns.signing.private_keys import BadKeyError
from ifeportal.jobs.retries import WorkFailure
from ifeportal.storage.background import wait_for
from ifeportal.work_lease import WorkLease
from loader.errors import Code, ContractError, WorldError
from loader.s3.interface import Bucket

TASK_STATES: Final = (DraftState.SCANNING, DraftState.PUBLISHING, DraftState.WITHDRAWING)
RESCAN_ADVICE: Final = "Scan the bucket, then try again."
ADVICE: Final = {
    Code.CREDENTIALS: "Correct the S3 credentials of the portal, then try again.",
    Code.FORBIDDEN: "Allow the portal's S3 user to read, write and delete objects in the media bucket, then try again.",
    Code.CLOCK_SKEW: "Set the clock of the machine that runs the jobs of the portal, then try again.",
}
logger = logging.getLogger(__name__)
KeyLoader = Callable[[], Sequence[Ed25519PrivateKey]]


@dataclass(frozen=True, slots=True)
class DraftTaskContext:
    """The lease, whose loss ends the work; the clock of the portal; `keys`, which loads the signing keys.

    `keys` raises BadKeyError.
    """

    lease: WorkLease
    clock: Callable[[], datetime]
    keys: KeyLoader


def run_draft_tasks(media: Bucket, context: DraftTaskContext) -> None:
    """Run every task that is due."""
    while (draft := _next(context.clock())) is not None:
        context.lease.heartbeat()
        _attempt(draft, media, context)


def _next(now: datetime) -> Draft | None:
    waiting = Draft.objects.filter(state__in=TASK_STATES).due(now)
    return waiting.select_related("airline").order_by(F("last_worked_at").asc(nulls_first=True), "requested_at").first()


def _attempt(draft: Draft, media: Bucket, context: DraftTaskContext) -> None:
    """Make one attempt. Errors of the data or the world are recorded, any other error is raised."""
    with transaction.atomic():
        context.lease.check_fence()
        if not draft.begin_attempt(context.clock(), last_worked_at=context.clock()):
            return
    limit = draft.retry_policy.max_attempts
    try:
        if draft.attempts > limit:
            raise ContractError(f"none of {limit} attempts ended with a result", code=Code.INTERNAL)
        _perform(draft, media, context)
    except PublishError as error:
        _give_up(draft, WorkFailure(error.code, str(error), RESCAN_ADVICE if error.retryable else ""))
    except SigningError as error:
        advice = RESCAN_ADVICE if error.retryable else ""
        _give_up(draft, WorkFailure(error.code, f"Signing failed: {error}", advice))
    except BadKeyError as error:
        advice = "Check the setting SIGNING_KEYS, then publish again."
        _give_up(draft, WorkFailure(Code.INTERNAL, f"A signing key cannot be used: {error}", advice))
    except ContractError as error:
        _give_up(draft, WorkFailure(error.code, str(error), "Check the log of the portal's workers."))
    except WorldError as error:
        _retry_or_give_up(draft, error, context.clock())


def _perform(draft: Draft, media: Bucket, context: DraftTaskContext) -> None:
    notices: list[str] = []
    with ThreadPoolExecutor(1, thread_name_prefix="draft-task") as thread:  # never touches the database
        published: PublishedState = wait_for(
            thread.submit(read_published_state, draft.airline.name, draft.name, media, notices.append), context.lease
        )
    match draft.state:
        case DraftState.SCANNING:
            scan.apply_scan(draft, published, notices, context.clock(), context.lease)
            return
        case DraftState.PUBLISHING:
            result = publication.publish(draft, published, media, context.keys(), context.clock())
        case _:
            result = publication.withdraw(draft, published, media, context.clock())
    publication.record_result(draft, result, context.lease)
    logger.info("draft %s is %s", draft, result.state)


def _retry_or_give_up(draft: Draft, error: WorldError, now: datetime) -> None:
    advice = ADVICE.get(error.code, "If the error persists, check that the portal can reach the media bucket.")
    failure = WorkFailure.of(error, advice)
    if not draft.postpone(failure, now):
        _give_up(draft, failure)


def _give_up(draft: Draft, failure: WorkFailure) -> None:
    draft.give_up(failure, state=DraftState.FAILED)
    logger.warning("draft %s failed: %s: %s", draft, failure.code, failure.error)
