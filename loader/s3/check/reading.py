"""Checks that only read: listings, the clock, ranges, conditions and ETags. Change nothing in the bucket."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from loader.errors import Code
from loader.s3.check.findings import Finding
from loader.s3.check.plan import BucketPlan, Check, Reporter
from loader.s3.check.probe import MAX_EMPTY_PAGES, Answer, StoreProbe
from loader.s3.http.headers import EPOCH
from loader.s3.interface import ObjectInfo

_ACCURATE: Final = timedelta(minutes=1)
_REFUSED: Final = timedelta(minutes=15)  # S3 refuses requests whose time differs by more
_WRONG: Final = '"00000000000000000000000000000000"'
_LISTINGS: Final = "Nothing in this bucket is found."
_NO_LISTINGS: Final = "The loader reports everything again when it starts."
_PAGES: Final = "Of a large listing, only the beginning is found."
_FOLDERS: Final = "Campaigns and airlines are not found."
_KNOWN_OBJECT: Final = (
    "A loader that finds a heartbeat it may not read ends, because another machine may have the tail."
)


class ReadChecks:
    """The reading checks of one bucket. All but the address depend on `check_listing`."""

    def __init__(self, probe: StoreProbe, plan: BucketPlan) -> None:
        self._probe, self._plan, self._say = probe, plan, Reporter(plan.role)
        self._objects: list[ObjectInfo] = []
        self._got: Answer | None = None

    def checks(self) -> Sequence[Check]:
        """Return the checks in their order."""
        listed, meaning = self._plan.must_list, _LISTINGS if self._plan.must_list else _NO_LISTINGS
        checks = [
            Check("address", self.check_address),
            Check("list", self.check_listing, listed, meaning),
            Check("pages", self.check_pages, listed, _PAGES),
            Check("folders", self.check_folders, listed, _FOLDERS),
            Check("start-after", self.check_start_after, needed=False, meaning="Nothing here depends on it."),
            Check("clock", self.check_clock),
        ]
        if self._plan.known_key:
            checks.append(Check("known-object", self.check_known_object, meaning=_KNOWN_OBJECT))
        if self._plan.reads:
            checks += [
                Check("get", self.check_range, meaning="Objects cannot be read."),
                Check("etags", self.check_etags),
                Check("if-match", self.check_condition, needed=False, meaning="Downloads may not resume."),
                Check("head", self.check_head, needed=False, meaning="The end of large uploads cannot be verified."),
            ]
        return checks

    def check_listing(self) -> Finding:
        page = self._probe.first_page(self._plan.prefix)
        self._objects = page.objects
        where = f"below {self._plan.prefix!r}" if self._plan.prefix else "in the bucket"
        if not page.objects:
            return self._say.ok("list", f"Listings work. There is no object {where} yet.")
        text = f"Listings work: {len(page.objects):,} objects on the first page {where}."
        if not all(info.etag for info in page.objects):
            return self._say.warning("list", text, "They have no ETags: size and date are compared instead.")
        if any(info.last_modified <= EPOCH for info in page.objects):
            return self._say.warning("list", text, "They have no dates, so that the age of objects is unknown.")
        return self._say.ok("list", text)

    def check_address(self) -> Finding:
        probe, server = self._probe, self._probe.server
        style = "path-style" if probe.is_path_style else "virtual-hosted"
        text = f"{probe.bucket!r} at {server}, {style} addresses, region {probe.transport.region}"
        if server.startswith("https:"):
            return self._say.ok("address", f"{text}, with TLS.")
        if probe.is_local:
            return self._say.ok("address", f"{text}, without TLS on this machine.")
        meaning = "Everyone on the way can read and change what is transferred. Use an https:// endpoint."
        return self._say.warning("address", f"{text}, without TLS.", meaning)

    def check_pages(self) -> Finding:
        if len(self._objects) < 2:
            return self._say.skipped("pages", "Not tested: there are fewer than two objects.")
        wanted = {info.key for info in self._objects}
        page = self._probe.first_page(self._plan.prefix, max_keys="1")
        keys = [info.key for info in page.objects]
        for _ in range(MAX_EMPTY_PAGES):
            if page.token is None or len(keys) > 1:
                break
            page = self._probe.page(self._plan.prefix, max_keys="1", continuation_token=page.token)
            keys += [info.key for info in page.objects]
        if len(set(keys)) < 2 or len(set(keys)) != len(keys) or not wanted & set(keys):
            return self._say.missing("pages", "The second page of a listing does not continue the first.", _PAGES)
        return self._say.ok("pages", "Listings continue on the next page.")

    def check_folders(self) -> Finding:
        start = len(self._plan.prefix)
        below = [info.key[start:] for info in self._objects]
        wanted = {f"{self._plan.prefix}{rest.partition('/')[0]}/" for rest in below if "/" in rest}
        if not wanted:
            return self._say.skipped("folders", "Not tested: there is no object in a folder.")
        page = self._probe.first_page(self._plan.prefix, delimiter="/")
        if not wanted & set(page.prefixes):
            text = "Listings with a delimiter do not name the folders."
            return self._say.missing("folders", text, _FOLDERS)
        return self._say.ok("folders", "Listings with a delimiter name the folders.")

    def check_start_after(self) -> Finding:
        if not self._objects:
            return self._say.skipped("start-after", "Not tested: there is no object.")
        first = self._objects[0].key
        if any(info.key == first for info in self._probe.first_page(self._plan.prefix, start_after=first).objects):
            return self._say.ok("start-after", "The store ignores start-after.", "Nothing here depends on it.")
        return self._say.ok("start-after", "Listings can start after a key.")

    def check_clock(self) -> Finding:
        date, received = self._probe.date, self._probe.date_received
        if date is None or received is None:
            meaning = "Nothing is removed by date, because the local clock cannot be compared."
            return self._say.warning("clock", "The store does not send its time.", meaning)
        ahead = received - date
        where = "ahead of" if ahead > timedelta() else "behind"
        text = f"The local clock is {abs(ahead).total_seconds():,.0f} s {where} that of the store."
        if abs(ahead) <= _ACCURATE:
            return self._say.ok("clock", "The clocks of this machine and of the store agree.")
        if abs(ahead) <= _REFUSED:
            return self._say.warning("clock", text, "Set the clock: at 15 minutes, S3 refuses requests.")
        meaning = "S3 refuses such requests, and nothing is removed by date. Set the clock."
        return self._say.missing("clock", text, meaning)

    def check_known_object(self) -> Finding:
        answer = self._probe.send("GET", self._plan.known_key, headers={"Range": "bytes=0-0"})
        if answer.error and answer.error.code not in (Code.OBJECT_GONE, Code.OBJECT_CHANGED):
            raise answer.error
        exists = " (it does not exist yet)" if answer.error and answer.error.code == Code.OBJECT_GONE else ""
        return self._say.ok("known-object", f"{self._plan.known_key} may be read{exists}.")

    def check_range(self) -> Finding:
        sample = self._sample()
        if sample is None:
            return self._say.skipped("get", "Not tested: there is no object with content that may be read.")
        self._got = self._probe.send("GET", sample.key, headers={"Range": "bytes=0-0"}, limit=1).require()
        if self._got.status != 206:
            meaning = "Interrupted downloads start again from the first byte."
            return self._say.warning("get", "Objects can be read, but the store ignores ranges.", meaning)
        if (self._got.headers.get("Content-Range") or "").endswith("/*"):
            return self._say.ok("get", "Objects can be read in ranges, without their size.")
        return self._say.ok("get", "Objects can be read in ranges.")

    def check_etags(self) -> Finding:
        sample = self._sample()
        if sample is None or self._got is None:
            return self._say.skipped("etags", "Not tested: no object was read.")
        etag = self._got.etag
        if not etag:
            return self._say.missing("etags", "Objects have no ETag.", "Downloads cannot be resumed safely.")
        if etag.startswith("W/"):
            meaning = "A proxy changes them on the way. Resumed downloads are compared, not conditional."
            return self._say.warning("etags", "The ETags of objects are weak.", meaning)
        if not sample.etag:
            return self._say.ok("etags", "Objects have ETags, listings have not.")
        if sample.etag.strip('"') != etag.strip('"'):
            meaning = "Both are used, each for itself."
            return self._say.ok("etags", "ETags in listings differ from those of objects.", meaning)
        return self._say.ok("etags", "ETags of listings and objects agree.")

    def check_condition(self) -> Finding:
        sample = self._sample()
        if sample is None or self._got is None:
            return self._say.skipped("if-match", "Not tested: no object was read.")
        wrong = self._probe.send("GET", sample.key, headers={"Range": "bytes=0-0", "If-Match": _WRONG}, limit=1)
        if wrong.error is None:
            meaning = "An object that is replaced during a download is noticed by its ETag or hash only."
            return self._say.warning("if-match", "The store ignores If-Match when objects are read.", meaning)
        if self._got.etag.startswith("W/"):
            return self._say.ok("if-match", "If-Match is honoured. Weak ETags cannot be used with it.")
        right = self._probe.send("GET", sample.key, headers={"Range": "bytes=0-0", "If-Match": self._got.etag}, limit=1)
        if right.error:
            raise right.error
        return self._say.ok("if-match", "Reads with If-Match notice replaced objects.")

    def check_head(self) -> Finding:
        sample = self._sample()
        if sample is None:
            return self._say.skipped("head", "Not tested: there is no object that may be read.")
        answer = self._probe.send("HEAD", sample.key, limit=0).require()
        if not answer.etag:
            return self._say.warning("head", "HEAD sends no ETag.", "The end of large uploads cannot be verified.")
        return self._say.ok("head", "HEAD names size and ETag of objects.")

    def _sample(self) -> ObjectInfo | None:
        """Return the smallest object with content that may be read."""
        readable = [info for info in self._objects if info.size and self._plan.may_read(info.key)]
        return min(readable, key=lambda info: info.size, default=None)
