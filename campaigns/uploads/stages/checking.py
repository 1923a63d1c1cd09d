"""Third stage: read the incoming object once and prove that it is what the client announced.

The one read computes SHA-256 and CRC-32, and compares the sums of the parts. It is resumed after each slice. Where the
airline wants it, a second read feeds the archive to a child process with limits, which unpacks it.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

from campaigns.uploads.announcements.names import parse_file_name
from campaigns.uploads.archives import walk as archive_walk
from campaigns.uploads.archives.check import HEAD, archive_fault
from campaigns.uploads.models import Stage
from campaigns.uploads.stages.completing import announced_sums
from campaigns.uploads.stages.hashing import ContentSums, PartMismatch, PartSums
from campaigns.uploads.stages.reading import read_blocks
from campaigns.uploads.stages.work import SEND_AGAIN, UploadWork, failure
from ifeportal.operations.kinds import OperationFailed
from loader.errors import Code, WorldError
from loader.s3.interface import Bucket

MAX_SECONDS: Final = 240.0  # for a read that cannot be resumed; workers are killed after 300
RESULT_LIMIT: Final = 10_000  # bytes


def check(work: UploadWork) -> None:
    """Hash the incoming object for this slice. Raises OperationFailed if it is not what was announced."""
    saved = work.checkpoint.get("hash") or {}
    if not saved and parse_file_name(work.upload.name).is_archive:
        _check_head(work)
    sums, parts = _resume(work, saved)
    try:
        work.run_in_thread(
            lambda stop: _read(work, sums, parts, stop),
            lambda: sums.count,
            _size(work),
            Stage.CHECKING,
            stops_at_end_of_slice=sums.can_resume,
        )
    except PartMismatch as mismatch:
        work.slice.commit(hash=None)
        error = f"Part {mismatch.number} does not have the SHA-256 that was announced for it."
        advice = f"Retry, to read it again. If the error returns: {SEND_AGAIN[0].lower()}{SEND_AGAIN[1:]}"
        raise failure(Code.HASH_MISMATCH, error, advice, can_retry=True) from mismatch
    if sums.count < _size(work):
        _save(work, sums, parts)
        return
    announced = work.upload.sha256.lower()
    if announced and announced != sums.sha256:
        error = "The SHA-256 of the file is not the one that was announced."
        raise failure(Code.HASH_MISMATCH, error, f"Check the file and its SHA-256. {SEND_AGAIN}")
    work.slice.commit(hash=None, checked={"sha256": sums.sha256, "crc32": sums.crc32})


def _size(work: UploadWork) -> int:
    return int(work.checkpoint["incoming"]["size"])


def _resume(work: UploadWork, saved: dict[str, Any]) -> tuple[ContentSums, PartSums]:
    announced, part_size = announced_sums(work), max(work.upload.part_size, 1)
    sums = ContentSums(saved)
    try:
        return sums, PartSums(part_size, announced, sums.count, saved.get("part", "") if sums.count else "")
    except ValueError:  # saved by a machine of another kind
        return ContentSums(), PartSums(part_size, announced, 0)


def _save(work: UploadWork, sums: ContentSums, parts: PartSums) -> None:
    if not sums.can_resume:
        error = f"Only {sums.count:,} bytes could be read within {MAX_SECONDS:.0f} s."
        advice = "Install a Python whose hashlib uses OpenSSL on the portal's workers, so that reading can be resumed."
        raise failure(Code.TOO_SLOW, error, advice, can_retry=True)
    work.slice.commit(hash={**sums.state(), "part": parts.state()})


def _read(work: UploadWork, sums: ContentSums, parts: PartSums, stop: threading.Event) -> None:
    end = time.monotonic() + MAX_SECONDS
    incoming = work.checkpoint["incoming"]
    blocks = read_blocks(work.media, work.upload.incoming_key, incoming["etag"], incoming["size"], sums.count, stop)
    with parts, contextlib.closing(blocks):
        for block in blocks:
            other = parts.submit(block)
            sums.update(block)
            other.result()
            if time.monotonic() > end:
                break
        if sums.count == incoming["size"]:
            parts.end_part()


def _check_head(work: UploadWork) -> None:
    incoming = work.checkpoint["incoming"]
    head = work.call(_read_head, work.media, work.upload.incoming_key, incoming["etag"], incoming["size"])
    if fault := archive_fault(head):
        raise not_an_archive(work.upload.name, fault)


def _read_head(media: Bucket, key: str, etag: str, size: int) -> bytes:
    head = bytearray()
    if size:
        with media.open(key, end=min(HEAD, size), if_match=etag) as body:
            while block := body.read(HEAD):
                head += block
    return bytes(head)


def not_an_archive(name: str, fault: str) -> OperationFailed:
    """Return the error for a file whose name promises a `.tgz`."""
    advice = "Pack the content with `tar czf`, or upload it under another name: it is then packed as a single file."
    return failure(Code.HASH_MISMATCH, f"{name} is not a .tgz: {fault}.", advice)


def walk(work: UploadWork) -> None:
    """Unpack the archive to its end in a child process. A killed worker starts it again from the beginning."""
    feed, size = _Feed(work), _size(work)
    fault = work.run_in_thread(feed.run, lambda: feed.count, size, Stage.CHECKING, stops_at_end_of_slice=False)
    if fault:
        raise not_an_archive(work.upload.name, fault)
    work.slice.commit(walked=True)


class _Feed:
    """Feeds the incoming object to the child process. `count`: bytes sent. Touches no database."""

    def __init__(self, work: UploadWork) -> None:
        self._media, self._key = work.media, work.upload.incoming_key
        self._incoming = work.checkpoint["incoming"]
        self.count = 0

    def run(self, stop: threading.Event) -> str:
        """Return what the child found. Raises WorldError."""
        program = [sys.executable, "-I", str(Path(archive_walk.__file__)), str(archive_walk.FREE_EXPANSION)]
        pipe = subprocess.PIPE
        with subprocess.Popen(program, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as child:
            timer = threading.Timer(MAX_SECONDS, child.kill)
            timer.start()
            try:
                self._send(child, stop)
                result = child.stdout.read(RESULT_LIMIT) if child.stdout else b""
            finally:
                timer.cancel()
                child.kill()
        return self._verdict(result)

    def _send(self, child: subprocess.Popen[bytes], stop: threading.Event) -> None:
        assert child.stdin is not None
        etag, size = self._incoming["etag"], self._incoming["size"]
        blocks = read_blocks(self._media, self._key, etag, size, 0, stop)
        with contextlib.closing(blocks), contextlib.suppress(BrokenPipeError):  # it has found a fault
            for block in blocks:
                child.stdin.write(block)
                self.count += len(block)
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()

    def _verdict(self, result: bytes) -> str:
        try:
            return str(json.loads(result)["fault"])
        except (ValueError, KeyError, TypeError) as error:
            reason = f"the archive could not be unpacked within {MAX_SECONDS:.0f} s and the limit of memory"
            raise WorldError(Code.TOO_SLOW, reason) from error
