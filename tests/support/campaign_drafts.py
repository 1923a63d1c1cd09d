"""Actions on drafts that several test files share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from campaigns.drafts import hashing, requests, tasks
from campaigns.models import Draft, DraftItem
from ifeportal.models import Airline
from ifeportal.work_lease import NO_LEASE
from loader.contract.manifest import Manifest, parse_manifest
from loader.s3.interface import Bucket

NOON = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
Clock = Callable[[], datetime]
Keys = Sequence[Ed25519PrivateKey]


def noon() -> datetime:
    return NOON


def run_short_tasks(media: Bucket, keys: Keys = (), clock: Clock = noon) -> None:
    """Run the job of short tasks."""
    tasks.run_draft_tasks(media, tasks.DraftTaskContext(NO_LEASE, clock, lambda: keys))


def hash_items(media: Bucket, clock: Clock = noon, seconds: float = 60.0) -> bool:
    """Run the hashing job once; return whether more is left to hash."""
    return hashing.hash_due_items(media, hashing.HashingContext(NO_LEASE, clock, seconds))


def new_draft(airline: Airline, name: str = "2026-12", **fields: object) -> Draft:
    return Draft.objects.create(airline=airline, name=name, **fields)


def scan_draft(draft: Draft, media: Bucket) -> Draft:
    """Scan the bucket for the draft."""
    requests.request_scan(draft, NOON)
    run_short_tasks(media)
    draft.refresh_from_db()
    return draft


def hash_draft(draft: Draft, media: Bucket) -> Draft:
    """Hash the selected items."""
    requests.request_hash(draft, NOON)
    assert not hash_items(media)
    draft.refresh_from_db()
    return draft


def publish_draft(draft: Draft, media: Bucket, keys: Keys = ()) -> Draft:
    """Publish the draft. Its state says whether that succeeded."""
    requests.request_publish(draft, NOON)
    run_short_tasks(media, keys)
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
