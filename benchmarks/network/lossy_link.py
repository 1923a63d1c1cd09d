"""A link with delay, loss and a limited rate between two network namespaces."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.network.forwarder import Conditions, Counts
from benchmarks.network.namespaces import unavailable_reason

ROOT: Final = Path(__file__).resolve().parents[2]


class LossyLink:
    """A running link. Use as a context manager.

    with LossyLink(Conditions(rtt=0.08, loss=0.005, rate=2_500_000), forward=[store_port]) as link:
        subprocess.run(link.command(["curl", f"http://{FAR}:{store_port}/"]))     # another process at the near end
        with inside(link.near): sock = socket.create_connection((FAR, store_port))  # a socket of this process
    """

    def __init__(self, conditions: Conditions | None = None, *, forward: Sequence[int] = ()) -> None:
        self.conditions = conditions or Conditions()
        self._forward = forward
        self._process: subprocess.Popen[str] | None = None
        self.near = self.far = Path()

    def __enter__(self) -> Self:
        """Start the forwarder. Raises OSError, with a sentence, where no link can be created."""
        if reason := unavailable_reason():
            raise PermissionError(reason)
        arguments = [json.dumps(asdict(self.conditions)), *map(str, self._forward)]
        # A new session, so that Ctrl-C reaches only this process. The forwarder ends when its input is closed.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.network.forwarder", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            namespaces = self._answer()
        except BaseException:
            self.__exit__()
            raise
        self.near, self.far = (Path(f"/proc/{self._process.pid}/fd/{namespaces[end]}") for end in ("near", "far"))
        return self

    def __exit__(self, *_: object) -> None:
        if self._process and self._process.stdin and self._process.stdout:
            self._process.stdin.close()
            self._process.wait()
            self._process.stdout.close()

    def command(self, command: Sequence[str | Path]) -> list[str]:
        """Return a command line that runs `command` at the near end."""
        return ["nsenter", f"--net={self.near}", "--", *map(str, command)]

    def counts(self) -> tuple[Counts, Counts]:
        """Return the packet counts so far: from near to far, and back."""
        assert self._process
        assert self._process.stdin
        self._process.stdin.write("counts\n")
        self._process.stdin.flush()
        there, back = self._answer()
        return Counts(**there), Counts(**back)

    def _answer(self) -> Any:
        assert self._process
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise OSError(f"the forwarder exited (code {self._process.wait()})")
        return json.loads(line)
