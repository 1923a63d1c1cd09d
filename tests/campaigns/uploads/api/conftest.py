"""Clients of the uploads API and their store, with fresh request counters for each test."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from ifeportal.operations import requests as operations
from ifeportal.operations.models import Operation, OperationState
from tests.conftest import Cast
from tests.support.api_fleet import ClientOf
from tests.support.api_fleet import client_of as client_of
from tests.support.api_fleet import fresh_throttles as fresh_throttles
from tests.support.uploads_api import StoreOfUploads, Uploader
from tests.support.uploads_api import store as store


@pytest.fixture(autouse=True)
def _operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for the requests of operations until they exist."""

    def submit(kind: str, airline: Any, actor: Any, title: str, **fields: Any) -> Operation:
        start = fields.pop("start_at", None)
        state = OperationState.WAITING if start else OperationState.QUEUED
        fields["checkpoint"] = fields.get("checkpoint") or {}
        return Operation.objects.create(
            kind=kind, airline=airline, user=actor.user, title=title, state=state, next_try_at=start, **fields
        )

    def wake(operation: Operation) -> None:
        Operation.objects.filter(pk=operation.pk).update(next_try_at=timezone.now())

    def cancel(operation: Operation, actor: Any) -> None:
        Operation.objects.filter(pk=operation.pk).update(cancel_requested_at=timezone.now())

    monkeypatch.setattr(operations, "submit", submit)
    monkeypatch.setattr(operations, "wake", wake)
    monkeypatch.setattr(operations, "cancel", cancel)


@pytest.fixture
def mona(cast: Cast, client_of: ClientOf, store: StoreOfUploads) -> Uploader:
    """Mona the manager of ACME."""
    return Uploader(client_of(cast.mona))


@pytest.fixture
def alice(cast: Cast, client_of: ClientOf, store: StoreOfUploads) -> Uploader:
    """Alice the viewer of ACME."""
    return Uploader(client_of(cast.alice))


@pytest.fixture
def bruno(cast: Cast, client_of: ClientOf, store: StoreOfUploads) -> Uploader:
    """Bruno the manager of BETA."""
    return Uploader(client_of(cast.bruno))
