"""A signed-in member, and totals of the rows that these tests write by hand."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.conftest import Cast
from tests.fleet.counted_requests import counted_before_requests as counted_before_requests


@pytest.fixture
def alice(cast: Cast, client: Client) -> Client:
    client.force_login(cast.alice)
    return client
