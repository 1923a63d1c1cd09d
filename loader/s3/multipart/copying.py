"""Copies objects inside the store: no byte passes this machine. Opens sockets through `transport`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from loader.errors import Code, WorldError
from loader.s3.etags import etag_text
from loader.s3.http.headers import write_condition
from loader.s3.http.responses import etag_of
from loader.s3.http.transport import S3Request, S3Transport
from loader.s3.interface import UploadedPart
from loader.s3.multipart.parallel import Progress, complete_in_parallel
from loader.s3.multipart.upload import S3MultipartUpload, object_size
from loader.s3.part_plan import PartRange, plan_parts

THREADS: Final = 4  # parts of one object at a time
# A store may send nothing until a part is copied: parts of 5 GiB, which S3 allows, would outlast the timeout.
COPY_PART_SIZE: Final = 256 * 1_048_576


def copy_object(
    transport: S3Transport,
    source_key: str,
    key: str,
    *,
    size: int,
    if_match: str | None = None,
    if_none_match: bool = False,
    progress: Callable[[int], None] | None = None,
    part_size: int = COPY_PART_SIZE,
) -> str:
    """Copy an object of `size` bytes and return the ETag of the copy: see `loader.s3.interface.Bucket.copy`."""
    found, etag = object_size(transport, source_key, if_match)
    if found != size:
        raise WorldError(Code.OBJECT_CHANGED, f"copy {source_key}: the object has {found:,} bytes, not {size:,}")
    if size == 0:  # cannot be a part of a copy on AWS
        condition = write_condition(if_none_match=if_none_match, if_match=None)
        response = transport.call(S3Request("put", "PUT", key, condition), 1 if condition else 3)
        return etag_text(etag_of(response.headers, f"PUT {key}"))
    counted, upload = Progress(progress), S3MultipartUpload.begin(transport, key)

    def send(part: PartRange) -> UploadedPart:
        # AWS takes no range of an object below 5 MiB.
        start, end = (None, None) if part.size == size else (part.start, part.start + part.size)
        copied = upload.copy_part(part.number, source_key, start=start, end=end, if_match=etag)
        counted.of_one_part()(part.size)
        return copied

    parts = (partial(send, part) for part in plan_parts(size, part_size))
    threads = min(THREADS, transport.connections)
    return complete_in_parallel(upload, parts, threads=threads, ended=threading.Event(), if_none_match=if_none_match)
