"""Writes a file of any size as an object: in one request, or in parts, several at a time. Reads that file."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from loader.errors import Code, Stopped, WorldError
from loader.s3.http.payload import FileSlice, payload_digests
from loader.s3.http.responses import etag_of
from loader.s3.http.transport import S3Request, S3Transport
from loader.s3.interface import UploadedPart
from loader.s3.multipart.parallel import Progress, complete_in_parallel
from loader.s3.multipart.upload import PART_ATTEMPTS, S3MultipartUpload
from loader.s3.part_plan import PART_SIZE, PartRange, plan_parts

THREADS: Final = 10  # parts of one file at a time


def upload_file(transport: S3Transport, key: str, path: Path, progress: Callable[[int], None] | None = None) -> str:
    """Write a file of any size and return its ETag. Large files are sent in parts, several at a time.

    `progress` gets the bytes sent since its last call, from several threads but one at a time. Its exceptions and an
    interrupt end the upload and delete its parts. Raises WorldError.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size >= PART_SIZE:
                return _upload_parts(transport, key, file.fileno(), size, Progress(progress))
            body = FileSlice(file.fileno(), 0, size)
            counted = Progress(progress).of_one_part()
            request = S3Request("put", "PUT", key, {}, body=body, digests=payload_digests(body), on_sent=counted)
            return etag_of(transport.call(request, PART_ATTEMPTS).headers, str(request))
    except OSError as error:
        raise WorldError(Code.IO_ERROR, f"PUT {key}: the file cannot be read ({error.strerror})") from error


def _upload_parts(transport: S3Transport, key: str, descriptor: int, size: int, progress: Progress) -> str:
    upload, ended = S3MultipartUpload.begin(transport, key), threading.Event()

    def send(part: PartRange) -> UploadedPart:
        counted = progress.of_one_part()

        def on_sent(sent: int) -> None:
            if ended.is_set():
                raise Stopped("another part failed")
            counted(sent)

        return upload.put_part(part.number, FileSlice(descriptor, part.start, part.size), on_sent=on_sent)

    parts = (partial(send, part) for part in plan_parts(size))
    return complete_in_parallel(upload, parts, threads=min(THREADS, transport.connections), ended=ended)
