"""Actions on drafts that several test files share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.utils import timezone

from campaigns.drafts import operations, requests
from campaigns.models import Draft, DraftItem
from ifeportal.audit import Actor
from ifeportal.models import Airline
from ifeportal.operations.models import Operation
from loader.contract.manifest import Manifest, parse_manifest
from loader.s3.interface import Bucket
from tests.support.operations import do_all, do_slice

NOON = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
ANYONE = Actor.job(None)
Keys = Sequence[Ed25519PrivateKey]


@contextmanager
def worker(media: Bucket, keys: Keys | None = None) -> Iterator[None]:
    """Let operations of drafts use this bucket, and these keys instead of those of the settings."""
    with patch.object(operations, "_media", lambda: media):
        if keys is None:
            yield
            return
        with patch.object(operations, "signing_keys", lambda: list(keys)):
            yield


def run_operations(media: Bucket, keys: Keys = ()) -> int:
    """Do slices of operations until none is due. Return how many."""
    with worker(media, keys):
        return do_all()


def run_slice(media: Bucket, keys: Keys = ()) -> Operation | None:
    """Do one slice of an operation. Return it; None if none is due."""
    with worker(media, keys):
        return do_slice()


def end_leases() -> None:
    """Let the leases of killed workers run out."""
    Operation.objects.exclude(lease_until=None).update(lease_until=timezone.now() - timedelta(seconds=1))


def end_pauses() -> None:
    """Make operations due that wait for another attempt."""
    Operation.objects.filter(state="waiting").update(next_try_at=timezone.now())


def operation_of(draft: Draft) -> Operation:
    """Return the last operation of the draft, as its row is now."""
    operation = Draft.objects.get(pk=draft.pk).operation
    assert operation is not None
    return operation


def new_draft(airline: Airline, name: str = "2026-12", **fields: object) -> Draft:
    return Draft.objects.create(airline=airline, name=name, **fields)


def scan_draft(draft: Draft, media: Bucket) -> Draft:
    """Scan the bucket for the draft."""
    requests.request_scan(draft, ANYONE)
    run_operations(media)
    draft.refresh_from_db()
    return draft


def hash_draft(draft: Draft, media: Bucket) -> Draft:
    """Hash the selected items."""
    requests.request_hash(draft, ANYONE)
    run_operations(media)
    draft.refresh_from_db()
    return draft


def publish_draft(draft: Draft, media: Bucket, keys: Keys = ()) -> Draft:
    """Publish the draft. Its state says whether that succeeded."""
    requests.request_publish(draft, ANYONE)
    run_operations(media, keys)
    draft.refresh_from_db()
    return draft


def create_hashed_draft(airline: Airline, media: Bucket, bodies: dict[str, bytes], name: str = "2026-12") -> Draft:
    """Create a draft of these items, scanned and hashed."""
    for item, body in bodies.items():
        media.put(f"{airline.name}/{name}/{item}.tgz", body)
    return hash_draft(scan_draft(new_draft(airline, name), media), media)


def find_item(draft: Draft, name: str) -> DraftItem:
    return draft.items.get(name=name)


def read_manifest(draft: Draft, media: Bucket) -> Manifest:
    """Return the published manifest, as an aircraft reads it."""
    fetched = media.get(f"{draft.airline.name}/{draft.name}/campaign.json", 10**7)
    assert fetched is not None
    return parse_manifest(fetched.body, airline=draft.airline.name, campaign=draft.name)


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
