"""A signed-in member, and totals of the rows that these tests write by hand."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.conftest import Cast
from tests.support.counted_totals import count_before_requests


@pytest.fixture(autouse=True)
def _counted_totals(monkeypatch: pytest.MonkeyPatch) -> None:
    count_before_requests(monkeypatch)


@pytest.fixture
def alice(cast: Cast, client: Client) -> Client:
    client.force_login(cast.alice)
    return client
