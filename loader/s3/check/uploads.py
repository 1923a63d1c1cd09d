"""Checks of what uploads need: parts with checksums, copies inside the store, their removal, and CORS for browsers.

They write test objects, which `loader.s3.check.scratch` deletes again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from loader.errors import Code, WorldError
from loader.s3.check.findings import Finding
from loader.s3.check.plan import BucketPlan, Check, Reporter
from loader.s3.check.probe import StoreProbe
from loader.s3.check.scratch import Scratch
from loader.s3.cors import EXPOSED, UPLOAD_HEADERS
from loader.s3.etags import parse_etag
from loader.s3.multipart.unfinished import list_uploads
from loader.s3.multipart.upload import SHA256_HEADER

_BODY: Final = b"Written by a check of the store. It may be deleted.\n"
_WRONG: Final = "A" * 43 + "="  # SHA-256 in base64
_NO_LARGE_FILES: Final = "Files from 8 MiB cannot be published. Grant s3:PutObject and s3:ListMultipartUploadParts."
_NO_UPLOADS: Final = "Content cannot be uploaded in the portal. Grant s3:PutObject."
_NO_COPIES: Final = "Uploaded content cannot be placed in a campaign. Grant s3:GetObject and s3:PutObject."
_PARTS_STAY: Final = "Parts of uploads that were ended stay, and are billed. Grant s3:AbortMultipartUpload."
_NOT_FOUND: Final = "Parts of abandoned uploads stay, and are billed. Grant s3:ListBucketMultipartUploads."
_NO_BROWSERS: Final = "Content cannot be uploaded in browsers. Run: python manage.py check_store --fix-cors"


class UploadChecks:
    """The checks of uploads to one bucket, after the first test object was written."""

    def __init__(self, probe: StoreProbe, plan: BucketPlan, scratch: Scratch) -> None:
        self._probe, self._plan, self._scratch = probe, plan, scratch
        self._say = Reporter(plan.role)

    def checks(self) -> Sequence[Check]:
        """Return the checks in their order."""
        needed = self._plan.must_write
        checks = [
            Check("multipart", self.check_multipart, needed, _NO_LARGE_FILES),
            Check("part-sums", self.check_part_sums, needed=False, meaning=_NO_UPLOADS),
            Check("copy", self.check_copy, needed=False, meaning=_NO_COPIES),
            Check("uploads", self.check_uploads, needed=False, meaning=_NOT_FOUND),
            Check("abort", self.check_abort, needed=False, meaning=_PARTS_STAY),
        ]
        if self._plan.origin:
            checks.append(Check("cors", self.check_cors, needed=False, meaning=_NO_BROWSERS))
        return checks

    def check_multipart(self) -> Finding:
        upload = self._scratch.begin_upload(self._scratch.new_key("parts"))
        part = upload.put_part(1, _BODY)
        if [found.number for found in upload.list_parts()] != [1]:
            meaning = "Interrupted uploads cannot be resumed. Grant s3:ListMultipartUploadParts."
            return self._say.warning("multipart", "The store does not list uploaded parts.", meaning)
        upload.complete([part])
        return self._say.ok("multipart", "Large files can be uploaded in parts.")

    def check_part_sums(self) -> Finding:
        key = self._scratch.new_key("checked")
        upload = self._scratch.begin_upload(key, checksums=True)
        part = upload.put_part(1, _BODY)
        query = {"partNumber": "2", "uploadId": upload.upload_id}
        wrong = self._probe.send(
            "PUT", key, headers={SHA256_HEADER: _WRONG}, query=query, body=_BODY, expected=("BadDigest",)
        )
        upload.complete([part])
        if wrong.error is None:
            meaning = "A part that is damaged on the way is noticed only when the content is checked."
            return self._say.warning("part-sums", "The store does not verify the SHA-256 of parts.", meaning)
        return self._say.ok("part-sums", "The store verifies the SHA-256 of parts.")

    def check_copy(self) -> Finding:
        source = self._scratch.new_key("source")
        etag = self._scratch.put(source, _BODY).require().etag
        upload = self._scratch.begin_upload(self._scratch.new_key("copied"))
        upload.complete([upload.copy_part(1, source, if_match=parse_etag(etag))])
        return self._say.ok("copy", "Objects can be copied inside the store.")

    def check_uploads(self) -> Finding:
        key = self._scratch.new_key("unfinished")
        upload = self._scratch.begin_upload(key)
        if upload.upload_id not in {found.upload_id for found in list_uploads(self._probe.transport, key)}:
            meaning = "Parts of abandoned uploads stay, and are billed. Set a lifecycle rule that removes them."
            return self._say.warning("uploads", "The store does not list unfinished uploads.", meaning)
        return self._say.ok("uploads", "Unfinished uploads are listed.")

    def check_abort(self) -> Finding:
        upload = self._scratch.begin_upload(self._scratch.new_key("aborted"))
        upload.put_part(1, _BODY)
        upload.abort()
        try:
            left = upload.list_parts()
        except WorldError as error:
            if error.code != Code.OBJECT_GONE:
                raise
            left = []
        if left:
            meaning = "They are billed. Set a lifecycle rule that removes them."
            return self._say.warning("abort", "Parts of an aborted upload stay in the store.", meaning)
        return self._say.ok("abort", "Uploads can be aborted.")

    def check_cors(self) -> Finding:
        origin, store = self._plan.origin, self._probe.transport.public_origin
        if origin.startswith("https:") and not store.startswith("https:"):
            meaning = "Content cannot be uploaded in browsers. Set MEDIA_PUBLIC_URL to an https:// address."
            return self._say.warning("cors", f"Browsers do not send from {origin} to {store}, without TLS.", meaning)
        if not self._is_permitted(origin):
            return self._say.warning(
                "cors", f"The bucket does not permit uploads from pages of {origin}.", _NO_BROWSERS
            )
        sent = self._scratch.put(self._scratch.new_key("cors"), _BODY, {"Origin": origin}).require()
        exposed = {
            name.strip().lower() for name in (sent.headers.get("Access-Control-Expose-Headers") or "").split(",")
        }
        if not exposed & {"*", *(name.lower() for name in EXPOSED)}:
            return self._say.warning("cors", f"The bucket does not show the ETag to pages of {origin}.", _NO_BROWSERS)
        return self._say.ok("cors", f"Pages of {origin} may upload.")

    def _is_permitted(self, origin: str) -> bool:
        """Ask as a browser does before it sends a part (a preflight request of the Fetch standard)."""
        headers = {
            "Origin": origin,
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": ",".join(UPLOAD_HEADERS),
        }
        answer = self._probe.send("OPTIONS", f"{self._scratch.prefix}cors", headers=headers)
        return answer.error is None and answer.headers.get("Access-Control-Allow-Origin") in (origin, "*")
