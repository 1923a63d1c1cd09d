"""Uploads in a bucket in memory, and slices of work on them without the runner of operations."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction

from campaigns.uploads import operation as kind
from campaigns.uploads.announcements.names import incoming_key, parse_file_name
from campaigns.uploads.models import Stage, Upload, UploadPart
from campaigns.uploads.requests import UPLOAD
from ifeportal.models import Airline, User
from ifeportal.operations.kinds import Continue, Done, OperationFailed, Result, Wait, Write
from ifeportal.operations.models import Operation, OperationState
from ifeportal.work_lease import NO_LEASE
from loader.errors import WorldError
from loader.s3.interface import Bucket
from loader.s3.memory import MemoryBucket

NOON = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
MIB = 1024 * 1024
PART = 5 * MIB  # the smallest that stores accept
MOST_SLICES = 60


class Killed(BaseException):
    """The worker was killed here."""


class TestSlice:
    """A `Slice` that records what is reported. `die_at`: the number of the commit at which the worker is killed."""

    __test__ = False

    def __init__(
        self,
        operation: Operation,
        *,
        over: bool = False,
        die_at: int = 0,
        after: bool = False,
        looked: threading.Event | None = None,
    ) -> None:
        self.operation, self.lease, self.now = operation, NO_LEASE, NOON
        self._over, self._die_at, self._after = over, die_at, after
        self.commits = 0
        self.stages: list[str] = []
        self.looked = looked or threading.Event()  # set when a stage looked whether the slice is over

    @property
    def is_over(self) -> bool:
        self.looked.set()
        return self._over

    def report(self, done: int | None = None, total: int | None = None, *, stage: str | None = None) -> None:
        assert done is None or total is None or 0 <= done <= total
        if stage and stage not in self.stages[-1:]:
            self.stages.append(str(stage))

    def commit(self, write: Write | None = None, **checkpoint: Any) -> None:
        self.commits += 1
        if self.commits == self._die_at and not self._after:
            raise Killed
        merged = {**self.operation.checkpoint, **checkpoint}
        with transaction.atomic():
            if write:
                write()
            Operation.objects.filter(pk=self.operation.pk).update(checkpoint=merged)
        self.operation.checkpoint = merged
        if self.commits == self._die_at:
            raise Killed


def new_upload(
    airline: Airline, user: User, name: str = "movie.tgz", body: bytes | None = b"", **columns: Any
) -> Upload:
    """Create the rows of an upload that the API would create; `body` None: of a file from a URL."""
    operation = Operation.objects.create(
        kind=UPLOAD,
        airline=airline,
        user=user,
        title=name,
        state=OperationState.RUNNING,
        created_at=NOON,
        stage=Stage.RECEIVING,
    )
    first_sum = "" if body is None else hashlib.sha256(body[: columns.get("part_size", PART)]).hexdigest()
    columns = {
        "campaign": "2026-12",
        "part_size": PART,
        "touched_at": NOON,
        "first_part_sha256": first_sum,
        **columns,
    }
    size = None if body is None else columns.pop("size", len(body))
    return Upload.objects.create(
        operation=operation,
        name=name,
        item=parse_file_name(name).item,
        size=size,
        parts_total=0 if size is None else max(1, -(-size // columns["part_size"])),
        incoming_key=incoming_key(airline.name, operation.uuid),
        **columns,
    )


def send(upload: Upload, media: Bucket, body: bytes, *, sums: bool = True, complete: bool = True) -> None:
    """Send the parts as a client does."""
    upload.refresh_from_db()
    if not upload.store_upload_id:
        begun = media.begin_upload(upload.incoming_key, checksums=upload.has_checksums)
        Upload.objects.filter(pk=upload.pk).update(store_upload_id=begun.upload_id)
        upload.refresh_from_db()
    multipart = media.resume_upload(upload.incoming_key, upload.store_upload_id, checksums=upload.has_checksums)
    for number, start in enumerate(range(0, max(len(body), 1), upload.part_size), 1):
        part = body[start : start + upload.part_size]
        if sums:
            digest = base64.b64encode(hashlib.sha256(part).digest()).decode()
            UploadPart.objects.update_or_create(upload=upload, number=number, defaults={"sha256": digest})
        multipart.put_part(number, part)
    if complete:
        Upload.objects.filter(pk=upload.pk).update(completed_at=NOON)


def run_slice(upload: Upload, media: Bucket, **options: Any) -> Result:
    """Do one slice, as a new worker. Raises what ends it."""
    operation = Operation.objects.select_related("airline", "user").get(pk=upload.pk)
    current = TestSlice(operation, **options)
    result = kind.run_on(media, current)
    if result.write:
        with transaction.atomic():
            result.write()
    return result


def run_to_end(upload: Upload, media: Bucket, **options: Any) -> Upload:
    """Do slices until the upload is done; errors of the store are retried. Raises OperationFailed."""
    for _ in range(MOST_SLICES):
        try:
            result = run_slice(upload, media, **options)
        except WorldError as error:
            if error.permanent:
                raise
            continue
        if isinstance(result, Done):
            upload.refresh_from_db()
            return upload
        assert isinstance(result, Continue), result
    raise AssertionError(f"not done after {MOST_SLICES} slices")


def fail(upload: Upload, media: Bucket, **options: Any) -> OperationFailed:
    """Return the error with which the upload ends."""
    try:
        run_to_end(upload, media, **options)
    except OperationFailed as error:
        return error
    raise AssertionError("the upload did not fail")


def wait_for_client(upload: Upload, media: Bucket) -> Wait:
    result = run_slice(upload, media)
    assert isinstance(result, Wait)
    return result


def tgz(files: dict[str, bytes], *, compress: int = 1) -> bytes:
    """Return an archive with these files, in the same bytes each time."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=compress) as archive:
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return packed.getvalue()


