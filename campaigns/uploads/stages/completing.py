"""Second step: the parts become the incoming object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from campaigns.uploads.models import Stage
from campaigns.uploads.requests import reopen
from campaigns.uploads.stages.receiving import FIRST_PAUSE, attach, parts_lost
from campaigns.uploads.stages.work import LOADING, SEND_AGAIN, UploadWork, failure
from ifeportal.operations.kinds import OperationFailed, Wait
from loader.errors import Code, WorldError
from loader.s3.errors import PartsRefused, UploadGone
from loader.s3.interface import UploadedPart

NUMBERS_SHOWN: Final = 10


def missing_parts(parts: Sequence[UploadedPart], count: int) -> list[int]:
    """Return the numbers from 1 to `count` that are not among the parts."""
    present = {part.number for part in parts}
    return [number for number in range(1, count + 1) if number not in present]


def complete(work: UploadWork) -> Wait | None:
    """Assemble the object. Return a Wait if parts are missing: the client must send them."""
    work.slice.report(0, work.upload.size, stage=Stage.CHECKING)
    multipart = attach(work)
    if work.upload.size == 0:  # not every store assembles an object from an empty part
        work.call(work.media.put, work.upload.incoming_key, b"")
        work.call(multipart.abort)
        _record(work)
        return None
    try:
        parts = work.call(multipart.list_parts)
        if missing := missing_parts(parts, max(work.upload.parts_total, 1)):
            return _await_parts(work, missing)
        _check_size(work, sum(part.size for part in parts))
        work.call(multipart.complete, _with_sums(parts, announced_sums(work) if work.upload.has_checksums else {}))
    except UploadGone as error:
        # An earlier attempt may have completed it, and been killed before it recorded that.
        if _find(work) is None:
            raise parts_lost(work) from error
    except PartsRefused as error:
        missing = missing_parts(work.call(multipart.list_parts), max(work.upload.parts_total, 1))
        if missing:
            return _await_parts(work, missing)
        raise failure(Code.SIZE_MISMATCH, f"The object store rejects the parts: {error}.", SEND_AGAIN) from error
    _record(work)
    return None


def announced_sums(work: UploadWork) -> dict[int, str]:
    """Return the SHA-256 in base64 that the client announced, by number of the part."""
    return dict(work.upload.parts.exclude(sha256="").values_list("number", "sha256"))


def _with_sums(parts: Sequence[UploadedPart], sums: Mapping[int, str]) -> list[UploadedPart]:
    """Add the announced sums, which an upload with checksums needs: not every store lists them."""
    return [replace(part, sha256=sums[part.number]) if part.number in sums else part for part in parts]


def _check_size(work: UploadWork, received: int) -> None:
    announced = work.upload.size
    if announced is not None and received != announced:
        raise _wrong_size(announced, received)


def _wrong_size(announced: int, received: int) -> OperationFailed:
    error = f"The file has {received:,} bytes, but {announced:,} bytes were announced."
    return failure(Code.SIZE_MISMATCH, error, "Check that the file is complete, then upload it again.")


def _await_parts(work: UploadWork, missing: Sequence[int]) -> Wait:
    reopen(work.upload, work.slice.now)
    shown = ", ".join(map(str, missing[:NUMBERS_SHOWN])) + (" …" if len(missing) > NUMBERS_SHOWN else "")
    noun = "Part" if len(missing) == 1 else "Parts"
    verb = "is" if len(missing) == 1 else "are"
    reason = f"{noun} {shown} {verb} missing in the object store. Send the rest, then complete the upload."
    work.slice.report(work.upload.received_bytes, work.upload.size, stage=Stage.RECEIVING)
    return Wait(FIRST_PAUSE, reason)


def _find(work: UploadWork) -> tuple[str, int] | None:
    """Return ETag and size of the incoming object, as a GET returns them; None if it does not exist."""
    found = work.call(work.media.get, work.upload.incoming_key, 1)
    return (found.etag, found.size) if found else None


def _record(work: UploadWork) -> None:
    found = _find(work)
    if found is None:
        raise WorldError(Code.NETWORK, f"GET {work.upload.incoming_key}: the completed object is not visible yet")
    etag, size = found
    _check_size(work, size)
    work.slice.commit(work.write(received_bytes=size, size=size, **LOADING), incoming={"etag": etag, "size": size})
    work.upload.size = size
