"""Bodies are read directly into the caller's memory, as bytes arrive; an error loses none of them."""

from __future__ import annotations

import os

import pytest

from loader.errors import WorldError
from loader.s3.client import S3Bucket
from loader.s3.http.responses import GATHER
from tests.support.scripted_store import Reply, ScriptedStore

OBJECT = {"ETag": '"abc"'}
BODY = os.urandom(3_000_003)


def take(bucket: S3Bucket, size: int) -> tuple[bytes, list[int]]:
    """Read the object with buffers of `size` bytes; return it and the bytes of each read."""
    whole, counts = bytearray(), []
    with bucket.open("k") as body:
        buffer = bytearray(size)
        while count := body.readinto(buffer):
            whole += buffer[:count]
            counts.append(count)
    return bytes(whole), counts


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [1000, 8192, 262_144, 5_000_000])
def test_an_object_is_read_whole_whatever_the_memory(
    size: int, chunked: bool, store: ScriptedStore, scripted: S3Bucket
) -> None:
    store.answers(Reply(200, BODY, OBJECT, chunked=chunked))
    whole, counts = take(scripted, size)
    assert whole == BODY
    if not chunked and size > 8192:
        assert len(counts) <= -(-len(BODY) // size) + 1  # each read fills the buffer


@pytest.mark.parametrize("size", [1000, 262_144])
def test_over_tls_records_are_gathered(size: int, tls_store: ScriptedStore, trusting: S3Bucket) -> None:
    tls_store.answers(Reply(200, BODY, OBJECT))
    whole, counts = take(trusting, size)
    assert whole == BODY
    assert len(counts) <= -(-len(BODY) // size) + 2


def test_a_connection_read_to_its_end_is_used_again(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(Reply(200, BODY, OBJECT))
    for _ in range(3):
        assert take(scripted, 100_000)[0] == BODY
    assert len(store.asked) == 3
    assert len({asked.client for asked in store.asked}) == 1


def test_all_small_calls_go_over_one_connection(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(Reply(200, b"", OBJECT))
    scripted.put("k", b"1")
    scripted.get("k", 10)
    scripted.delete("k")
    store.answers(Reply(204))
    scripted.delete("k")
    store.answers(Reply(200, b"12", OBJECT))
    scripted.get("k", 10)
    scripted.get("k", 2)
    assert len(store.asked) == 6
    assert len({asked.client for asked in store.asked}) == 1


def test_a_trickle_is_handed_on_soon(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(Reply(200, bytes(200), OBJECT, pause=GATHER / 10))
    _, counts = take(scripted, 1_000_000)
    assert len(counts) > 1


def test_bytes_that_came_before_an_error_are_not_lost(store: ScriptedStore, scripted: S3Bucket) -> None:
    store.answers(Reply(200, BODY[:700_000], OBJECT, lie=len(BODY), cut=True))
    buffer = bytearray(1_000_000)
    with scripted.open("k") as body:
        assert body.readinto(buffer) == 700_000
        with pytest.raises(WorldError) as error:
            body.readinto(buffer)
    assert error.value.code == "SHORT_BODY"
    assert buffer[:700_000] == BODY[:700_000]


def test_data_read_after_an_abort_is_discarded(tls_store: ScriptedStore, trusting: S3Bucket) -> None:
    """After Python's shutdown of a TLS socket, later reads return encrypted records."""
    tls_store.answers(Reply(200, BODY, OBJECT))
    with trusting.open("k") as body:
        buffer = bytearray(100_000)
        assert body.readinto(buffer) == len(buffer)
        body.abort()
        with pytest.raises(WorldError):
            body.readinto(buffer)
