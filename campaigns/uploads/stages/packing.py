"""Fourth stage: pack a file that is not a `.tgz` as the only file of one, as a second object beside the first.

A multipart upload of its own; the checkpoint after each part is what a killed worker continues from.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from campaigns.uploads.announcements.part_plan import MOST_PARTS
from campaigns.uploads.archives.tgz_stream import GzipMember, tar_end, tar_header
from campaigns.uploads.models import Stage
from campaigns.uploads.stages.hashing import ContentSums
from campaigns.uploads.stages.part_file import PartFile
from campaigns.uploads.stages.reading import BLOCK, read_blocks
from campaigns.uploads.stages.work import UploadWork
from loader.contract.units import MIB
from loader.errors import Code, WorldError
from loader.s3.errors import PartsRefused, UploadGone
from loader.s3.interface import MultipartUpload

PART_SIZE: Final = 16 * MIB  # packed bytes of a part, at least
NAME: Final = "packed"  # of the object beside the incoming one


@dataclass(frozen=True)
class PackingState:
    """What is sent: `parts` parts with `size` packed bytes, of the first `count` bytes of the file."""

    upload_id: str
    count: int = 0
    parts: int = 0
    size: int = 0
    sums: dict[str, Any] | None = None
    ended: bool = False


def pack(work: UploadWork) -> None:
    """Pack for this slice. Raises WorldError."""
    state = _resume(work)
    packer = _Packer(work, state)
    work.slice.report(state.count, packer.total, stage=Stage.PACKING)
    while not packer.state.ended:
        parts = packer.state.parts
        work.run_in_thread(packer.run, lambda: packer.done, packer.total, Stage.PACKING)
        _commit(work, packer.state)
        if packer.state.parts == parts or work.slice.is_over:
            break
    if packer.state.ended:
        _complete(work, packer)


def _resume(work: UploadWork) -> PackingState:
    saved = work.checkpoint.get("pack")
    if saved and ContentSums(saved["sums"]).count == saved["size"]:
        return PackingState(**saved)
    begun = PackingState(work.call(work.media.begin_upload, work.incoming(NAME)).upload_id)
    _commit(work, begun)
    if saved:  # by a machine of another kind
        work.call(work.media.resume_upload(work.incoming(NAME), saved["upload_id"]).abort)
    return begun


def _commit(work: UploadWork, state: PackingState) -> None:
    work.slice.commit(pack=asdict(state))


def _complete(work: UploadWork, packer: _Packer) -> None:
    key, state = work.incoming(NAME), packer.state
    multipart = work.media.resume_upload(key, state.upload_id)
    try:
        parts = work.call(multipart.list_parts)
        if (len(parts), sum(part.size for part in parts)) != (state.parts, state.size):
            raise UploadGone(Code.OBJECT_GONE, f"POST {key}: parts of the packed object are missing")
        work.call(multipart.complete, parts)
    except (UploadGone, PartsRefused):
        found = work.call(work.media.get, key, 1)
        if found is None or found.size != state.size:
            work.slice.commit(pack=None)  # the next attempt packs again
            raise WorldError(Code.NETWORK, "the object store has lost parts of the packed file") from None
    found = work.call(work.media.get, key, 1)
    if found is None or found.size != state.size:
        raise WorldError(Code.NETWORK, f"GET {key}: the packed object is not visible yet")
    packed = {"etag": found.etag, "size": found.size, **packer.digests()}
    work.slice.commit(pack=None, packed=packed)


class _Packer:
    """Packs and sends parts in a thread. `done`: bytes of the file read. Touches no database."""

    def __init__(self, work: UploadWork, state: PackingState) -> None:
        self.state = state
        self.total = int(work.checkpoint["incoming"]["size"])
        self.done = state.count
        self._media, self._key = work.media, work.upload.incoming_key
        self._etag = work.checkpoint["incoming"]["etag"]
        self._part_size = max(PART_SIZE, self.total // MOST_PARTS + 1)
        modified = (work.upload.file_modified or 0) // 1000 or int(work.slice.operation.created_at.timestamp())
        self._header = tar_header(work.upload.name, self.total, modified)
        self._sums = ContentSums(state.sums)
        self._target: MultipartUpload = work.media.resume_upload(work.incoming(NAME), state.upload_id)

    def digests(self) -> dict[str, str]:
        """Return the sums of the packed object."""
        return {"sha256": self._sums.sha256, "crc32": self._sums.crc32}

    def run(self, stop: threading.Event) -> None:
        """Send parts until the end or, after at least one, until the slice is over. Raises WorldError."""
        never = threading.Event()
        source = read_blocks(self._media, self._key, self._etag, self.total, self.state.count, never)
        with contextlib.closing(source), PartFile() as part:
            blocks = self._blocks(source)
            while not self.state.ended:
                self._fill(part, blocks)
                self._send(part)
                if stop.is_set():
                    return

    def _blocks(self, source: Iterator[memoryview]) -> Iterator[memoryview]:
        """Yield the bytes of the tar archive from where the state ends. A read of the source advances `done`."""
        if not self.state.parts:
            yield memoryview(bytearray(self._header))
        for block in source:
            self.done += len(block)
            yield block

    def _fill(self, part: PartFile, blocks: Iterator[memoryview]) -> None:
        member = GzipMember()
        self._ended = False
        while member.packed < self._part_size:
            block = next(blocks, None)
            if block is None:
                self._write(part, member.add(tar_end(self.total)) + member.end())
                self._ended = True
                return
            self._write(part, member.add(block))
        self._write(part, member.end())

    def _write(self, part: PartFile, packed: bytes) -> None:
        for start in range(0, len(packed), BLOCK):
            block = bytearray(packed[start : start + BLOCK])
            self._sums.update(memoryview(block))
            part.write(block)

    def _send(self, part: PartFile) -> None:
        number, size = self.state.parts + 1, self.state.size + part.size
        self._target.put_part(number, part.payload)
        part.clear()
        sums = self._sums.state()
        self.state = PackingState(self.state.upload_id, self.done, number, size, sums, self._ended)
