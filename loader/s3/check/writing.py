"""Checks that write test objects below a prefix of their own, and delete them again.

Nothing is written unless a deletion was accepted before. `clean_up` deletes what was written, also after an error or
an interrupt; objects of checks that were killed are deleted by the next one.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import secrets
import time
import zlib
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Final

from loader.errors import Code, Unsupported, WorldError
from loader.s3.check.findings import Finding
from loader.s3.check.plan import BucketPlan, Check, Reporter
from loader.s3.check.probe import Answer, StoreProbe
from loader.s3.http.headers import EPOCH
from loader.s3.multipart.upload import S3MultipartUpload

_BODY: Final = b"Written by a check of the store. It may be deleted.\n"
_OTHER: Final = b"Written by a check of the store, a second time. It may be deleted.\n"
_WRONG: Final = '"00000000000000000000000000000000"'
_LEFT_BEHIND: Final = timedelta(hours=1)  # age of test objects that no running check uses any more
_CLEAN_UP_TIME: Final = 20.0  # seconds after which no further deletion is tried
_NAME: Final = "a+b %é"  # what stores encode differently

_TWO_MACHINES: Final = "Two machines that load the same tail do not notice each other."
_TWO_PUBLISHERS: Final = "Two people who publish at the same time may overwrite each other."
_OLD_ERRORS: Final = "Errors of items that were loaded later stay on the ground."
_NO_PUBLISHING: Final = "Campaigns cannot be published with these credentials."


class WriteChecks:
    """The writing checks of one bucket."""

    def __init__(self, probe: StoreProbe, plan: BucketPlan) -> None:
        self._probe, self._plan, self._say = probe, plan, Reporter(plan.role)
        self._prefix = f"{plan.scratch}{secrets.token_hex(8)}/"
        self._written: list[str] = []
        self._versions: list[tuple[str, str]] = []
        self._uploads: list[S3MultipartUpload] = []
        self._keeps_versions = False
        self._etag = ""
        self._key = ""

    def checks(self) -> Sequence[Check]:
        """Return the checks in their order; those after "put" need that one."""
        publish = self._plan.multipart
        needed = self._plan.must_write
        checks = [
            Check("delete", self.check_delete, needed, _NO_PUBLISHING if publish else _OLD_ERRORS),
            Check("put", self.check_put, needed, _NO_PUBLISHING if publish else "Nothing can be reported."),
            Check("read-back", self.check_read_back, needed=False),
            Check("names", self.check_names, needed=False),
            Check("create", self.check_create, needed=False, meaning=self._lost),
            Check("replace", self.check_replace, needed=False, meaning=self._lost),
            Check("content-md5", self.check_md5, needed=False),
            Check("checksums", self.check_checksums, needed=False),
        ]
        if publish:
            meaning = "Files of 8 MiB and more cannot be published."
            checks.append(Check("multipart", self.check_multipart, needed, meaning))
        return checks

    def check_delete(self) -> Finding:
        self._delete(f"{self._prefix}nothing")
        self._delete_left_behind()
        return self._say.ok("delete", "Objects can be deleted.")

    def check_put(self) -> Finding:
        self._key = self._new_key(_NAME)
        self._etag = self._put(self._key, _BODY).require().etag
        if not self._etag:
            return self._say.missing("put", "The store sends no ETag for a written object.", "")
        return self._say.ok("put", "Objects can be written.")

    def check_read_back(self) -> Finding:
        answer = self._probe.send("GET", self._key)
        if answer.error and answer.error.code == Code.FORBIDDEN:
            return self._say.skipped("read-back", "Not tested: the credentials may not read test objects.")
        if answer.error or answer.body != _BODY:
            text = "An object that was just written is not read back."
            return self._say.warning("read-back", text, "The store is not consistent. Reports may arrive late.")
        return self._say.ok("read-back", "Objects can be read as soon as they are written.")

    def check_names(self) -> Finding:
        keys = [info.key for info in self._probe.first_page(self._prefix).objects]
        if keys and self._key not in keys:
            text = (
                f"Listings encode names in another way: {_NAME!a} is listed as {keys[0].removeprefix(self._prefix)!a}."
            )
            return self._say.warning("names", text, "Do not use a plus or a percent sign in names.")
        if not keys:
            text = "An object that was just written is not listed."
            return self._say.warning("names", text, "The store is not consistent. Reports may arrive late.")
        return self._say.ok("names", "Names with any character are listed as they were written.")

    def check_create(self) -> Finding:
        new = self._put(self._new_key("new"), _BODY, {"If-None-Match": "*"})
        if new.error:
            return self._refused("create", "If-None-Match", new)
        if self._put(self._key, _BODY, {"If-None-Match": "*"}).error is None:
            return self._say.warning("create", "The store ignores If-None-Match when objects are written.", self._lost)
        return self._say.ok("create", "An object can be created only if it does not exist.")

    def check_replace(self) -> Finding:
        key = self._new_key("replaced")
        etag = self._put(key, _BODY).require().etag
        if etag.startswith("W/"):
            return self._say.warning("replace", "ETags are weak, so that a write cannot depend on one.", self._lost)
        if self._put(key, _OTHER, {"If-Match": _WRONG}).error is None:
            return self._say.warning("replace", "The store ignores If-Match when objects are written.", self._lost)
        right = self._put(key, _OTHER, {"If-Match": etag})
        if right.error is None:
            return self._say.ok("replace", "An object can be replaced only if it has not changed.")
        if self._put(key, _OTHER, {"If-Match": etag.strip('"')}).error is None:
            return self._say.ok("replace", "Unchanged objects can be replaced, with the ETag without quotes.")
        return self._refused("replace", "If-Match", right)

    def check_md5(self) -> Finding:
        headers = {"Content-MD5": _md5(_OTHER)}
        if self._put(self._new_key("md5"), _BODY, headers, expected=("BadDigest",)).error is None:
            meaning = "An object that is damaged on the way to the store is noticed when it is read."
            return self._say.ok("content-md5", "The store does not verify Content-MD5.", meaning)
        return self._say.ok("content-md5", "The store verifies Content-MD5.")

    def check_checksums(self) -> Finding:
        crc32 = base64.b64encode(zlib.crc32(_BODY).to_bytes(4)).decode()
        accepted = self._put(self._new_key("checksum"), _BODY, {"x-amz-checksum-crc32": crc32})
        if accepted.error:
            return self._say.ok("checksums", "The store refuses checksum headers.", "They are not sent.")
        return self._say.ok("checksums", "The store accepts checksum headers. They are not needed.")

    def check_multipart(self) -> Finding:
        key = self._new_key("parts")
        upload = S3MultipartUpload.begin(self._probe.transport, key)
        self._uploads.append(upload)
        part = upload.put_part(1, _BODY)
        if [found.number for found in upload.list_parts()] != [1]:
            meaning = "Interrupted uploads cannot be resumed."
            return self._say.warning("multipart", "The store does not list uploaded parts.", meaning)
        upload.complete([part])
        return self._say.ok("multipart", "Large files can be uploaded in parts.")

    def clean_up(self) -> Finding:
        """Delete every test object and unfinished upload of this check."""
        for upload in self._uploads:
            with contextlib.suppress(WorldError):  # completed before
                upload.abort()
        ends = time.monotonic() + _CLEAN_UP_TIME
        left = [key for key in dict.fromkeys(self._written) if not self._is_deleted(key, ends)]
        kept = [version for version in self._versions if not self._delete_version(*version)]
        if left:
            text = f"Test objects could not be deleted ({len(left)}). Delete {self._prefix} in {self._probe.bucket}."
            return self._say.warning("clean-up", text, "Loader and portal ignore them.")
        if kept or (self._keeps_versions and not self._versions):
            text = "The bucket keeps versions, and the credentials may not delete them."
            return self._say.warning("clean-up", text, f"Versions of test objects remain below {self._plan.scratch}.")
        return self._say.ok("clean-up", "All test objects were deleted.")

    @property
    def _lost(self) -> str:
        return _TWO_PUBLISHERS if self._plan.multipart else _TWO_MACHINES

    def _refused(self, check: str, header: str, answer: Answer) -> Finding:
        """Return the finding about a conditional write that was refused although its condition holds."""
        assert answer.error
        if answer.error.code == Code.FORBIDDEN:
            text = f"Not tested: {header} needs the right to read test objects as well."
            return self._say.skipped(check, text)
        how = "does not support" if isinstance(answer.error, Unsupported) else "wrongly refuses"
        text = f"The store {how} {header} when objects are written ({answer.status})."
        return self._say.warning(check, text, self._lost)

    def _new_key(self, name: str) -> str:
        key = f"{self._prefix}{name}"
        self._written.append(key)  # before it is written: a response may get lost
        return key

    def _put(
        self, key: str, body: bytes, headers: Mapping[str, str] | None = None, expected: Collection[str] = ()
    ) -> Answer:
        answer = self._probe.send("PUT", key, headers=headers, body=body, expected=expected)
        if version := answer.headers.get("x-amz-version-id"):
            self._versions.append((key, version))
        return answer

    def _delete(self, key: str) -> None:
        answer = self._probe.send("DELETE", key)
        if answer.error and answer.error.code != Code.OBJECT_GONE:
            raise answer.error
        if (answer.headers.get("x-amz-delete-marker") or "").lower() == "true":
            self._keeps_versions = True
            if version := answer.headers.get("x-amz-version-id"):
                self._versions.append((key, version))

    def _delete_version(self, key: str, version: str) -> bool:
        try:
            answer = self._probe.send("DELETE", key, query={"versionId": version})
        except WorldError:
            return False
        return answer.error is None or answer.error.code == Code.OBJECT_GONE

    def _delete_left_behind(self) -> None:
        """Delete test objects of checks that were killed. An age that the store does not tell is taken as short."""
        try:
            objects = self._probe.page(self._plan.scratch).objects
        except WorldError as error:
            if error.code == Code.FORBIDDEN:  # without the right to list, they are not found
                return
            raise
        now = self._probe.date
        for info in objects if now else ():
            ours = info.key.startswith(self._plan.scratch)
            if now and ours and info.last_modified > EPOCH and now - info.last_modified > _LEFT_BEHIND:
                self._delete(info.key)

    def _is_deleted(self, key: str, ends: float) -> bool:
        """Delete an object, in attempts before `ends` on the monotonic clock. Return whether one succeeded."""
        for wait in (0.2, 1.0, 0.0):
            if time.monotonic() > ends:
                return False
            try:
                self._delete(key)
            except WorldError as error:
                if error.permanent:
                    return False
                self._probe.transport.wait(wait)
            else:
                return True
        return False


def _md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
