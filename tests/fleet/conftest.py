"""Fixtures of the tests of polling."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fleet.simulation.proxy import FaultProxy
from ifeportal.embedded.seaweedfs import SeaweedFS
from loader.s3.client import S3Bucket
from tests.support.polling_world import PollingWorld
from tests.support.proxied_buckets import ProxiedBuckets, StoreCredentials


@pytest.fixture
def world(db: None) -> PollingWorld:
    return PollingWorld()


@pytest.fixture
def proxied(seaweed: SeaweedFS, media: S3Bucket, status: S3Bucket) -> Iterator[ProxiedBuckets]:
    """Two empty buckets of a real store, read through a proxy."""
    with FaultProxy(seaweed.endpoint) as link:
        yield ProxiedBuckets(media, status, link, StoreCredentials(seaweed.access_key, seaweed.secret_key))
