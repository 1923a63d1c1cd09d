"""The three stores that one suite tests for the same behaviour, and a store with scripted responses."""

from __future__ import annotations

import itertools
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from loader.s3.client import S3Bucket
from loader.s3.interface import Bucket
from loader.s3.memory import MemoryBucket
from tests.support.certificates import write_certificate
from tests.support.scripted_store import Reply, ScriptedStore

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
    moto_bucket: S3Bucket = request.getfixturevalue("moto_bucket")
    return moto_bucket


@pytest.fixture
def moto_bucket(moto: str) -> S3Bucket:
    store = S3Bucket(f"bucket-{next(_numbers)}", endpoint=moto, access_key="any", secret_key="any")
    store.create_bucket()
    store.requests.put = 0
    return store


@pytest.fixture
def store() -> Iterator[ScriptedStore]:
    with ScriptedStore() as scripted:
        yield scripted


@pytest.fixture
def waits() -> list[float]:
    """Seconds that the bucket of `scripted` would have slept between attempts."""
    return []


@pytest.fixture
def scripted(store: ScriptedStore, waits: list[float]) -> S3Bucket:
    """Return a bucket on the scripted store; it does not really sleep."""
    sleep: Callable[[float], None] = waits.append
    return S3Bucket("b", endpoint=store.endpoint, access_key="AKEY", secret_key="SECRET", read_timeout=1.5, sleep=sleep)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for the loopback interface, with its key in the same file."""
    return write_certificate(tmp_path / "certificate.pem")


@pytest.fixture
def tls_store(certificate: Path) -> Iterator[ScriptedStore]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with ScriptedStore(context) as store:
        store.answers(Reply(200, b"ok", {"ETag": '"abc"'}))
        yield store


@pytest.fixture
def trusting(tls_store: ScriptedStore, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> S3Bucket:
    """Return a bucket on the scripted store behind TLS that trusts its certificate."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    return S3Bucket("b", endpoint=tls_store.endpoint, access_key="a", secret_key="b", sleep=lambda _: None)