def noise(size: int) -> bytes:
    """Return bytes that do not compress, the same each time."""
    return hashlib.shake_128(b"noise").digest(size)


class FaultyBucket(MemoryBucket):
    """A bucket in memory whose call number `at` fails: before it is done, or after it is. `fired`: it has failed."""

    def __init__(self, at: int, *, after: bool, error: Callable[[], BaseException]) -> None:
        super().__init__()
        self._at, self._after, self._error = at, after, error
        self.calls, self.fired, self.armed = 0, False, False
        self._count_lock = threading.Lock()

    @contextmanager
    def fault(self) -> Iterator[None]:
        """Count a call, and fail if it is its turn."""
        with self._count_lock:
            self.calls += self.armed
            turn = self.armed and not self.fired and self.calls == self._at
            self.fired = self.fired or turn
        if turn and not self._after:
            raise self._error()
        try:
            yield
        finally:
            if turn:
                raise self._error()

    def get(self, *a: Any, **o: Any) -> Any:
        with self.fault():
            return super().get(*a, **o)

    def open(self, *a: Any, **o: Any) -> Any:
        with self.fault():
            return super().open(*a, **o)

    def put(self, *a: Any, **o: Any) -> Any:
        with self.fault():
            return super().put(*a, **o)

    def list(self, *a: Any, **o: Any) -> Any:
        with self.fault():
            return iter([*super().list(*a, **o)])

    def delete(self, *a: Any, **o: Any) -> None:
        with self.fault():
            super().delete(*a, **o)

    def begin_upload(self, *a: Any, **o: Any) -> Any:
        with self.fault():
            begun = super().begin_upload(*a, **o)
        return begun

    def resume_upload(self, *a: Any, **o: Any) -> Any:
        return _FaultyUpload(super().resume_upload(*a, **o), self)


class _FaultyUpload:
    """A multipart upload of a FaultyBucket."""

    def __init__(self, upload: Any, bucket: FaultyBucket) -> None:
        self._upload, self._bucket = upload, bucket
        self.key, self.upload_id = upload.key, upload.upload_id

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._upload, name)

        def call(*arguments: Any, **options: Any) -> Any:
            with self._bucket.fault():
                return method(*arguments, **options)

        return call


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)
