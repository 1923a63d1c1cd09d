"""Stage of uploads from a URL: the worker loads the file in parts of the multipart upload, resumable by ranges.

Each part is one checkpoint. What is resumed is pinned by the validator of the first response (RFC 9110, 13.1.5): a file
that changed is loaded again from the start, once. Touches the source and the store.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from django.conf import settings

from campaigns.uploads.announcements.part_plan import MOST_PARTS, SMALLEST_PART
from campaigns.uploads.models import Stage
from campaigns.uploads.stages.part_file import PartFile
from campaigns.uploads.stages.receiving import attach, parts_lost
from campaigns.uploads.stages.work import LOADING, UploadWork, failure
from ifeportal.operations.kinds import OperationFailed
from ifeportal.outbound.client import OutboundRequest, OutboundResponse
from ifeportal.outbound.errors import OutboundRefused
from loader.contract.units import MIB
from loader.errors import Code, WorldError
from loader.s3.errors import UploadGone
from loader.s3.interface import MultipartUpload
from loader.s3.part_plan import MAX_PARTS

BLOCK: Final = MIB
PART_SECONDS: Final = 200.0  # for one part, headers included; workers are killed after 300
CHECK_ADVICE: Final = "Check the URL, then retry."
_RANGE: Final = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")
_DIGITS: Final = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True)
class FetchState:
    """`count` bytes of the file are in the store, in `parts` parts. `validator`: ETag or Last-Modified, "" if none.

    `total` is None while the source does not say. `restarts`: how often the file changed.
    """

    count: int = 0
    parts: int = 0
    part_size: int = SMALLEST_PART
    total: int | None = None
    validator: str = ""
    restarts: int = 0


class SourceChanged(Exception):
    """The source has another file than the one that was begun, or cannot continue it."""


def fetch(work: UploadWork) -> None:
    """Load parts for this slice, at least one. Records the size once the file is complete."""
    saved = work.checkpoint.get("fetch")
    state = FetchState(**saved) if saved else FetchState()
    work.slice.report(state.count, state.total, stage=Stage.FETCHING)
    try:
        fetcher = Fetcher(work.upload.source_url, state, attach(work))
        _run(work, fetcher)
    except OutboundRefused as error:
        advice = "Use an https URL on the public internet. An administrator can permit private addresses."
        raise failure(Code.FORBIDDEN, str(error), advice, can_retry=True) from error
    except SourceChanged as error:
        _start_over(work, state, str(error))
    except UploadGone as error:
        raise parts_lost(work) from error


def _run(work: UploadWork, fetcher: Fetcher) -> None:
    while not fetcher.ended:
        timer = threading.Timer(PART_SECONDS, fetcher.abort)
        timer.start()
        try:
            work.run_in_thread(
                fetcher.fetch_part,
                lambda: fetcher.done,
                fetcher.state.total,
                Stage.FETCHING,
                stops_at_end_of_slice=False,
            )
        except BaseException:
            fetcher.close()
            raise
        finally:
            timer.cancel()
        _commit(work, fetcher)
        if work.slice.is_over and fetcher.can_resume:
            break
    fetcher.close()


def _commit(work: UploadWork, fetcher: Fetcher) -> None:
    state = fetcher.state
    columns: dict[str, Any] = {
        "received_bytes": state.count,
        "part_size": state.part_size,
        "source_etag": state.validator,
        **LOADING,
    }
    if fetcher.ended:
        columns |= {"size": state.count, "parts_total": state.parts, "completed_at": work.slice.now}
    work.slice.commit(work.write(**columns), fetch=asdict(state))
    for name, value in columns.items():
        setattr(work.upload, name, value)


def _start_over(work: UploadWork, state: FetchState, reason: str) -> None:
    upload = work.upload
    work.call(work.media.resume_upload(upload.incoming_key, upload.store_upload_id).abort)
    reset = work.write(store_upload_id="", received_bytes=0)
    work.slice.commit(reset, fetch=None if state.restarts else asdict(FetchState(restarts=1)))
    upload.store_upload_id = ""
    if state.restarts:
        raise failure(Code.OBJECT_CHANGED, f"{reason} twice.", "Retry when the file no longer changes.", can_retry=True)


class Fetcher:
    """Reads the source and sends parts, one call for each. `done`: bytes read. Touches no database."""

    def __init__(self, url: str, state: FetchState, target: MultipartUpload) -> None:
        """Raises OutboundRefused."""
        self.state, self.done, self.ended = state, state.count, False
        self._target = target
        self._request = OutboundRequest(url, _range_headers(state))
        self._response: OutboundResponse | None = None
        self._timed_out = False

    @property
    def can_resume(self) -> bool:
        """Whether another request may continue the file: its version has a name, and the server sends ranges."""
        ranges = self._response.headers.get("Accept-Ranges") if self._response else None
        return bool(self.state.validator) and ranges != "none"

    def abort(self) -> None:
        """End a read that takes too long, from another thread."""
        self._timed_out = True
        self._request.abort()

    def close(self) -> None:
        self._request.abort()
        if self._response:
            self._response.close()

    def fetch_part(self, stop: threading.Event) -> None:
        """Load the next part into the store. Raises OperationFailed, SourceChanged, WorldError, OutboundRefused."""
        try:
            if self._response is None:
                self._response = self._request.open()
                self.state = _check_response(self._response, self.state)
            with PartFile() as part:
                self._fill(part, self._response, stop)
                self._send(part)
        except WorldError as error:
            if not self._timed_out:
                raise
            text = f"{self._request.host} sent less than {self.state.part_size:,} bytes in {PART_SECONDS:.0f} s"
            raise WorldError(Code.TOO_SLOW, text) from error

    def _fill(self, part: PartFile, response: OutboundResponse, stop: threading.Event) -> None:
        while part.size < self.state.part_size:
            if stop.is_set():
                raise WorldError(Code.NETWORK, "the worker stopped fetching the file")
            block = response.read(min(BLOCK, self.state.part_size - part.size))
            if not block:
                self.ended = True
                break
            part.write(block)
            self.done += len(block)
            _check_limits(self.done, self.state)
        if self.ended and self.state.total is not None and self.done != self.state.total:
            self.ended = False
            raise WorldError(Code.SHORT_BODY, f"{response.host} closed the connection before the end of the file")
        self.ended = self.ended or self.done == self.state.total

    def _send(self, part: PartFile) -> None:
        if part.size or not self.state.parts:
            self._target.put_part(self.state.parts + 1, part.payload)
            self.state = replace(self.state, count=self.done, parts=self.state.parts + 1)


def _range_headers(state: FetchState) -> dict[str, str]:
    if not state.count:
        return {}
    condition = {"If-Range": state.validator} if state.validator and not state.validator.startswith("W/") else {}
    return {"Range": f"bytes={state.count}-", **condition}


def _check_response(response: OutboundResponse, state: FetchState) -> FetchState:
    """Return the state with size and validator of the file. Raises as `Fetcher.fetch_part` does."""
    if response.status == 416 and state.count:
        raise SourceChanged("The file at the URL changed while it was fetched")
    if response.status not in (200, 206):
        raise _status_error(response)
    validator, total = _validator(response.headers), _total(response, state)
    if state.count:
        if response.status == 200:
            raise SourceChanged("The file at the URL changed, or its server could not continue the download,")
        same = bool(validator) and (validator, total) == (state.validator, state.total)
        if not same or _first_byte(response) != state.count:
            raise SourceChanged("The file at the URL changed while it was fetched")
        return state
    if response.status == 206:
        raise SourceChanged("The server sent a part of the file instead of all of it")
    part_size = max(SMALLEST_PART, -(-(total or 0) // MOST_PARTS // MIB) * MIB)
    found = replace(state, total=total, validator=validator, part_size=part_size)
    _check_limits(total or 0, found)
    return found


def _check_limits(size: int, state: FetchState) -> None:
    if size > settings.UPLOAD_MAX_SIZE:
        error = f"The file at the URL is larger than {settings.UPLOAD_MAX_SIZE:,} bytes, the limit of this portal."
        raise failure(Code.SIZE_MISMATCH, error, "Choose a smaller file, or raise UPLOAD_MAX_SIZE.", can_retry=True)
    if size > state.part_size * MAX_PARTS:
        error = f"The server does not announce the size of the file, and it is larger than {size:,} bytes."
        raise failure(Code.SIZE_MISMATCH, error, "Use a server that sends Content-Length.", can_retry=True)


def _validator(headers: Mapping[str, str]) -> str:
    return (headers.get("ETag") or headers.get("Last-Modified") or "")[:200]


def _total(response: OutboundResponse, state: FetchState) -> int | None:
    if response.status == 206:
        match = _RANGE.fullmatch(response.headers.get("Content-Range") or "")
        return int(match[3]) if match and match[3] != "*" else state.total
    length = response.headers.get("Content-Length") or ""
    return int(length) if _DIGITS.fullmatch(length) else None


def _first_byte(response: OutboundResponse) -> int:
    match = _RANGE.fullmatch(response.headers.get("Content-Range") or "")
    return int(match[1]) if match else -1


def _status_error(response: OutboundResponse) -> OperationFailed | WorldError:
    status, host = response.status, response.host
    retry_after = response.headers.get("Retry-After") or ""
    pause = min(float(retry_after), 3600.0) if re.fullmatch(r"[0-9]{1,6}", retry_after) else None
    if status in (408, 425, 429) or status >= 500:
        return WorldError(Code.THROTTLED, f"{host} is busy or has a fault ({status})", retry_after=pause)
    if status in (404, 410):
        return failure(Code.OBJECT_GONE, f"{host} has no file at this URL ({status}).", CHECK_ADVICE, can_retry=True)
    if status in (401, 403):
        error = f"{host} does not permit access to this URL ({status})."
        return failure(Code.FORBIDDEN, error, "Use a URL that needs no sign-in, such as a signed one.", can_retry=True)
    return failure(Code.NETWORK, f"{host} answered with an unexpected status ({status}).", CHECK_ADVICE, can_retry=True)
