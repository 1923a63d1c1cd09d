"""The ground before an upgrade: its users, the objects in the buckets, and the portal's commands.

Uses only the portal's commands and addresses. The store is moto's, because it allows to set LastModified: the portal
recognises an object by its ETag and LastModified.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import boto3
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

ROOT: Final = Path(__file__).resolve().parents[2]
FIXTURES: Final = Path(__file__).parent / "fixtures"
LOOPBACK: Final = "127.0.0.1"

SECRET_KEY: Final = "of-the-upgraded-portal-" + "0123456789" * 4
PASSWORD: Final = "correct horse battery staple"
TOTP_SECRET: Final = "JBSWY3DPEHPK3PXP"
TOKEN: Final = "ife_" + "0123456789abcdef" * 4  # token of Mona for ACME, read-only
SESSION: Final = "alicehadsignedinbeforetheupgrade"  # session key of Alice

MEDIA, STATUS = "upgrade-media", "upgrade-status"
MIB: Final = 1024 * 1024
NOON: Final = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
Objects = Mapping[tuple[str, str], tuple[bytes, int]]  # body and minutes after noon, by bucket and key


def build_manifest(version: int, **sizes: int) -> bytes:
    content = [{"name": name, "size": size, "title": name.title()} for name, size in sizes.items()]
    days = {"starts": "2026-12-01", "ends": "2026-12-31"}
    return json.dumps({"version": version, "title": "December", "exhibition": days, "content": content}).encode()


def build_heartbeat(state: str, held: int) -> bytes:
    whole = [{"campaign": "2026-11", "items": held, "bytes": held * MIB, "verified": True}] if held else []
    document: dict[str, object] = {
        "schema": 1,
        "loader": "0.1.0",
        "at": "2026-11-29T12:20:00Z",
        "started_at": "2026-11-29T11:00:00Z",
        "state": state,
        "campaign": "2026-12",
        "rate_bps": 250_000 if state == "loading" else 0,
        "stores": [{"path": "/content", "total": 100 * MIB, "free": 40 * MIB}],
        "queue_version": 7,
        "held": whole,
    }
    return json.dumps(document).encode()


EARLIER: Final[Objects] = {
    (MEDIA, "ACME/2026-12/campaign.json"): (build_manifest(3, film=8 * MIB, song=2 * MIB, game=1000), 0),
    (MEDIA, "BETA/winter/campaign.json"): (build_manifest(1, film=4 * MIB), 0),
    (STATUS, "ACME/N1/2026-12/film.tgz.progress"): (b"1048576", 1),
    (STATUS, "ACME/N1/2026-12/song.tgz.progress"): (b"0", 1),
    (STATUS, "ACME/N1/2026-12/game.tgz.progress"): (b"0", 1),
    (STATUS, "ACME/N1/2026-12/game.tgz.error"): (b"NETWORK: the link broke\n", 2),
    (STATUS, "ACME/N1/loader.json"): (build_heartbeat("idle", 0), 2),
    (STATUS, "ACME/N2/2026-12/film.tgz.progress"): (b"0", 1),
}
NEWEST: Final[Objects] = {
    **EARLIER,
    (STATUS, "ACME/N1/2026-12/film.tgz.progress"): (b"4194304", 20),
    (STATUS, "ACME/N1/2026-12/song.tgz.progress"): (b"2097152", 15),
    (STATUS, "ACME/N1/2026-12/game.tgz.error"): (b"HASH_MISMATCH: not what was published\n", 16),
    (STATUS, "ACME/N1/loader.json"): (build_heartbeat("loading", 2), 20),
    (STATUS, "ACME/N2/2026-12/film.tgz.progress"): (b"8388608", 18),
    (STATUS, "ACME/N2/2026-12/song.tgz.progress"): (b"2097152", 18),
    (STATUS, "ACME/N2/2026-12/game.tgz.progress"): (b"1000", 18),
    (STATUS, "ACME/N2/loader.json"): (build_heartbeat("idle", 3), 19),
    (STATUS, "ACME/N3/2026-12/film.tgz.progress"): (b"a lot", 10),
    (STATUS, "ACME/N3/2026-12/campaign.json.error"): (b"BAD_SIGNATURE: not signed by who should\n", 10),
    (STATUS, "ACME/N3/2026-12/strange.txt"): (b"?", 10),
    (STATUS, "BETA/B1/winter/film.tgz.progress"): (b"123456", 12),
}


@contextmanager
def store() -> Iterator[dict[str, str]]:
    """Start a store with two empty buckets. Yields the environment to reach it."""
    server = ThreadedMotoServer(LOOPBACK, 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        environment = {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
            "MEDIA_BUCKET": MEDIA,
            "STATUS_BUCKET": STATUS,
        }
        for name in (MEDIA, STATUS):
            _client(environment).create_bucket(Bucket=name)
        yield environment
    finally:
        for name in (MEDIA, STATUS):
            for buckets in _moto_buckets():
                buckets.pop(name, None)
        server.stop()


def fill(environment: Mapping[str, str], objects: Objects) -> None:
    """Put these objects with their ages."""
    client = _client(environment)
    for (bucket, key), (body, minutes) in objects.items():
        client.put_object(Bucket=bucket, Key=key, Body=body)
        stored = next(buckets[bucket].keys[key] for buckets in _moto_buckets() if bucket in buckets)
        stored.last_modified = NOON.replace(tzinfo=None) + timedelta(minutes=minutes)


def _client(environment: Mapping[str, str]) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL_S3"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )


def _moto_buckets() -> Iterator[Any]:
    for account in s3_backends.values():
        for backend in account.values():
            yield backend.buckets


def portal_environment(database_url: str, store: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a portal."""
    base = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**base, **store, "DEBUG": "1", "SECRET_KEY": SECRET_KEY, "DATABASE_URL": database_url}


def manage(environment: Mapping[str, str], *arguments: str) -> str:
    """Run a command and return its output. Raises AssertionError if it fails."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def code_of_app(secret: str, at: float) -> str:
    """Return the code of an authenticator app (RFC 6238)."""
    digest = hmac.new(base64.b32decode(secret), struct.pack(">Q", int(at) // 30), hashlib.sha1).digest()
    start = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[start : start + 4])[0] & 0x7FFFFFFF) % 1_000_000:06d}"
