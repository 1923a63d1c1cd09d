"""Jobs of campaigns. Each calls one function of `campaigns.drafts` under the lease of the job."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.utils import timezone

from campaigns.drafts import hashing, tasks
from campaigns.drafts.requests import HASHING_JOB, TASKS_JOB
from campaigns.signing.private_keys import BadKeyError, load_key
from ifeportal.jobs.leases import Lease
from ifeportal.jobs.runner import run
from ifeportal.storage.buckets import media_bucket
from loader.s3.interface import Bucket

INTERVAL: Final = 5.0  # seconds between two runs; a request makes the job due at once


def run_errands() -> None:
    """Run the due tasks of drafts (scan, publish, withdraw), if no other worker does."""

    def work(lease: Lease) -> None:
        tasks.run_draft_tasks(_media(), tasks.DraftTaskContext(lease, timezone.now, signing_keys))

    run(TASKS_JOB, INTERVAL, work)


def hash_items() -> None:
    """Hash items for one slice, if no other worker does: hashing occupies one worker at most."""

    def work(lease: Lease) -> None:
        if hashing.hash_due_items(_media(), hashing.HashingContext(lease, timezone.now)):
            lease.next_run_in = 0.0

    run(HASHING_JOB, INTERVAL, work)


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
