"""An aircraft before an upgrade: its content directory and buckets, packed into a fixture and unpacked again.

Uses only the loader's command, so that it works the same before and after internal changes of the loader.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import boto3

from tests.upgrade.contents import AIRLINE, TAIL

ROOT: Final = Path(__file__).resolve().parents[2]
FIXTURES: Final = Path(__file__).parent / "fixtures"
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
OLD_BOOT_ID: Final = "00000000-0000-4000-8000-000000000000"  # in fixtures; no machine has this id
HOOK: Final = '#!/bin/sh\necho "$2 $3" >> "$0.log"\n'


class Objects:
    """One bucket, by key."""

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        """`environment`: AWS's standard variables for the store and its keys."""
        self.name = name
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=environment["AWS_ENDPOINT_URL_S3"],
            region_name=environment["AWS_REGION"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        )

    def put(self, key: str, body: bytes) -> None:
        self._client.put_object(Bucket=self.name, Key=key, Body=body)

    def read_all(self, prefix: str = "") -> dict[str, bytes]:
        """Return every body below a prefix, at most one page of them."""
        listed = self._client.list_objects_v2(Bucket=self.name, Prefix=prefix).get("Contents", [])
        keys = [entry["Key"] for entry in listed]
        return {key: self._client.get_object(Bucket=self.name, Key=key)["Body"].read() for key in keys}


@dataclass
class Aircraft:
    """One tail. `folder` has its content directory, hook and trusted keys; `store` is the environment for S3."""

    folder: Path
    media: Objects
    status: Objects
    store: Mapping[str, str]

    @property
    def content(self) -> Path:
        return self.folder / "content"

    @property
    def hook(self) -> Path:
        return self.folder / "hook"

    @property
    def state(self) -> Path:
        return self.content / ".loader"

    @property
    def parts(self) -> Path:
        return self.state / "parts"

    def final(self, campaign: str, content: str) -> Path:
        return self.content / campaign / f"{content}.tgz"

    def part(self, campaign: str, content: str) -> Path:
        return self.parts / campaign / f"{content}.tgz.part"

    def part_state(self, campaign: str, content: str) -> dict[str, Any]:
        return read_json(self.parts / campaign / f"{content}.tgz.json")

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start the loader; the caller waits for it or stops it."""
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("LOADER_", "AWS_", "DJANGO_"))
        }
        environment = {
            **inherited,
            **self.store,
            "MEDIA_BUCKET": self.media.name,
            "STATUS_BUCKET": self.status.name,
            "LOADER_AIRLINE": AIRLINE,
            "LOADER_TAIL": TAIL,
            "LOADER_CONTENT_DIR": str(self.content),
            "LOADER_MAX_TRANSFERS": "8",
            "LOADER_PROGRESS_INTERVAL": "100ms",
            "LOADER_RETRY_DELAY": "20ms",
            "LOADER_RESERVE": "0",
            "LOADER_ON_LOADED": str(self.hook),
            "LOADER_SIGNATURES": "enforce",
            "LOADER_TRUSTED_KEYS": str(self.folder / "trusted.json"),
        }
        return subprocess.Popen(
            [sys.executable, "manage.py", "run_loader", *options],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def load(self, seconds: float = 60.0) -> tuple[int, str]:
        """Run the loader once to its end. Return its exit code and its output."""
        process = self.start("--once")
        try:
            printed, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return process.returncode, printed

    def write_hook(self, script: str) -> None:
        self.hook.write_text(script)
        self.hook.chmod(0o755)


def read_json(path: Path) -> dict[str, Any]:
    state = json.loads(path.read_bytes())
    assert isinstance(state, dict)
    return state


def rewrite_json(path: Path, **fields: object) -> None:
    """Change fields of a state file."""
    path.write_text(json.dumps({**read_json(path), **fields}))


def list_files(folder: Path) -> set[str]:
    """Return the files below a folder, as relative paths."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# Fixtures: `content/`, `media/` and `status/` (the buckets without content), `trusted.json`.


def pack(aircraft: Aircraft, archive: Path) -> None:
    """Write an aircraft whose loader has exited as a fixture."""
    with tarfile.open(archive, "w:xz", format=tarfile.PAX_FORMAT, preset=9) as tar:
        for path in sorted([aircraft.folder / "trusted.json", *aircraft.content.rglob("*")]):
            if path.is_file():
                _add(tar, path, str(path.relative_to(aircraft.folder)))
        for name, bucket in (("media", aircraft.media), ("status", aircraft.status)):
            for key, body in bucket.read_all(f"{AIRLINE}/").items():
                if not key.endswith(".tgz"):
                    info = tarfile.TarInfo(f"{name}/{key}")
                    info.size = len(body)
                    tar.addfile(info, io.BytesIO(body))


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    """Add a file with its modification time in nanoseconds, by which the loader recognises its files."""
    info = tar.gettarinfo(str(path), name)
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    seconds, rest = divmod(path.stat().st_mtime_ns, 1_000_000_000)
    info.pax_headers = {"mtime": f"{seconds}.{rest:09d}"}
    with path.open("rb") as stream:
        tar.addfile(info, stream if info.isreg() else None)


def unpack(archive: Path, aircraft: Aircraft) -> None:
    """Write the content of a fixture to disk and to the buckets."""
    with tarfile.open(archive) as tar:
        for info in tar:
            top, _, below = info.name.partition("/")
            if top in ("media", "status"):
                stream = tar.extractfile(info)
                assert stream is not None
                (aircraft.media if top == "media" else aircraft.status).put(below, stream.read())
            else:
                tar.extract(info, aircraft.folder, filter="fully_trusted")
                os.utime(aircraft.folder / info.name, ns=(_mtime_ns(info),) * 2)


def _mtime_ns(info: tarfile.TarInfo) -> int:
    seconds, _, rest = info.pax_headers["mtime"].partition(".")
    return int(seconds) * 1_000_000_000 + int(rest)


def set_boot(aircraft: Aircraft, boot: str) -> None:
    """Set the boot id in the states of unfinished items to that of this machine."""
    for path in aircraft.parts.glob("*/*.tgz.json"):
        rewrite_json(path, boot=boot)
