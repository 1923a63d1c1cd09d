"""The cache that web processes share through Redis. It only counts requests, so an outage must not fail one.

It also stores used one-time codes for half a minute. Failed passwords are counted in the database.
"""

from __future__ import annotations

import logging
from typing import Any

from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)


class FaultTolerantRedisCache(RedisCache):
    """A Redis that is away is an empty cache that forgets what it is told."""

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """The value, or the default if there is none or no Redis."""
        try:
            return super().get(key, default, version)
        except RedisError as error:
            logger.warning("cache: reading: %s", error)
            return default

    def set(self, key: Any, value: Any, timeout: Any = 300, version: int | None = None) -> None:
        """Keep the value for so many seconds, if there is a Redis."""
        try:
            super().set(key, value, timeout, version)
        except RedisError as error:
            logger.warning("cache: writing: %s", error)

    def add(self, key: Any, value: Any, timeout: Any = 300, version: int | None = None) -> bool:
        """Keep the value if there is none; whether it was kept. Without a Redis: as if it was."""
        try:
            return bool(super().add(key, value, timeout, version))
        except RedisError as error:
            logger.warning("cache: adding: %s", error)
            return True

    def delete(self, key: Any, version: int | None = None) -> bool:
        """Forget the value; whether there was one."""
        try:
            return bool(super().delete(key, version))
        except RedisError as error:
            logger.warning("cache: deleting: %s", error)
            return False
