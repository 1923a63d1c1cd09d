"""Checks that write test objects below a prefix of their own, and delete them again.

Nothing is written unless a deletion was accepted before.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Sequence
from typing import Final

from loader.errors import Code, Unsupported
from loader.s3.check.findings import Finding
from loader.s3.check.plan import BucketPlan, Check, Reporter
from loader.s3.check.probe import Answer, StoreProbe
from loader.s3.check.scratch import Scratch
from loader.s3.check.uploads import UploadChecks

_BODY: Final = b"Written by a check of the store. It may be deleted.\n"
_OTHER: Final = b"Written by a check of the store, a second time. It may be deleted.\n"
_WRONG: Final = '"00000000000000000000000000000000"'
_NAME: Final = "a+b %é"  # what stores encode differently

_TWO_MACHINES: Final = "Two machines that load the same tail do not notice each other."
_TWO_PUBLISHERS: Final = "Two people who publish at the same time may overwrite each other."
_OLD_ERRORS: Final = "Errors of items that were loaded later stay on the ground."
_NO_PUBLISHING: Final = "Campaigns cannot be published with these credentials."


class WriteChecks:
    """The writing checks of one bucket."""

    def __init__(self, probe: StoreProbe, plan: BucketPlan) -> None:
        self._probe, self._plan, self._say = probe, plan, Reporter(plan.role)
        self._scratch = Scratch(probe, plan)
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
            checks += UploadChecks(self._probe, self._plan, self._scratch).checks()
        return checks

    def check_delete(self) -> Finding:
        self._scratch.delete(f"{self._scratch.prefix}nothing")
        self._scratch.delete_left_behind()
        return self._say.ok("delete", "Objects can be deleted.")

    def check_put(self) -> Finding:
        self._key = self._scratch.new_key(_NAME)
        self._etag = self._scratch.put(self._key, _BODY).require().etag
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
        keys = [info.key for info in self._probe.first_page(self._scratch.prefix).objects]
        if keys and self._key not in keys:
            name = keys[0].removeprefix(self._scratch.prefix)
            text = f"Listings encode names in another way: {_NAME!a} is listed as {name!a}."
            return self._say.warning("names", text, "Do not use a plus or a percent sign in names.")
        if not keys:
            text = "An object that was just written is not listed."
            return self._say.warning("names", text, "The store is not consistent. Reports may arrive late.")
        return self._say.ok("names", "Names with any character are listed as they were written.")

    def check_create(self) -> Finding:
        new = self._scratch.put(self._scratch.new_key("new"), _BODY, {"If-None-Match": "*"})
        if new.error:
            return self._refused("create", "If-None-Match", new)
        if self._scratch.put(self._key, _BODY, {"If-None-Match": "*"}).error is None:
            return self._say.warning("create", "The store ignores If-None-Match when objects are written.", self._lost)
        return self._say.ok("create", "An object can be created only if it does not exist.")

    def check_replace(self) -> Finding:
        key = self._scratch.new_key("replaced")
        etag = self._scratch.put(key, _BODY).require().etag
        if etag.startswith("W/"):
            return self._say.warning("replace", "ETags are weak, so that a write cannot depend on one.", self._lost)
        if self._scratch.put(key, _OTHER, {"If-Match": _WRONG}).error is None:
            return self._say.warning("replace", "The store ignores If-Match when objects are written.", self._lost)
        right = self._scratch.put(key, _OTHER, {"If-Match": etag})
        if right.error is None:
            return self._say.ok("replace", "An object can be replaced only if it has not changed.")
        if self._scratch.put(key, _OTHER, {"If-Match": etag.strip('"')}).error is None:
            return self._say.ok("replace", "Unchanged objects can be replaced, with the ETag without quotes.")
        return self._refused("replace", "If-Match", right)

    def check_md5(self) -> Finding:
        headers = {"Content-MD5": _md5(_OTHER)}
        if self._scratch.put(self._scratch.new_key("md5"), _BODY, headers, expected=("BadDigest",)).error is None:
            meaning = "An object that is damaged on the way to the store is noticed when it is read."
            return self._say.ok("content-md5", "The store does not verify Content-MD5.", meaning)
        return self._say.ok("content-md5", "The store verifies Content-MD5.")

    def check_checksums(self) -> Finding:
        crc32 = base64.b64encode(zlib.crc32(_BODY).to_bytes(4)).decode()
        accepted = self._scratch.put(self._scratch.new_key("checksum"), _BODY, {"x-amz-checksum-crc32": crc32})
        if accepted.error:
            return self._say.ok("checksums", "The store refuses checksum headers.", "They are not sent.")
        return self._say.ok("checksums", "The store accepts checksum headers. They are not needed.")

    def clean_up(self) -> Finding:
        """Delete every test object and unfinished upload of this check."""
        return self._scratch.clean_up()

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


def _md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
