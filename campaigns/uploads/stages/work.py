"""What the stages of an upload, and copies, share: the slice, the media bucket, and calls that renew the lease.

The threads touch the object store and sources; the database only the calling thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from campaigns.uploads.models import Upload, UploadStatus
from ifeportal.jobs.retries import WorkFailure
from ifeportal.operations.kinds import OperationFailed, Slice, Write
from ifeportal.storage.background import wait_for
from loader.errors import Code
from loader.s3.interface import Bucket

WATCH_INTERVAL: Final = 0.5  # seconds between two looks at a thread
SEND_AGAIN: Final = "Upload the file again."
T = TypeVar("T")


class StoreWork:
    """What work on objects of the media bucket shares: the checkpoint, and calls to the store beside the lease."""

    slice: Slice
    media: Bucket

    @property
    def checkpoint(self) -> Mapping[str, Any]:
        """What earlier slices and stages recorded."""
        checkpoint: Mapping[str, Any] = self.slice.operation.checkpoint
        return checkpoint

    @property
    def airline(self) -> str:
        """Name of the airline."""
        return self.slice.operation.airline.name

    def call(self, call: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Call the store in a thread while the lease is renewed. Raises what the call or the lease raises."""
        with ThreadPoolExecutor(1, thread_name_prefix="store-call") as thread:
            return wait_for(thread.submit(call, *arguments, **options), self.slice.lease)

    def run_in_thread(
        self,
        work: Callable[[threading.Event], T],
        done: Callable[[], int],
        total: int | None,
        stage: str,
        *,
        stops_at_end_of_slice: bool = True,
    ) -> T:
        """Do `work` in a thread and report progress. Return its result.

        Its event is set when the slice is over, unless `stops_at_end_of_slice` is false, and when the lease is lost or
        someone cancels. Raises what the work raises; LeaseLost and CancelRequested after the thread has ended.
        """
        stop = threading.Event()
        with ThreadPoolExecutor(1, thread_name_prefix=f"store-{stage}") as thread:
            future = thread.submit(work, stop)
            try:
                while not wait([future], timeout=WATCH_INTERVAL).done:
                    self.slice.lease.heartbeat()
                    self.slice.report(done(), total, stage=stage)
                    if stops_at_end_of_slice and self.slice.is_over:
                        stop.set()
                return future.result()
            finally:
                stop.set()


@dataclass
class UploadWork(StoreWork):
    """One slice of work on an upload."""

    slice: Slice
    upload: Upload
    media: Bucket

    def incoming(self, name: str) -> str:
        """Return the key of an object of this upload that is not in place yet."""
        return f"{self.airline}/.incoming/{self.slice.operation.uuid}/{name}"

    def set(self, **columns: Any) -> None:
        """Write columns of the upload, also in memory."""
        self.write(**columns)()
        for name, value in columns.items():
            setattr(self.upload, name, value)

    def write(self, **columns: Any) -> Write:
        """Return a function that writes columns of the upload, for a transaction of the slice."""
        rows = Upload.objects.filter(pk=self.upload.pk)

        def write() -> None:
            rows.update(**columns)

        return write


def failure(code: Code, error: str, advice: str = "", *, can_retry: bool = False) -> OperationFailed:
    """Return the error that ends the upload as failed."""
    return OperationFailed(WorkFailure(code, error, advice, permanent=True), can_retry=can_retry)


LOADING: Final = {"status": UploadStatus.LOADING}
