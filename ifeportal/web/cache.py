"""Cache that web processes share through Redis: counts of API requests.

An outage of Redis must not fail a request. Guesses are counted in the database instead (`ifeportal.accounts.limits`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)


class FaultTolerantRedisCache(RedisCache):
    """A Redis cache that is empty, and stores nothing, while Redis is unavailable."""

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        with _logged_outage("reading"):
            return super().get(key, default, version)
        return default

    def set(self, key: Any, value: Any, timeout: Any = 300, version: int | None = None) -> None:
        with _logged_outage("writing"):
            super().set(key, value, timeout, version)

    def add(self, key: Any, value: Any, timeout: Any = 300, version: int | None = None) -> bool:
        """Store the value if there is none. Return whether it was stored; True also while Redis is unavailable."""
        with _logged_outage("adding"):
            return bool(super().add(key, value, timeout, version))
        return True

    def delete(self, key: Any, version: int | None = None) -> bool:
        with _logged_outage("deleting"):
            return bool(super().delete(key, version))
        return False


@contextmanager
def _logged_outage(action: str) -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        logger.warning("cache: %s: %s", action, error)
