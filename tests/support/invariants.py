"""Checks of the invariants I1 to I6 from outside, by reading bucket and disk.

I1  a final name has the content of a published version.
I2  a `.progress` is digits, at most the size, and the size only when I1 holds.
I3  an `.error` is one line with a known code, short, without secrets, signatures or paths of this machine.
I5  the disk has no more than was published, plus a little for state files.
I6  nothing is written outside the content directory and the tail's own status prefix.

I4 (a bad item stops no other) must be checked by the test, which knows the good items.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from loader.contract.keys import parse_status_key
from loader.errors import ERRORS, WorldError
from tests.support.aircraft import AIRLINE, DIGITS, TAIL, Aircraft

STATES = 2_000_000  # bytes of small files and directories, in blocks
ERROR_LIMIT = 4096


class Invariants:
    """Knows what was published, and records violations in `broken`. `check` may be called at any time.

    As a context manager it also checks periodically. `root`: nothing else may change below it.
    """

    def __init__(self, aircraft: Aircraft, root: Path, *, every: float = 0.1) -> None:
        self._aircraft, self._root, self._every = aircraft, root, every
        self._digests: dict[tuple[str, str], list[tuple[int, str]]] = {}
        self._listed: dict[str, frozenset[str]] = {}
        self._read: dict[Path, tuple[tuple[int, int, int], str]] = {}
        self._bodies: dict[str, bytes] = {}
        self._around = self._outside()
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._look_on)
        self.samples = 0
        self.broken: list[str] = []

    def publishes(self, campaign: str, contents: Mapping[str, bytes]) -> None:
        """Declare a version before it is published. Content of earlier versions remains valid."""
        self._listed[campaign] = frozenset(contents)
        for name, body in contents.items():
            edition = (len(body), hashlib.sha256(body).hexdigest())
            editions = self._digests.setdefault((campaign, name), [])
            if edition in editions:
                editions.remove(edition)
            editions.append(edition)

    @property
    def declared(self) -> int:
        """Return the bytes of everything that was ever published."""
        return sum(size for editions in self._digests.values() for size, _ in editions)

    def check(self) -> None:
        """Check once. Read the bucket first: what it reports must already be on disk."""
        with self._lock:
            self.samples += 1
            editions = {key: list(known) for key, known in self._digests.items()}
            reported = self._reported()
            there = {(path.parent.name, path.stem): self._digest(path) for path in self._finals()}
            for key, digest in there.items():
                if digest and digest not in [sha256 for _, sha256 in editions.get(key, [])]:
                    self.broken.append(f"I1: {key} has unpublished content")
            for path, body in reported.items():
                self._judge(path, body, editions, there)
            self._judge_disk()

    def _judge(
        self,
        path: str,
        body: bytes,
        editions: Mapping[tuple[str, str], list[tuple[int, str]]],
        there: Mapping[tuple[str, str], str],
    ) -> None:
        if not path.startswith(f"{AIRLINE}/{TAIL}/"):
            self.broken.append(f"I6: {path} was written")
        name = parse_status_key(path)
        if name is None:
            self.broken.append(f"I6: {path} is not a key of the contract")
        elif name.kind == "progress":
            known = editions.get((name.campaign, name.content), [])
            gone = name.content not in self._listed.get(name.campaign, ())
            self._judge_progress(path, body, known, None if gone else there.get((name.campaign, name.content), ""))
        elif name.kind in ("error", "campaign_error"):
            self._judge_error(path, body)

    def _judge_progress(self, path: str, body: bytes, known: list[tuple[int, str]], there: str | None) -> None:
        """`there`: the digest of the file with the final name; None: no manifest lists it any more."""
        if not DIGITS.fullmatch(body):
            self.broken.append(f"I2: {path} says {body!r}")
            return
        done, sizes = int(body), [size for size, _ in known]
        if done > max(sizes, default=0):
            self.broken.append(f"I2: {path} says {done} of {sizes}")
        # The report of an older version may remain after a newer one was activated, but no other value.
        of_the_newest = bool(known) and done == known[-1][0]
        right = [known[-1][1]] if of_the_newest else [sha256 for _, sha256 in known]
        if done and done in sizes and there is not None and there not in right:
            self.broken.append(f"I2: {path} says {done}, but the item is incomplete")

    def _judge_error(self, path: str, body: bytes) -> None:
        text = body.decode(errors="replace")
        secrets = [self._aircraft.keys[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
        if len(body) > ERROR_LIMIT or text.partition(":")[0] not in ERRORS or len(text.splitlines()) != 1:
            self.broken.append(f"I3: {path} says {text!r}")
        if any(word in text for word in (*secrets, "Signature=", "X-Amz-", str(self._root))):
            self.broken.append(f"I3: {path} contains a secret or a path")

    def _judge_disk(self) -> None:
        used = 0
        for folder, _, names in os.walk(self._aircraft.folder):
            for name in names:
                try:
                    used += os.lstat(os.path.join(folder, name)).st_blocks * 512  # noqa: PTH118  a hot loop
                except FileNotFoundError:
                    continue
        if used > self.declared + STATES:
            self.broken.append(f"I5: {used} bytes are on disk, {self.declared} were published")
        if strangers := self._outside() - self._around:
            self.broken.append(f"I6: {sorted(strangers)} were created outside")

    # Read little: a sample must not take CPU time from the loader.

    def _reported(self) -> dict[str, bytes]:
        """Return every object of the status bucket except the heartbeat; small bodies are cached by ETag."""
        found: dict[str, bytes] = {}
        for entry in self._aircraft.status.list():
            if entry.key.endswith("/loader.json"):
                continue
            if entry.etag not in self._bodies:
                try:
                    fetched = self._aircraft.status.get(entry.key, ERROR_LIMIT + 1)
                except WorldError:  # removed between the listing and now
                    continue
                assert fetched is not None
                self._bodies[fetched.etag] = found[entry.key] = fetched.body
            else:
                found[entry.key] = self._bodies[entry.etag]
        return found

    def _finals(self) -> list[Path]:
        return [path for path in self._aircraft.folder.glob("*/*.tgz") if path.parent.name != ".loader"]

    def _digest(self, path: Path) -> str:
        """Return the digest of a file with a final name; empty if it was removed meanwhile."""
        try:
            status = path.stat()
            mark = (status.st_ino, status.st_mtime_ns, status.st_size)
            if self._read.get(path, (None, ""))[0] != mark:
                with path.open("rb") as stream:
                    self._read[path] = (mark, hashlib.file_digest(stream, "sha256").hexdigest())
        except FileNotFoundError:
            return ""
        return self._read[path][1]

    def _outside(self) -> set[str]:
        ours = str(self._aircraft.folder)
        return {str(path) for path in self._root.rglob("*") if not str(path).startswith(ours)}

    def _look_on(self) -> None:
        while not self._stop.wait(self._every):
            self.check()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.check()
