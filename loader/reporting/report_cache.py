"""Known contents of the status bucket: from the last run, confirmed by heartbeats, or listed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from loader.contract.keys import HEARTBEAT
from loader.errors import WorldError
from loader.reporting.context import ReportingContext
from loader.reporting.outbox import Outbox

log = logging.getLogger("loader")
MAX_AGE: Final = timedelta(days=1)


class ReportCache:
    """Sets in the outbox what need not be sent again. `lock` guards the outbox and must be reentrant.

    If our last heartbeat is still in the bucket, the reports before it are assumed to be there, too: another loader
    would have replaced it.
    """

    def __init__(self, context: ReportingContext, outbox: Outbox, lock: threading.Condition) -> None:
        self._context, self._outbox, self._lock = context, outbox, lock
        self._imported_etag = ""
        self.is_confirmed = False

    def export_state(self, now: datetime) -> dict[str, object]:
        """Return what the next run may import."""
        with self._lock:
            known = {key: None if body is None else body.decode() for key, body in self._outbox.known.items()}
        bucket, etag = self._context.bucket.name, self._context.lease.etag
        return {"at": now.isoformat(), "bucket": bucket, "heartbeat": etag, "known": known}

    def import_state(self, record: Mapping[str, object], now: datetime) -> None:
        """Use the record of an orderly end, unless it is malformed, of another bucket or older than MAX_AGE."""
        at, known, etag = record.get("at"), record.get("known"), record.get("heartbeat")
        if not isinstance(at, str) or not isinstance(known, dict) or not isinstance(etag, str):
            return
        try:
            age = now - datetime.fromisoformat(at).astimezone(UTC)
        except (ValueError, OverflowError):  # OverflowError: in UTC the date is out of range
            return
        if record.get("bucket") == self._context.bucket.name and etag and timedelta(0) <= age <= MAX_AGE:
            bodies = {key: None if body is None else str(body).encode() for key, body in known.items()}
            own = {key: body for key, body in bodies.items() if key.startswith(self._context.prefix)}
            self._outbox.known.update(own)
            self._imported_etag = etag
            self._context.lease.add_own_etag(etag)

    def confirm(self, replaced: str) -> bool:
        """Record an arrived heartbeat. `replaced`: the ETag of our heartbeat that it replaced, "" for none.

        Returns whether the bucket should be listed.
        """
        with self._lock:
            is_changed = not replaced or self._imported_etag not in ("", replaced)
            if is_changed:
                self._outbox.reset(self._context.clock())
            needs_listing = is_changed or not (self.is_confirmed or self._imported_etag)
            self._imported_etag, self.is_confirmed = "", True
        return needs_listing

    def list_bucket(self) -> None:
        """List the objects of this tail; reports that are among them are not sent again.

        The heartbeat, which has just been written, shows whether the ETags of this store's listings are MD5 sums.
        """
        try:
            listed = {found.key: found.etag for found in self._context.bucket.list(self._context.prefix)}
        except WorldError:  # these credentials may not allow it; then every report is sent
            return
        except Exception:
            # The edge of a thread: reports do not depend on the listing.
            log.exception("Failed to list the status bucket")
            return
        heartbeat = listed.get(f"{self._context.prefix}{HEARTBEAT}", "")
        if heartbeat.lower() != self._context.lease.last_digest:
            listed = dict.fromkeys(listed, "")
        with self._lock:
            self._outbox.set_listing(listed)
