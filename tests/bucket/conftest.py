"""The three stores that one suite holds to the same behaviour, and a store that says whatever a test wants."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from moto.server import ThreadedMotoServer

from loader.bucket import Bucket, MemoryBucket, S3Bucket
from tests.bucket.scripted import ScriptedStore

_numbers = itertools.count()


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["memory", "moto", "seaweed"])
def bucket(request: pytest.FixtureRequest) -> Bucket:
    if request.param == "memory":
        return MemoryBucket()
    if request.param == "seaweed":
        store: S3Bucket = request.getfixturevalue("media")
        return store
    endpoint: str = request.getfixturevalue("moto")
    store = S3Bucket(f"bucket-{next(_numbers)}", endpoint=endpoint, access_key="any", secret_key="any")
    store.create()
    store.requests.put = 0
    return store


@pytest.fixture
def store() -> Iterator[ScriptedStore]:
    with ScriptedStore() as scripted:
        yield scripted


@pytest.fixture
def waits() -> list[float]:
    """How long the bucket of `scripted` would have slept between attempts, in seconds."""
    return []


@pytest.fixture
def scripted(store: ScriptedStore, waits: list[float]) -> S3Bucket:
    """A bucket on the scripted store; it does not really sleep."""
    sleep: Callable[[float], None] = waits.append
    return S3Bucket("b", endpoint=store.endpoint, access_key="AKEY", secret_key="SECRET", read_timeout=0.5, sleep=sleep)
