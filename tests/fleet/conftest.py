"""Fixtures of the tests of polling."""

from __future__ import annotations

import pytest

from tests.fleet.world import World


@pytest.fixture
def world(db: None) -> World:
    return World()
