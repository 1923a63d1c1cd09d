"""Fixtures of the feed's tests: an API client, and an app with its own topics."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.api_fleet import client_of as client_of
from tests.support.gate_app import gate_app


@pytest.fixture
def gates() -> Iterator[None]:
    with gate_app():
        yield
