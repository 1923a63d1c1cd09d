"""The short tasks of drafts: scan, publish, withdraw. What fails is retried, then reported with advice.

One task is one draft's. Attempts are counted before each, so that one which kills its worker is not repeated for
ever.
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
from campaigns.signing.manifest_signature import SigningError
from campaigns.signing.private_keys import BadKeyError
from ifeportal.jobs.retries import WorkFailure
from ifeportal.storage.background import wait_for
from ifeportal.work_lease import WorkLease
from loader.errors import Code, ContractError, WorldError
from loader.s3.interface import Bucket

TASK_STATES: Final = (DraftState.SCANNING, DraftState.PUBLISHING, DraftState.WITHDRAWING)
RESCAN_ADVICE: Final = "Look into the bucket, then try it once more."
ADVICE: Final = {
    Code.CREDENTIALS: "Correct the portal's S3 credentials, then try it again.",
    Code.FORBIDDEN: "Let the portal's S3 user read, write and delete in the media bucket, then try it again.",
    Code.CLOCK_SKEW: "Set the clock of the machine the portal's jobs run on.",
}
logger = logging.getLogger(__name__)
KeyLoader = Callable[[], Sequence[Ed25519PrivateKey]]


@dataclass(frozen=True, slots=True)
class DraftTaskContext:
    """The lease, whose loss ends the work; the portal's clock; and `keys`, which loads the signing keys.

    `keys` raises BadKeyError.
    """

    lease: WorkLease
    clock: Callable[[], datetime]
    keys: KeyLoader


def run_draft_tasks(media: Bucket, context: DraftTaskContext) -> None:
    """Do all that is asked for and due."""
    while (draft := _next(context.clock())) is not None:
        context.lease.heartbeat()
        _attempt(draft, media, context)


def _next(now: datetime) -> Draft | None:
    waiting = Draft.objects.filter(state__in=TASK_STATES).due(now)
    return waiting.select_related("airline").order_by(F("last_worked_at").asc(nulls_first=True), "requested_at").first()


def _attempt(draft: Draft, media: Bucket, context: DraftTaskContext) -> None:
    """One attempt. What goes wrong with the data or the world is written down, anything else comes out."""
    with transaction.atomic():
        context.lease.check_fence()
        if not draft.begin_attempt(context.clock(), last_worked_at=context.clock()):
            return
    allowed = draft.retry_policy.max_attempts
    try:
        if draft.attempts > allowed:
            raise ContractError(f"{allowed} attempts ended without a result", code=Code.INTERNAL)
        _perform(draft, media, context)
    except PublishError as error:
        code = Code.OBJECT_CHANGED if error.retryable else error.code
        _give_up(draft, WorkFailure(code, str(error), RESCAN_ADVICE if error.retryable else ""))
    except SigningError as error:
        advice = RESCAN_ADVICE if error.retryable else ""
        _give_up(draft, WorkFailure(error.code, f"It cannot be signed: {error}", advice))
    except BadKeyError as error:
        advice = "See to SIGNING_KEYS, then publish again."
        _give_up(draft, WorkFailure(Code.INTERNAL, f"A signing key cannot be used: {error}", advice))
    except ContractError as error:
        _give_up(draft, WorkFailure(error.code, str(error), "See the log of the portal's workers."))
    except WorldError as error:
        _retry_or_give_up(draft, error, context.clock())


def _perform(draft: Draft, media: Bucket, context: DraftTaskContext) -> None:
    notices: list[str] = []
    with ThreadPoolExecutor(1, thread_name_prefix="errand") as thread:  # never sees the database
        before: PublishedState = wait_for(
            thread.submit(read_published_state, draft.airline.name, draft.name, media, notices.append), context.lease
        )
    match draft.state:
        case DraftState.SCANNING:
            scan.apply_scan(draft, before, notices, context.clock(), context.lease)
            return
        case DraftState.PUBLISHING:
            done = publication.publish(draft, before, media, context.keys(), context.clock())
        case _:
            done = publication.withdraw(draft, before, media, context.clock())
    publication.record_result(draft, done, context.lease)
    logger.info("draft %s is %s", draft, done.state)


def _retry_or_give_up(draft: Draft, error: WorldError, now: datetime) -> None:
    advice = ADVICE.get(error.code, "If it stays, see whether the media bucket can be reached from the portal.")
    failure = WorkFailure.of(error, advice)
    if draft.can_retry(failure):
        draft.postpone(failure, now)
    else:
        _give_up(draft, failure)


def _give_up(draft: Draft, failure: WorkFailure) -> None:
    draft.give_up(failure, state=DraftState.FAILED)
    logger.warning("draft %s failed: %s: %s", draft, failure.code, failure.error)
