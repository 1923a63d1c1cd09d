"""Lists the multipart uploads that were begun and neither completed nor aborted. Opens sockets through `transport`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from xml.etree import ElementTree

from loader.errors import Code, WorldError
from loader.s3.http.transport import S3Request, S3Transport
from loader.s3.http.urls import quote_query
from loader.s3.http.xml import namespace
from loader.s3.interface import UnfinishedUpload
from loader.s3.listing import parse_time
from loader.s3.multipart.responses import optional_text, parse_response, required_text

PAGE: Final = 1000  # uploads
_LIMIT: Final = 4 * 1_048_576  # bytes of a page: keys of 1,024 bytes, ids and owners


def list_uploads(transport: S3Transport, prefix: str, page: int = PAGE) -> Iterator[UnfinishedUpload]:
    """Yield the unfinished uploads below `prefix`. Raises WorldError; never ends early without an error.

    Names are not requested in an encoded form: SeaweedFS says that they are encoded, and they are not.
    """
    name, query = f"list uploads of {prefix}".strip(), {"max-uploads": str(page), "prefix": prefix, "uploads": ""}
    markers = ("", "")
    while True:
        request = S3Request("list", "GET", "", {}, query=quote_query(query), limit=_LIMIT, name=name)
        root = parse_response(transport.call(request).body, ("ListMultipartUploadsResult",), name)
        uploads = [_upload(element, name) for element in root.findall(f"{namespace(root)}Upload")]
        yield from (upload for upload in uploads if upload.key.startswith(prefix))
        if required_text(root, "IsTruncated", name) != "true":
            return
        last, markers = markers, (optional_text(root, "NextKeyMarker"), optional_text(root, "NextUploadIdMarker"))
        if markers <= last:
            raise WorldError(Code.NETWORK, f"{name}: the store repeats a page")
        query |= {"key-marker": markers[0], "upload-id-marker": markers[1]}


def _upload(element: ElementTree.Element, what: str) -> UnfinishedUpload:
    key, upload_id = (required_text(element, name, what) for name in ("Key", "UploadId"))
    try:
        return UnfinishedUpload(key, upload_id, parse_time(required_text(element, "Initiated", what)))
    except ValueError as error:
        raise WorldError(Code.NETWORK, f"{what}: the response has an invalid date") from error
