"""Operations on drafts: scan, hashing, publication, withdrawal. Each calls one function of this package.

A draft is in one of `BUSY_STATES` while its operation is open, so at most one operation works on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from campaigns.drafts import hashing, publication, requests, scan
from campaigns.models import OPERATION_KINDS, Draft, DraftState
from campaigns.publishing.errors import PublishError
from campaigns.publishing.manifest_writer import PublishedState, read_published_state
from campaigns.signing.envelopes import SigningError
from campaigns.signing.private_keys import BadKeyError, load_key
from ifeportal.jobs.retries import WorkFailure
from ifeportal.operations.kinds import Caps, Done, Kind, OperationFailed, Result, Slice
from ifeportal.operations.models import Lane, Operation, OperationState
from ifeportal.storage.background import call
from ifeportal.storage.buckets import media_bucket
from loader.errors import Code
from loader.s3.interface import Bucket

RESCAN_ADVICE: Final = "Scan the bucket, then try again."
ADVICE: Final = {
    Code.CREDENTIALS: "Correct the S3 credentials of the portal, then try again.",
    Code.FORBIDDEN: "Allow the portal's S3 user to read, write and delete objects in the media bucket, then try again.",
    Code.CLOCK_SKEW: "Set the clock of the machine that runs the workers of the portal, then try again.",
}
HASHING_CAPS: Final = Caps(total=4, per_airline=2)  # they take turns, slice by slice


def run_scan(work: Slice) -> Result:
    """List the objects of the campaign, read its manifest, and apply both to the draft."""
    draft, notices = _draft(work), list[str]()
    published = _read_published(work, draft, notices)
    return Done(partial(scan.apply_scan, draft, published, notices, work.now))


def run_hashing(work: Slice) -> Result:
    """Hash items of the draft until the slice is over."""
    return hashing.hash_items(_draft(work), _media(), work)


def run_publication(work: Slice) -> Result:
    """Write the manifest and its signatures."""
    draft = _draft(work)
    published = _read_published(work, draft, [])
    work.report(stage="Writing campaign.json")
    with _failures():
        result = publication.publish(draft, published, _media(), signing_keys(), work.now, work.lease)
    return Done(partial(publication.record_result, draft, result, work.operation.user))


def run_withdrawal(work: Slice) -> Result:
    """Delete the manifest and its signature."""
    draft = _draft(work)
    published = _read_published(work, draft, [])
    work.report(stage="Deleting campaign.json")
    with _failures():
        result = publication.withdraw(draft, published, _media(), work.now, work.lease)
    return Done(partial(publication.record_result, draft, result, work.operation.user))


def _draft(work: Slice) -> Draft:
    draft = Draft.objects.select_related("airline").filter(operation=work.operation).first()
    if draft is None:
        raise OperationFailed(WorkFailure(Code.INTERNAL, "The draft was deleted."), can_retry=False)
    return draft


def _read_published(work: Slice, draft: Draft, notices: list[str]) -> PublishedState:
    work.report(stage="Reading the bucket")
    read = partial(read_published_state, draft.airline.name, draft.name, _media(), notices.append)
    with _failures():
        return call(read, work.lease)


@contextmanager
def _failures() -> Iterator[None]:
    """Raise errors of publishing and signing as OperationFailed, with advice."""
    try:
        yield
    except PublishError as error:
        raise _failed(error, str(error)) from error
    except SigningError as error:
        raise _failed(error, f"Signing failed: {error}") from error
    except BadKeyError as error:
        advice = "Check the setting SIGNING_KEYS, then publish again."
        raise OperationFailed(WorkFailure(Code.INTERNAL, f"A signing key cannot be used: {error}", advice)) from error


def _failed(error: PublishError | SigningError, sentence: str) -> OperationFailed:
    advice = RESCAN_ADVICE if error.retryable else ""
    return OperationFailed(WorkFailure(error.code, sentence, advice), can_retry=error.retryable)


def signing_keys() -> list[Ed25519PrivateKey]:
    """Load the keys of SIGNING_KEYS, which sign drafts when they are published. Raises BadKeyError."""
    return [load_key(Path(path), partial(_passphrase, path)) for path in settings.SIGNING_KEYS]


def _passphrase(path: str) -> bytes:
    if not settings.SIGNING_PASSPHRASE:
        raise BadKeyError(f"{Path(path).name} is encrypted, and SIGNING_PASSPHRASE is not set")
    return settings.SIGNING_PASSPHRASE.encode()


@cache
def _media() -> Bucket:
    # One per worker process, so that its connections are reused.
    return media_bucket()


def ended(operation: Operation, state: OperationState) -> None:
    """Make the draft idle whose operation failed or was cancelled. Finished and partial hashes are preserved."""
    draft = Draft.objects.select_related("airline").filter(operation=operation).first()
    if draft is None:
        return
    has_failed = state == OperationState.FAILED
    is_hashing = operation.kind == OPERATION_KINDS[DraftState.HASHING]
    requests.release(draft, **({"hashed_at": timezone.now()} if has_failed and is_hashing else {}))
    if has_failed:
        Draft.objects.filter(pk=draft.pk).update(state=DraftState.FAILED)


def page(operation: Operation) -> str:
    """Return the address of the draft's page."""
    return reverse("admin:campaigns_draft_change", args=[operation.checkpoint["draft"]])


def details(operation: Operation) -> Mapping[str, Any]:
    return {"campaign": operation.checkpoint["campaign"]}


def _kind(state: DraftState, label: str, run: Callable[[Slice], Result], **fields: Any) -> Kind:
    can_stop = state in requests.CAN_STOP
    return Kind(
        OPERATION_KINDS[state],
        label,
        run,
        can_cancel=lambda operation: can_stop,
        ended=ended,
        restart=requests.restart,
        page=page,
        details=details,
        **{"lane": Lane.INTERACTIVE, "advice": ADVICE, **fields},
    )


KINDS: Final = (
    _kind(DraftState.SCANNING, "Scan", run_scan),
    _kind(DraftState.HASHING, "Hashing", run_hashing, lane=Lane.BACKGROUND, caps=HASHING_CAPS, advice=hashing.ADVICE),
    _kind(DraftState.PUBLISHING, "Publication", run_publication),
    _kind(DraftState.WITHDRAWING, "Withdrawal", run_withdrawal),
)
