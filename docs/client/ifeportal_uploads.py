"""Uploads of the example client: parts, checksums, resuming, waiting for the end. Standard library only.

    with Portal("https://ife.example.org", token="ife_…") as portal:
        upload(portal, "safety.mp4", airline="ACME", campaign="2026-12", progress=print)

Or as a program, with the token in the environment variable IFEPORTAL_TOKEN:

    python ifeportal_uploads.py https://ife.example.org ACME safety.mp4 --campaign 2026-12

Nothing is stored on this machine. A second call for the same file continues the unfinished upload: the portal finds it
by its name, and the size and the SHA-256 of its first part show that it is the same file.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import HTTPRedirectHandler, Request, build_opener

from ifeportal_client import Portal, Problem

LANES = 4
ATTEMPTS = 8  # of each part
LONGEST_PAUSE = 60.0  # seconds
WAIT = 25  # seconds that a request for the state waits
BLOCK = 2**20
SMALLEST_PART = 16 * 2**20
MOST_PARTS = 9_000
UNFINISHED = ("pending", "loading")


class UploadError(Exception):
    """The upload cannot continue; `str()` says why."""


class _Stopped(UploadError):
    """Another part failed, so this one is not sent."""


class FileChanged(UploadError):
    """The file changed while it was sent."""


class NotTheSameFile(UploadError):
    """Another file of this name is being uploaded. `upload` is the id of its upload."""

    def __init__(self, name: str, upload: str) -> None:
        super().__init__(f"another file named {name} is being uploaded: wait for it, or cancel the upload {upload}")
        self.upload = upload


class UploadFailed(UploadError):
    """The portal could not use the file: `code`, a sentence and what to do, as in the table of errors."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        super().__init__(f"{state['status']} {state['error_code']}: {state['error']} {state['advice']}".strip())
        self.code = str(state["error_code"])
        self.state = state


class PartRefused(UploadError):
    """The store refused a part, and repeating the request cannot help."""


@dataclass(frozen=True)
class Progress:
    """Where the upload is: `stage` is receiving, checking, packing or placing; bytes of this stage."""

    stage: str
    bytes_done: int
    bytes_total: int | None


Report = Callable[[Progress], None]


