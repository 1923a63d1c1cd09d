"""The programs that polling is compared with: three that mirror a bucket to a folder, and curl that lists it.

Each has its own folder with the previous content of the bucket, and gets the options its users use.
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
        """Update the folder. Raises MeasurementError."""
        command = {S5CMD: self._s5cmd, RCLONE: self._rclone, AWS: self._aws}[self.name]()
        return run(command, environment(self.deployment.store.environment(), self.folder.parent))

    def fill(self, objects: Iterable[tuple[ObjectValue, float]]) -> None:
        """Write the objects and their modification times to the folder. A first run of the program takes minutes."""
        for (key, value), at in objects:
            path = self.folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"%d" % value)
            os.utime(path, (at, at))

    def count_missed(self, written: Sequence[ObjectValue]) -> int:
        """Return how many of these objects are not in the folder with their value."""
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
    """Return a mirror for each name, with a folder that has the current content of the bucket."""
    values = dict(deployment.fleet.objects())
    listed = [((info.key, values[info.key]), info.last_modified.timestamp()) for info in deployment.status.list()]
    created = [Mirror(name, folder / f"mirror-{number}", deployment) for number, name in enumerate(names)]
    for mirror in created:
        mirror.fill(listed)
    return created


class Listing:
    """Lists the bucket with curl: one process and one connection, page after page, without parsing.

    The start of each page is determined beforehand, so that a measured run does not read the pages.
    """

    def __init__(self, deployment: Deployment, folder: Path) -> None:
        self._deployment = deployment
        self._configuration = folder / "curl.conf"
        self._output = folder / "page.xml"
        urls = self._urls()
        pages = [f'url = "{url}"\noutput = "/dev/null"' for url in urls]
        self._configuration.write_text("\n".join([self._signed(), "fail-early", *pages]))

    def run(self) -> Cost:
        """List all pages once. Raises MeasurementError."""
        return run(["curl", "--config", self._configuration], {"PATH": os.defpath})

    def _signed(self) -> str:
        store = self._deployment.store
        keys = f'user = "{store.access_key}:{store.secret_key}"'
        return f'silent\nshow-error\nfail\naws-sigv4 = "aws:amz:us-east-1:s3"\n{keys}'

    def _urls(self) -> list[str]:
        base = f"{self._deployment.store.endpoint}/{self._deployment.name}?"
        urls, token, keys = list[str](), "", 0
        while not urls or token:
            start = f"continuation-token={quote(token, safe='')}&" if token else ""
            urls.append(f"{base}{start}list-type=2&max-keys={KEYS_A_PAGE}")
            page = self._page(urls[-1])
            keys += page.count("<Key>")
            found = TOKEN.search(page)
            token = found[1] if found else ""
        if keys != len(self._deployment.fleet):
            raise MeasurementError(f"curl lists {keys} objects of {len(self._deployment.fleet)}")
        return urls

    def _page(self, url: str) -> str:
        self._configuration.write_text(f'{self._signed()}\nurl = "{url}"\noutput = "{self._output}"')
        self.run()
        return self._output.read_text()


def missing() -> list[str]:
    """Return the names of required programs that are not installed, except those of the package index."""
    return [name for name in ("curl",) if shutil.which(name) is None]


def request_counts(store: SeaweedFS) -> dict[str, int]:
    """Return how many requests of each kind the store has answered so far, from its own metrics."""
    [port] = [part.partition("=")[2] for part in store.process.command if part.startswith("-metricsPort=")]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        counts: dict[str, int] = {}
        for kind, count in REQUEST_TOTAL.findall(answer.read().decode()):
            counts[kind] = counts.get(kind, 0) + int(float(count))
    return counts


def _has_value(path: Path, value: int) -> bool:
    return path.exists() and path.read_bytes() == b"%d" % value


def curl_version() -> str:
    output = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout
    return " ".join(output.split()[:2])


def requests_between(before: Mapping[str, int], after: Mapping[str, int]) -> tuple[int, int]:
    """Return the LIST requests, and the GET and HEAD requests, between two counts."""

    def grown(*kinds: str) -> int:
        return sum(after.get(kind, 0) - before.get(kind, 0) for kind in kinds)

    return grown("LIST"), grown("GET", "HEAD")
