"""Clients of the uploads API and their store, with fresh request counters for each test."""

from __future__ import annotations

import pytest

from tests.conftest import Cast
from tests.support.api_fleet import ClientOf
from tests.support.api_fleet import client_of as client_of
from tests.support.api_fleet import fresh_throttles as fresh_throttles
from tests.support.uploads_api import StoreOfUploads, Uploader
from tests.support.uploads_api import store as store


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
