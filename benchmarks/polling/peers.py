"""What polling is measured against: programs that bring a folder up to date with a bucket, and curl that lists it.

Each has a folder of its own, which already holds what the bucket said before. They are told what their users tell them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from benchmarks.polling.deployment import Deployment
from benchmarks.polling.fleet import ObjectValue
from benchmarks.shared.peers import PROGRAMS, environment
from benchmarks.shared.processes import Cost, MeasurementError, run
from ifeportal.embedded.seaweedfs import SeaweedFS

S5CMD: Final = "s5cmd sync"
RCLONE: Final = "rclone sync --use-server-modtime"
AWS: Final = "aws s3 sync --exact-timestamps"
CURL: Final = "curl, bare listing"
NAMES: Final = (S5CMD, RCLONE, AWS)
KEYS_A_PAGE: Final = 1_000
TOKEN: Final = re.compile(r"<NextContinuationToken>([^<]+)<")
REQUEST_TOTAL: Final = re.compile(r'SeaweedFS_s3_request_total\{.*?type="(\w+)".*?\} (\S+)')


@dataclass(frozen=True, slots=True)
class Mirror:
    """One program and its folder."""

    name: str
    folder: Path
    deployment: Deployment

    def sync(self) -> Cost:
        """Bring the folder up to date. Raises Failed."""
        command = {S5CMD: self._s5cmd, RCLONE: self._rclone, AWS: self._aws}[self.name]()
        return run(command, environment(self.deployment.store.environment(), self.folder.parent))

    def fill(self, objects: Iterable[tuple[ObjectValue, float]]) -> None:
        """Write what the bucket says, with the time it was written, as a first run would, which takes minutes."""
        for (key, value), at in objects:
            path = self.folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"%d" % value)
            os.utime(path, (at, at))

    def count_missed(self, written: Sequence[ObjectValue]) -> int:
        """How many of these objects the folder does not have as they are."""
        return sum(not _has_value(self.folder / key, value) for key, value in written)

    def _s5cmd(self) -> list[str]:
        options = ["--endpoint-url", self.deployment.store.endpoint, "--log", "error"]
        return [str(PROGRAMS["s5cmd"]), *options, "sync", f"s3://{self.deployment.name}/*", f"{self.folder}/"]

    def _rclone(self) -> list[str]:
        location = f"endpoint='{self.deployment.store.endpoint}',force_path_style=true:{self.deployment.name}"
        remote = f":s3,provider=SeaweedFS,env_auth=true,{location}"
        no_configuration = ["--config", str(self.folder.parent / "no-configuration"), "--log-level", "ERROR"]
        options = ["--use-server-modtime", "--transfers", "8"]
        return [str(PROGRAMS["rclone"]), "sync", remote, str(self.folder), *options, *no_configuration]

    def _aws(self) -> list[str]:
        command = ["s3", "sync", "--exact-timestamps", "--only-show-errors", f"s3://{self.deployment.name}/"]
        return [str(PROGRAMS["aws"]), "--endpoint-url", self.deployment.store.endpoint, *command, str(self.folder)]


def mirrors(deployment: Deployment, folder: Path, names: Sequence[str]) -> list[Mirror]:
    """Of these names, each with a folder that holds what the bucket says now."""
    values = dict(deployment.fleet.objects())
    listed = [((info.key, values[info.key]), info.last_modified.timestamp()) for info in deployment.status.list()]
    created = [Mirror(name, folder / f"mirror-{number}", deployment) for number, name in enumerate(names)]
    for mirror in created:
        mirror.fill(listed)
    return created


class Listing:
    """The bucket listed by curl: one process, one connection, a page after the other, and nothing done with them.

    Where each page begins is found out beforehand, so that nothing need be read while the time is taken.
    """

    def __init__(self, deployment: Deployment, folder: Path) -> None:
        self._world = deployment
        self._configuration = folder / "curl.conf"
        self._output = folder / "page.xml"
        urls = self._urls()
        pages = [f'url = "{url}"\noutput = "/dev/null"' for url in urls]
        self._configuration.write_text("\n".join([self._signed(), "fail-early", *pages]))

    def run(self) -> Cost:
        """List it all once. Raises Failed."""
        return run(["curl", "--config", self._configuration], {"PATH": os.defpath})

    def _signed(self) -> str:
        store = self._world.store
        keys = f'user = "{store.access_key}:{store.secret_key}"'
        return f'silent\nshow-error\nfail\naws-sigv4 = "aws:amz:us-east-1:s3"\n{keys}'

    def _urls(self) -> list[str]:
        base = f"{self._world.store.endpoint}/{self._world.name}?"
        urls, token, keys = list[str](), "", 0
        while not urls or token:
            start = f"continuation-token={quote(token, safe='')}&" if token else ""
            urls.append(f"{base}{start}list-type=2&max-keys={KEYS_A_PAGE}")
            page = self._page(urls[-1])
            keys += page.count("<Key>")
            found = TOKEN.search(page)
            token = found[1] if found else ""
        if keys != len(self._world.fleet):
            raise MeasurementError(f"curl lists {keys} objects of {len(self._world.fleet)}")
        return urls

    def _page(self, url: str) -> str:
        self._configuration.write_text(f'{self._signed()}\nurl = "{url}"\noutput = "{self._output}"')
        self.run()
        return self._output.read_text()


def missing() -> list[str]:
    """Programs that are needed and not installed, but for those of the package index."""
    return [name for name in ("curl",) if shutil.which(name) is None]


def request_counts(store: SeaweedFS) -> dict[str, int]:
    """How many requests of each kind the store has answered so far, as it counts them itself."""
    [port] = [part.partition("=")[2] for part in store.process.command if part.startswith("-metricsPort=")]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        counts: dict[str, int] = {}
        for kind, count in REQUEST_TOTAL.findall(answer.read().decode()):
            counts[kind] = counts.get(kind, 0) + int(float(count))
    return counts


def _has_value(path: Path, value: int) -> bool:
    return path.exists() and path.read_bytes() == b"%d" % value


def curl_version() -> str:
    """For people."""
    output = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout
    return " ".join(output.split()[:2])


def requests_between(before: Mapping[str, int], after: Mapping[str, int]) -> tuple[int, int]:
    """LIST, and GET and HEAD, in between."""

    def grown(*kinds: str) -> int:
        return sum(after.get(kind, 0) - before.get(kind, 0) for kind in kinds)

    return grown("LIST"), grown("GET", "HEAD")
