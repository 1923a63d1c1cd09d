"""The ground side of the loader's benchmarks: a SeaweedFS with published campaigns, and the loader's environment.

Touches its folder, the loopback interface, and the store it starts. Content is random bytes, published with hashes by
the usual publisher. Only the copy in the store remains.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Final

from benchmarks.shared.goals import MIB
from benchmarks.shared.peers import Source
from benchmarks.shared.processes import MeasurementError
from campaigns.publishing.folder_publisher import publish_folder
from ifeportal.embedded.seaweedfs import SeaweedFS

MEDIA, STATUS, CAMPAIGN = "bench-media", "bench-status", "2026-12"
LOADER: Final = (sys.executable, "manage.py", "run_loader")


@dataclass(frozen=True, slots=True)
class Load:
    """A campaign of one airline. `size` is the size of each item in bytes."""

    airline: str
    items: int
    size: int

    @property
    def bytes(self) -> int:
        """Return the size of all items."""
        return self.items * self.size


LOADS: Final[Mapping[str, Load]] = {
    "a": Load("BENCH-A", 4, 512 * MIB),
    "b": Load("BENCH-B", 200, 2 * MIB),
    "c": Load("BENCH-C", 1, 2048 * MIB),
    "link": Load("BENCH-L", 1, 200 * MIB),
    "small": Load("BENCH-S", 1, MIB),
}


@dataclass(frozen=True, slots=True)
class GroundStore:
    """A store with campaigns. `endpoint` is the address for loaders and peers, which may be that of a proxy.
    `published` has the SHA-256 of each file, by load.
    """

    folder: Path
    store: SeaweedFS
    endpoint: str
    published: dict[str, dict[str, str]] = field(default_factory=dict)

    def source(self, name: str) -> Source:
        """Return the location of a load, for peers."""
        return Source(self.endpoint, f"{MEDIA}/{LOADS[name].airline}/{CAMPAIGN}")

    def with_endpoint(self, endpoint: str) -> GroundStore:
        """Return the same store at another address."""
        return replace(self, endpoint=endpoint)

    def publish(self, name: str) -> None:
        """Create the content of a load and publish it to the media bucket."""
        load, folder = LOADS[name], self.folder / "content"
        folder.mkdir()
        try:
            for number in range(load.items):
                noise = Random(f"{name}/{number}")
                with (folder / f"item-{number:03}.tgz").open("wb") as file:
                    for _ in range(load.size // MIB):
                        file.write(noise.randbytes(MIB))
            result = publish_folder(folder, load.airline, CAMPAIGN, self.store.bucket(MEDIA))
            self.published[name] = {f"{item.name}.tgz": item.sha256 for item in result.items}
        finally:
            shutil.rmtree(folder)

    def loader(self, airline: str, target: Path, tail: str, **settings: str) -> dict[str, str]:
        """Return the environment of a loader with default settings. Each run needs its own tail and folder."""
        environment = {
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            **self.store.environment(),
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "MEDIA_BUCKET": MEDIA,
            "STATUS_BUCKET": STATUS,
            "LOADER_AIRLINE": airline,
            "LOADER_TAIL": tail,
            "LOADER_CONTENT_DIR": str(target),
        }
        return environment | settings

    def check(self, name: str, target: Path) -> None:
        """Compare all files of a load below `target` with their hashes. Raises MeasurementError."""
        expected, actual = self.published[name], hash_archives(target)
        wrong = [file for file in expected | actual if actual.get(file) != expected.get(file)]
        if wrong:
            raise MeasurementError(f"{len(wrong)} files are missing or have the wrong hash, for example {wrong[0]}")


def hash_archives(target: Path) -> dict[str, str]:
    """Return the SHA-256 of each archive below a folder, by file name."""
    paths = sorted(target.rglob("*.tgz"))
    with ThreadPoolExecutor(2) as threads:
        return dict(zip((path.name for path in paths), threads.map(_digest, paths), strict=True))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
