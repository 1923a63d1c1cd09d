"""The programs the loader is compared with, from the Python package index, and how each copies a campaign.

`make bench` installs them, at the versions of requirements/bench.txt, into a separate environment, because their
dependencies conflict with the project's. They get the options their users use. `s5cmd` and `rclone` use HTTP/1.1, as
with AWS.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.shared.processes import ROOT

BIN: Final = ROOT / ".venv/peers/bin"
# The program itself: the launcher of its package is a Python script that takes a tenth of a second.
S5CMD: Final = ROOT / ".venv/peers/lib/python3.11/site-packages/s5cmd/bin/s5cmd"
PROGRAMS: Final = {"s5cmd": S5CMD, "rclone": BIN / "rclone", "aws": BIN / "aws"}
# openssl, not sha256sum: Debian's does not use the processor's SHA instructions and takes four times as long.
CHECK: Final = "find . -name '*.tgz' -print0 | xargs -0 -P 2 -n 8 openssl dgst -sha256 -r"
SYNC: Final = "find . -name '*.tgz' -print0 | xargs -0 -n 50 sync -d"


@dataclass(frozen=True, slots=True)
class Source:
    """The location of a campaign: the store's address, and `bucket/airline/campaign`."""

    endpoint: str
    prefix: str

    def s5cmd(self, target: Path) -> list[str]:
        """Return the command with its defaults: five ranges of an object at once, 256 objects at once."""
        options = ["--endpoint-url", self.endpoint, "--log", "error"]
        return [str(S5CMD), *options, "cp", f"s3://{self.prefix}/*.tgz", f"{target}/"]

    def s5cmd_verified(self, target: Path) -> list[str]:
        """Return the same copy followed by what the loader does too: hashing and syncing to disk."""
        script = f"{shlex.join(self.s5cmd(target))} && cd {shlex.quote(str(target))} && {CHECK} && {SYNC}"
        return ["sh", "-c", script]

    def aws(self, target: Path) -> list[str]:
        """Return the command with the classic transfer client: ten ranges at once."""
        selection = ["--recursive", "--only-show-errors", "--exclude", "*", "--include", "*.tgz"]
        command = ["s3", "cp", f"s3://{self.prefix}/", str(target), *selection]
        return [str(BIN / "aws"), "--endpoint-url", self.endpoint, *command]

    def rclone(self, target: Path, *options: str) -> list[str]:
        """Return the command with the S3 backend, without a configuration file."""
        remote = f":s3,provider=SeaweedFS,env_auth=true,endpoint='{self.endpoint}',force_path_style=true:{self.prefix}"
        no_configuration = ["--config", str(target.parent / "no-configuration"), "--log-level", "ERROR"]
        return [str(BIN / "rclone"), "copy", remote, str(target), "--include", "*.tgz", *no_configuration, *options]


def environment(keys: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the environment of all peers."""
    configuration = folder / "aws-configuration"
    configuration.write_text("[default]\ns3 =\n  preferred_transfer_client = classic\n")
    base = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(folder)}
    return {**base, **keys, "AWS_CONFIG_FILE": str(configuration), "GODEBUG": "http2client=0"}


def missing() -> list[str]:
    """Return the names of the programs that are not installed."""
    return [name for name, program in PROGRAMS.items() if not program.exists()]


def versions() -> str:
    """Return the versions of all programs in one line."""
    arguments = {"s5cmd": "version", "rclone": "version", "aws": "--version"}
    outputs = [
        subprocess.run([PROGRAMS[name], how], capture_output=True, text=True, check=True).stdout.splitlines()[0]
        for name, how in arguments.items()
    ]
    return f"s5cmd {outputs[0].split('-')[0]}, {outputs[1]}, {outputs[2].split()[0].replace('/', ' ')}"
