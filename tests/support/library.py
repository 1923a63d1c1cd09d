"""Library items for tests: rows and their objects in a bucket, and copies of them by a worker in this process."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from django.db import transaction

from campaigns.library import copying
from campaigns.library.models import LibraryItem
from campaigns.library.requests import request_copies
from campaigns.models import Draft
from ifeportal.audit import Actor
from ifeportal.models import Airline, User
from ifeportal.operations.kinds import Done, OperationFailed, Result
from ifeportal.operations.models import Operation
from loader.errors import WorldError
from loader.s3.interface import Bucket
from tests.support.upload_work import TestSlice

NOON = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)


def new_item(
    airline: Airline, name: str, body: bytes = b"film", media: Bucket | None = None, **columns: Any
) -> LibraryItem:
    """Create an item, and its object if there is a bucket."""
    etag = media.put(f"{airline.name}/.library/{name}.tgz", body) if media is not None else "e"
    values = {"size": len(body), "sha256": hashlib.sha256(body).hexdigest(), "etag": etag, "added_at": NOON}
    return LibraryItem.objects.create(airline=airline, name=name, **(values | columns))


def copy_items(draft: Draft, user: User, *items: LibraryItem) -> Operation:
    """Request copies into the campaign of the draft."""
    return request_copies(Actor.job(user), draft, items)


def copy_slice(operation: Operation, media: Bucket, **options: Any) -> Result:
    """Do one slice, as a new worker. Raises what ends it."""
    row = Operation.objects.select_related("airline", "user").get(pk=operation.pk)
    result = copying.run_on(media, TestSlice(row, **options))
    if result.write:
        with transaction.atomic():
            result.write()
    return result


def copy_to_end(operation: Operation, media: Bucket, **options: Any) -> OperationFailed | None:
    """Do slices until the operation ends; errors of the store are retried. Return the error with which it fails."""
    for _ in range(60):
        try:
            if isinstance(copy_slice(operation, media, **options), Done):
                return None
        except OperationFailed as error:
            return error
        except WorldError as error:
            if error.permanent:
                raise
    raise AssertionError("the copies are never done")
