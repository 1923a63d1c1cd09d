"""Embedded SeaweedFS: its own keys, the given permissions, persistent data, and no port open to the network."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ifeportal.embedded.seaweedfs import Identity, SeaweedFS
from loader.errors import WorldError
from loader.s3.client import S3Bucket
from tests.support.bucket_pool import FreshBuckets

N1 = Identity("N1", ("Read:ife-media/ACME/*", "List:ife-media/ACME/*", "Write:ife-status/ACME/N1/*"))


def refused(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except WorldError as error:
        return error.code == "FORBIDDEN"
    return False


def as_identity(store: SeaweedFS, bucket: str, identity: str) -> S3Bucket:
    environment = store.environment(identity)
    return S3Bucket(
        bucket,
        endpoint=environment["AWS_ENDPOINT_URL_S3"],
        access_key=environment["AWS_ACCESS_KEY_ID"],
        secret_key=environment["AWS_SECRET_ACCESS_KEY"],
    )


def listening(pid: int) -> set[str]:
    """Return the local TCP addresses on which a process listens, from /proc."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(str(entry.readlink()).removeprefix("socket:[").removesuffix("]"))
        except OSError:
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                found.add(words[1].rpartition(":")[0])
    return found


def test_data_keys_and_rights_outlive_a_kill(tmp_path: Path) -> None:
    with SeaweedFS(tmp_path / "store", identities=[N1]) as store:
        for name in ("ife-media", "ife-status"):
            store.create_bucket(name)
            store.create_bucket(name)
        store.bucket("ife-media").put("ACME/c/x.tgz", b"film")
        keys = store.environment("N1")
        assert store.process.pid
        os.kill(store.process.pid, signal.SIGKILL)
        while store.process.ended is None:
            time.sleep(0.01)
    for name in ("keys.json", "s3.json"):
        assert (tmp_path / "store" / name).stat().st_mode & 0o077 == 0

    with SeaweedFS(tmp_path / "store", identities=[N1]) as store:
        again = store.environment("N1")
        assert {k: v for k, v in again.items() if "KEY" in k} == {k: v for k, v in keys.items() if "KEY" in k}
        media, status = as_identity(store, "ife-media", "N1"), as_identity(store, "ife-status", "N1")
        found = media.get("ACME/c/x.tgz", 10)
        assert found is not None
        assert found.body == b"film"
        status.put("ACME/N1/loader.json", b"{}")
        assert media.list_prefixes("ACME/") == ["c"]
        assert refused(lambda: status.put("ACME/N2/loader.json", b"{}"))
        assert refused(lambda: media.put("ACME/c/x.tgz", b"other"))
        assert refused(lambda: list(media.list()))
        assert refused(lambda: media.get("BETA/c/x.tgz", 10))
        assert refused(lambda: list(status.list("ACME/")))


def test_the_server_listens_on_the_loopback_interface_only(seaweed: SeaweedFS) -> None:
    assert seaweed.process.pid
    assert listening(seaweed.process.pid) == {"0100007F"}


def test_a_port_that_is_taken_is_passed_by(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with SeaweedFS(tmp_path / "store", port=port) as store:
            assert not store.endpoint.endswith(f":{port}")
            store.create_bucket("ife-media").put("k", b"")


def test_writing_does_not_create_a_missing_bucket(seaweed: SeaweedFS) -> None:
    with pytest.raises(WorldError, match="the bucket 'nobodys' does not exist"):
        seaweed.bucket("nobodys").put("k", b"")


def test_its_own_health_page_is_not_taken_for_an_empty_bucket(seaweed: SeaweedFS) -> None:
    with pytest.raises(WorldError):
        list(seaweed.bucket("status").list())


def test_a_store_that_died_is_restarted_at_the_same_address_with_its_data(tmp_path: Path) -> None:
    with SeaweedFS(tmp_path / "store") as store, FreshBuckets(store) as buckets:
        first = buckets.take()
        first.put("k", b"v")
        endpoint = store.endpoint
        while store.process.ended is None:
            assert store.process.pid
            os.kill(store.process.pid, signal.SIGKILL)
            time.sleep(0.01)
        taken = [buckets.take() for _ in range(6)]  # more than were ready
        assert len({bucket.name for bucket in (first, *taken)}) == 7
        for bucket in taken:
            bucket.put("k", b"v")
        assert store.endpoint == endpoint
        found = first.get("k", 10)
        assert found is not None
        assert found.body == b"v"
