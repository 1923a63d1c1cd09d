"""Clients of the API with fresh request counters, and a kind of operation."""

from collections.abc import Iterator

import pytest

from tests.support.api_fleet import client_of as client_of
from tests.support.api_fleet import fresh_throttles as fresh_throttles
from tests.support.operation_rows import chores


@pytest.fixture(autouse=True)
def kind() -> Iterator[None]:
    with chores():
        yield
