"""An aircraft for tests: runs the real command as a process and reads the files and reports it wrote."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fleet.simulation.proxy import RecordedRequest
from loader.contract.heartbeat import Heartbeat, parse_heartbeat
from loader.contract.keys import content_key, manifest_key, parse_status_key
from loader.contract.manifest import Exhibition, Item, Manifest, build_manifest
from loader.s3.client import S3Bucket

ROOT = Path(__file__).resolve().parents[2]
AIRLINE, TAIL = "ACME", "D-ABCD"
DIGITS = re.compile(rb"[0-9]{1,20}")


def bare_environment() -> dict[str, str]:
    """Return this process's environment without the loader's settings, credentials and the portal's settings."""
    prefixes = ("LOADER_", "AWS_", "DJANGO_")
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}


def start_interpreter(options: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start the command in a new interpreter, as a user does."""
    return subprocess.Popen(
        [sys.executable, "manage.py", "run_loader", *options],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


Starter = Callable[[Sequence[str], Mapping[str, str]], "subprocess.Popen[str]"]


@dataclass
class Run:
    """The exit code of a process and what it printed with --json."""

    code: int
    events: list[dict[str, object]]
    stderr: str

    def of(self, event: str) -> list[dict[str, object]]:
        return [one for one in self.events if one["event"] == event]


@dataclass
class Aircraft:
    """One tail with one content directory. `endpoint` is the address of its store.

    `starter` starts its processes: `ForkServer.popen` does it in a tenth of the time.
    """

    folder: Path
    endpoint: str
    keys: Mapping[str, str]
    media: S3Bucket
    status: S3Bucket
    extra: dict[str, str] = field(default_factory=dict)
    starter: Starter = start_interpreter

    def environment(self, **more: str) -> dict[str, str]:
        return {
            **bare_environment(),
            **self.keys,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "MEDIA_BUCKET": self.media.name,
            "STATUS_BUCKET": self.status.name,
            "LOADER_AIRLINE": AIRLINE,
            "LOADER_TAIL": TAIL,
            "LOADER_CONTENT_DIR": str(self.folder),
            "LOADER_PROGRESS_INTERVAL": "100ms",
            "LOADER_RETRY_DELAY": "20ms",
            "LOADER_RETRY_DELAY_MAX": "100ms",
            "LOADER_JSON": "1",
            "LOADER_RESERVE": "0",
            **self.extra,
            **more,
        }

    def start(self, *options: str, **more: str) -> subprocess.Popen[str]:
        """Start the command; the caller waits for it or ends it."""
        return self.starter(options, self.environment(**more))

    def load(self, *options: str, **more: str) -> Run:
        """Run `run_loader --once` to its end."""
        return wait_for_exit(self.start("--once", *options, **more))

    # Files on disk.

    def path(self, campaign: str, content: str) -> Path:
        return self.folder / campaign / f"{content}.tgz"

    def part(self, campaign: str, content: str) -> Path:
        return self.folder / ".loader" / "parts" / campaign / f"{content}.tgz.part"

    def edge(self, campaign: str, content: str) -> int:
        """Return the length of the contiguous part of an unfinished item. More bytes may exist beyond it."""
        part = self.part(campaign, content)
        extents = json.loads(part.with_suffix(".json").read_text()).get("extents")
        return int(extents[0][1]) if extents else part.stat().st_size

    def left_over(self) -> list[str]:
        """Return parts and temporary files; there are none after a success."""
        return [str(path) for path in self.folder.rglob("*") if path.suffix in (".part", ".new")]

    # Objects in the status bucket.

    def reports(self) -> dict[str, bytes]:
        """Return every object of the status bucket."""
        found: dict[str, bytes] = {}
        for entry in self.status.list():
            fetched = self.status.get(entry.key, 4096)
            if fetched is not None:  # removed between the listing and now
                found[entry.key] = fetched.body
        return found

    def progress(self, campaign: str) -> dict[str, int]:
        """Return the reported bytes by content."""
        reported: dict[str, int] = {}
        for key, body in self.reports().items():
            name = parse_status_key(key)
            if name is not None and name.kind == "progress" and name.campaign == campaign:
                assert DIGITS.fullmatch(body), body
                reported[name.content] = int(body)
        return reported

    def errors(self) -> dict[str, str]:
        """Return the reported errors by content; the error of a campaign by its name."""
        reported: dict[str, str] = {}
        for key, body in self.reports().items():
            name = parse_status_key(key)
            if name is not None and name.kind in ("error", "campaign_error"):
                reported[name.content or name.campaign] = body.decode().rstrip("\n")
        return reported

    def heartbeat(self) -> Heartbeat:
        fetched = self.status.get(f"{AIRLINE}/{TAIL}/loader.json", 100_000)
        assert fetched is not None
        return parse_heartbeat(fetched.body)


def first_requested_byte(seen: Sequence[RecordedRequest]) -> int:
    """Return the lowest start of these range requests."""
    return min(int(one.range.removeprefix("bytes=").partition("-")[0]) for one in seen)


def wait_for_exit(process: subprocess.Popen[str], seconds: float = 60.0) -> Run:
    """Wait for the end of a process."""
    try:
        stdout, stderr = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Run(process.returncode, [json.loads(line) for line in stdout.splitlines()], stderr)


def publish(
    media: S3Bucket,
    campaign: str,
    contents: Mapping[str, bytes],
    *,
    version: int = 1,
    hashed: bool = True,
    exhibition: Exhibition | None = None,
    airline: str = AIRLINE,
    put: Collection[str] | None = None,
) -> list[Item]:
    """Put the objects, then the manifest, like the portal. `put`: the contents that changed; None for all."""
    items = [
        Item(name, len(body), hashlib.sha256(body).hexdigest() if hashed else None) for name, body in contents.items()
    ]
    for name, body in contents.items():
        if put is None or name in put:
            media.put(content_key(airline, campaign, name), body)
    manifest = Manifest(tuple(items), version=version, exhibition=exhibition or Exhibition())
    media.put(manifest_key(airline, campaign), build_manifest(manifest))
    return items
