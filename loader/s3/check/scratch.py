"""Test objects of a check, below a prefix of their own, and their removal.

`clean_up` deletes what was written, also after an error or an interrupt; objects of checks that were killed are deleted
by the next one.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Final

from loader.errors import Code, WorldError
from loader.s3.check.findings import Finding
from loader.s3.check.plan import BucketPlan, Reporter
from loader.s3.check.probe import Answer, StoreProbe
from loader.s3.http.headers import EPOCH
from loader.s3.multipart.upload import S3MultipartUpload

_LEFT_BEHIND: Final = timedelta(hours=1)  # age of test objects that no running check uses any more
_CLEAN_UP_TIME: Final = 20.0  # seconds after which no further deletion is tried


class Scratch:
    """The test objects and unfinished uploads of one check of one bucket. `prefix`: of their keys."""

    def __init__(self, probe: StoreProbe, plan: BucketPlan) -> None:
        self._probe, self._plan, self._say = probe, plan, Reporter(plan.role)
        self.prefix = f"{plan.scratch}{secrets.token_hex(8)}/"
        self._written: list[str] = []
        self._versions: list[tuple[str, str]] = []
        self._uploads: list[S3MultipartUpload] = []
        self._keeps_versions = False

    def new_key(self, name: str) -> str:
        key = f"{self.prefix}{name}"
        self._written.append(key)  # before it is written: a response may get lost
        return key

    def put(
        self, key: str, body: bytes, headers: Mapping[str, str] | None = None, expected: Collection[str] = ()
    ) -> Answer:
        """Write a test object. `expected`: see `StoreProbe.send`. Raises WorldError."""
        answer = self._probe.send("PUT", key, headers=headers, body=body, expected=expected)
        if version := answer.headers.get("x-amz-version-id"):
            self._versions.append((key, version))
        return answer

    def begin_upload(self, key: str, *, checksums: bool = False) -> S3MultipartUpload:
        """Begin a multipart upload that is aborted at the end, unless it is completed. Raises WorldError."""
        upload = S3MultipartUpload.begin(self._probe.transport, key, checksums=checksums)
        self._uploads.append(upload)
        return upload

    def delete(self, key: str) -> None:
        """Delete an object; succeeds if it does not exist. Raises WorldError."""
        answer = self._probe.send("DELETE", key)
        if answer.error and answer.error.code != Code.OBJECT_GONE:
            raise answer.error
        if (answer.headers.get("x-amz-delete-marker") or "").lower() == "true":
            self._keeps_versions = True
            if version := answer.headers.get("x-amz-version-id"):
                self._versions.append((key, version))

    def delete_left_behind(self) -> None:
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
                self.delete(info.key)

    def clean_up(self) -> Finding:
        """Delete every test object and unfinished upload of this check."""
        for upload in self._uploads:
            with contextlib.suppress(WorldError):  # completed before
                upload.abort()
        ends = time.monotonic() + _CLEAN_UP_TIME
        left = [key for key in dict.fromkeys(self._written) if not self._is_deleted(key, ends)]
        kept = [version for version in self._versions if not self._delete_version(*version)]
        if left:
            text = f"Test objects could not be deleted ({len(left)}). Delete {self.prefix} in {self._probe.bucket}."
            return self._say.warning("clean-up", text, "Loader and portal ignore them.")
        if kept or (self._keeps_versions and not self._versions):
            text = "The bucket keeps versions, and the credentials may not delete them."
            return self._say.warning("clean-up", text, f"Versions of test objects remain below {self._plan.scratch}.")
        return self._say.ok("clean-up", "All test objects were deleted.")

    def _delete_version(self, key: str, version: str) -> bool:
        try:
            answer = self._probe.send("DELETE", key, query={"versionId": version})
        except WorldError:
            return False
        return answer.error is None or answer.error.code == Code.OBJECT_GONE

    def _is_deleted(self, key: str, ends: float) -> bool:
        """Delete an object, in attempts before `ends` on the monotonic clock. Return whether one succeeded."""
        for wait in (0.2, 1.0, 0.0):
            if time.monotonic() > ends:
                return False
            try:
                self.delete(key)
            except WorldError as error:
                if error.permanent:
                    return False
                self._probe.transport.wait(wait)
            else:
                return True
        return False