def upload(
    portal: Portal,
    path: str | os.PathLike[str],
    *,
    airline: str,
    campaign: str | None = None,
    name: str = "",
    title: str = "",
    kind: str = "",
    sha256: str = "",
    replace: bool = False,
    progress: Report = lambda progress: None,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Upload a file and wait until it is in its place. Return the upload as the portal describes it.

    Without `campaign` it goes to the library of the airline. `name` is that of the file by default. `sha256`
    (hexadecimal) is compared with that of the file before anything is put in place. `progress` is called several times
    a second, from several threads.

    Raises UploadError, OSError, and Problem for a request that the portal refuses.
    """
    file = LocalFile.open(Path(path))
    wanted = {"campaign": campaign, "title": title, "kind": kind, "sha256": sha256, "replace": replace}
    state = _begin(portal, file, {"airline": airline, "name": name or file.path.name, **wanted})
    if state["completed_at"] is None:
        _Sender(portal, file, state, progress, sleep).send_all()
        file.require_unchanged()
        portal.call("POST", f"uploads/{state['id']}/complete/")
    return _wait_for_end(portal, state["id"], progress)


@dataclass(frozen=True)
class LocalFile:
    """The file to upload, as it was when the upload began; the time in nanoseconds."""

    path: Path
    size: int
    modified: int

    @classmethod
    def open(cls, path: Path) -> Self:
        found = path.stat()
        return cls(path, found.st_size, found.st_mtime_ns)

    def require_unchanged(self) -> None:
        """Raise FileChanged if size or time differ from those at the beginning."""
        if LocalFile.open(self.path) != self:
            raise FileChanged(f"{self.path} changed while it was uploaded: upload it again")

    def part_size(self) -> int:
        """Return the size of parts that the portal will choose."""
        needed = -(-self.size // MOST_PARTS)
        return max(SMALLEST_PART, -(-needed // BLOCK) * BLOCK)

    def digest(self, start: int, length: int) -> bytes:
        """Return the SHA-256 of these bytes, read in blocks."""
        digest = hashlib.sha256()
        with Slice(self.path, start, length, lambda count: None) as part:
            while block := part.read(BLOCK):
                digest.update(block)
        return digest.digest()


class Slice:
    """A part of a file to read, as `urllib` sends it; `counted` gets the bytes of each read."""

    def __init__(self, path: Path, start: int, length: int, counted: Callable[[int], None]) -> None:
        self._file = path.open("rb", buffering=0)
        self._file.seek(start)
        self._left, self._counted = length, counted

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes. Raises FileChanged if the file has become shorter."""
        wanted = self._left if size < 0 else min(size, self._left)
        block = self._file.read(wanted) if wanted else b""
        if wanted and not block:
            raise FileChanged("the file became shorter while it was uploaded: upload it again")
        self._left -= len(block)
        self._counted(len(block))
        return block

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _begin(portal: Portal, file: LocalFile, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Create the upload, or return the unfinished one of the same file. Raises NotTheSameFile."""
    first = file.digest(0, min(file.part_size(), file.size)).hex()
    body = {**wanted, "size": file.size, "file_modified": file.modified // 1_000_000, "first_part_sha256": first}
    try:
        return portal.call("POST", "uploads/", body)
    except Problem as error:
        if error.code != "NAME_UNDER_WAY" or not error.problem.get("upload"):
            raise
        other = error.problem["upload"]
    found = portal.call("GET", f"uploads/{other}/")
    if (found["meta_info"]["size"], found["first_part_sha256"]) != (file.size, first):
        raise NotTheSameFile(str(wanted["name"]), found["id"])
    return found


class _NoRedirects(HTTPRedirectHandler):
    """Follow no redirect: a signed address is valid for its own host only."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Return None: no further request."""
        return None


class _Sender:
    """Sends the parts that the store does not have yet, several at once."""

    def __init__(
        self,
        portal: Portal,
        file: LocalFile,
        state: Mapping[str, Any],
        progress: Report,
        sleep: Callable[[float], None],
    ) -> None:
        self._portal, self._file, self._id = portal, file, state["id"]
        self._part_size, self._total = state["part_size"], state["parts_total"]
        self._progress, self._sleep = progress, sleep
        self._sent, self._lock, self._ended = 0, threading.Lock(), threading.Event()
        self._signing = threading.Lock()  # the portal's client is not thread-safe
        self._opener = build_opener(_NoRedirects)

    def send_all(self) -> None:
        """Send all parts. The first error ends the others. Raises UploadError, OSError, Problem."""
        stored = {part["number"]: part["size"] for part in self._call("GET")["parts"]}
        missing = [number for number in range(1, self._total + 1) if stored.get(number) != self._range(number)[1]]
        self._count(self._file.size - sum(self._range(number)[1] for number in missing))
        with ThreadPoolExecutor(LANES) as lanes:
            futures = [lanes.submit(self._send, number) for number in missing]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                self._ended.set()
                lanes.shutdown(cancel_futures=True)
        errors = [error for future in futures if not future.cancelled() and (error := future.exception())]
        for error in sorted(errors, key=lambda error: isinstance(error, _Stopped)):
            raise error

    def _send(self, number: int) -> None:
        start, length = self._range(number)
        digest = base64.b64encode(self._file.digest(start, length)).decode()
        for attempt in range(ATTEMPTS):
            # Each attempt has its own signature: one may have expired, or a clock may have been set.
            (signed,) = self._call("POST", {"parts": [{"number": number, "sha256": digest}]})["parts"]
            pause = self._put(signed, start, length, attempt)
            if pause is None:
                return
            self._sleep(pause)

    def _put(self, signed: Mapping[str, Any], start: int, length: int, attempt: int) -> float | None:
        """Send a part once. Return None if the store has it, else the seconds until the next attempt."""
        counted = 0

        def count(size: int) -> None:
            nonlocal counted
            if self._ended.is_set():
                raise _Stopped
            counted += size
            self._count(size)

        headers = {**signed["headers"], "Content-Length": str(length)}
        try:
            with Slice(self._file.path, start, length, count) as part:
                request = Request(signed["url"], part, headers, method=signed["method"])  # noqa: S310
                with self._opener.open(request, timeout=60):
                    return None
        except HTTPError as error:
            failed: OSError | HTTPException = error
            pause = _pause_after(error, attempt)
        except (URLError, HTTPException, OSError) as error:
            failed, pause = error, min(2.0**attempt, LONGEST_PAUSE)
        self._count(-counted)
        if attempt == ATTEMPTS - 1:
            raise PartRefused(f"a part could not be sent after {ATTEMPTS} attempts: {failed}") from failed
        return pause

    def _call(self, method: str, body: Any = None) -> dict[str, Any]:
        with self._signing:
            return self._portal.call(method, f"uploads/{self._id}/parts/", body)

    def _range(self, number: int) -> tuple[int, int]:
        """Return the first byte and the length of a part."""
        start = (number - 1) * self._part_size
        return start, min(self._part_size, self._file.size - start)

    def _count(self, size: int) -> None:
        with self._lock:
            self._sent += size
            sent = self._sent
        self._progress(Progress("receiving", sent, self._file.size))


def _pause_after(error: HTTPError, attempt: int) -> float:
    """Return the seconds until the next attempt. Raises PartRefused if none can help."""
    with error:
        if error.code not in (403, 408, 429) and error.code < 500:
            raise PartRefused(f"the store refused a part with {error.code}: {error.read(500)!r}") from error
        asked = error.headers.get("Retry-After", "")
    return min(float(asked) if asked.isdigit() else 2.0**attempt, LONGEST_PAUSE)


def _wait_for_end(portal: Portal, id: str, progress: Report) -> dict[str, Any]:
    """Return the upload once it is in its place. Raises UploadFailed."""
    state = portal.call("GET", f"uploads/{id}/")
    while state["status"] in UNFINISHED:
        now = portal.call("GET", f"operations/{id}/?{urlencode({'wait': WAIT, 'as_of': state['as_of']})}")
        progress(Progress(now["stage"], now["bytes_done"], now["bytes_total"]))
        state = portal.call("GET", f"uploads/{id}/")
    if state["status"] != "uploaded":
        raise UploadFailed(state)
    return state


def main() -> None:
    """Upload the file that the command line names."""
    parser = argparse.ArgumentParser(description="Upload a file to the portal, or resume its upload.")
    parser.add_argument("portal", help="address of the portal")
    parser.add_argument("airline")
    parser.add_argument("file", type=Path)
    parser.add_argument("--campaign", help="without it, the file goes to the library")
    options = parser.parse_args()
    lock = threading.Lock()

    def show(now: Progress) -> None:
        with lock:
            percent = f"{now.bytes_done * 100 // now.bytes_total}%" if now.bytes_total else ""
            sys.stderr.write(f"\r{now.stage} {percent}    ")

    try:
        with Portal(options.portal, os.environ["IFEPORTAL_TOKEN"]) as portal:
            state = upload(portal, options.file, airline=options.airline, campaign=options.campaign, progress=show)
    except (UploadError, Problem, OSError) as error:
        sys.exit(f"\n{error}")
    sys.stderr.write(f"\n{state['item']}: {state['status']}\n")


if __name__ == "__main__":
    main()
