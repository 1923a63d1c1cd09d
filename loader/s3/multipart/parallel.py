"""Sends the parts of one upload from several threads and completes it; aborts it on the first failure."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait

from loader.errors import WorldError
from loader.s3.interface import MultipartUpload, UploadedPart

SendPart = Callable[[], UploadedPart]


class Progress:
    """Reports the bytes that several parts have sent; bytes of a retry are not counted twice."""

    def __init__(self, report: Callable[[int], None] | None) -> None:
        self._report, self._lock = report, threading.Lock()

    def of_one_part(self) -> Callable[[int], None]:
        """Return a function that takes the bytes of one part sent so far."""
        most = 0

        def on_sent(sent: int) -> None:
            nonlocal most
            if self._report and sent > most:
                with self._lock:
                    self._report(sent - most)
                most = sent

        return on_sent


def complete_in_parallel(
    upload: MultipartUpload,
    parts: Iterable[SendPart],
    *,
    threads: int,
    ended: threading.Event,
    if_none_match: bool = False,
) -> str:
    """Send all parts and complete the upload; return the ETag. After any exception, the upload is aborted.

    `ended` is set when no further part is needed: parts that are being sent may end early then.
    """
    try:
        return upload.complete(_send_all(parts, threads, ended), if_none_match=if_none_match)
    except BaseException:
        with contextlib.suppress(WorldError):
            upload.abort()
        raise


def _send_all(parts: Iterable[SendPart], threads: int, ended: threading.Event) -> list[UploadedPart]:
    with ThreadPoolExecutor(threads, thread_name_prefix="upload") as pool:
        try:
            sent = [pool.submit(part) for part in parts]
            wait(sent, return_when=FIRST_EXCEPTION)
            _raise_first(sent)
            return [part.result() for part in sent]
        finally:
            ended.set()
            pool.shutdown(cancel_futures=True)


def _raise_first(parts: Sequence[Future[UploadedPart]]) -> None:
    for part in parts:
        if part.done() and not part.cancelled() and (error := part.exception()):
            raise error
