"""Jobs of campaigns, as workers run them: each calls one function of `campaigns.drafts` under the job's lease."""

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

INTERVAL: Final = 5.0  # seconds, while nobody asks for anything; who asks hurries the job


def run_errands() -> None:
    """Look, publish and withdraw for whoever asked, if it is due and nobody else does."""

    def work(held: Lease) -> None:
        tasks.run_draft_tasks(_media(), tasks.DraftTaskContext(held, timezone.now, signing_keys))

    run(TASKS_JOB, INTERVAL, work)


def hash_items() -> None:
    """Hash for a while, if it is due and nobody else does: so one worker at most is busy with it at a time."""

    def work(held: Lease) -> None:
        if hashing.hash_due_items(_media(), hashing.HashingContext(held, timezone.now)):
            held.next_run_in = 0.0

    run(HASHING_JOB, INTERVAL, work)


def signing_keys() -> list[Ed25519PrivateKey]:
    """The keys that sign what is published here, as the settings name them. Raises BadKeyError."""
    return [load_key(Path(path), partial(_passphrase, path)) for path in settings.SIGNING_KEYS]


def _passphrase(path: str) -> bytes:
    if not settings.SIGNING_PASSPHRASE:
        raise BadKeyError(f"{Path(path).name} is encrypted, and SIGNING_PASSPHRASE is not set")
    return settings.SIGNING_PASSPHRASE.encode()


@cache
def _media() -> Bucket:
    """Kept for the life of the worker, as its connections are."""
    return media_bucket()
