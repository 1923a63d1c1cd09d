"""Fixtures of the tests of pages."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.conftest import Cast


@pytest.fixture
def alice(cast: Cast, client: Client) -> Client:
    client.force_login(cast.alice)
    return client
