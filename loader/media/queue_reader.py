"""Reads this tail's transfer queue from the media bucket and stores the last valid one on disk.

A queue that is unreadable, invalid or older than the current one changes nothing; `problem` says why. Only deleting the
object removes the queue.
"""

from __future__ import annotations

import logging
from typing import Final

from loader.contract.keys import queue_key
from loader.contract.transfer_queue import QUEUE_LIMIT, TransferQueue, parse_transfer_queue
from loader.errors import BadTransferQueue, Code, WorldError
from loader.s3.interface import NOT_MODIFIED, Bucket, GetResult, NotModified
from loader.storage.content_store import ContentStore

log = logging.getLogger("loader")
QUEUE_STATE: Final = "queue"
_STATE_LIMIT: Final = 2 * QUEUE_LIMIT + 1024  # bytes: in a JSON string a line break or a quote takes two


class TransferQueueReader:
    """Reads the queue that the portal wrote for this tail. For one thread."""

    def __init__(self, airline: str, tail: str, media: Bucket, store: ContentStore) -> None:
        """Load the queue that was current when the loader last ran."""
        self._key, self._media, self._store = queue_key(airline, tail), media, store
        self._etag = self._fault = ""
        self.problem = ""
        self.queue = self._load_last()

    def _load_last(self) -> TransferQueue | None:
        try:
            body = self._store.read_state(QUEUE_STATE, _STATE_LIMIT).get("body")
            return parse_transfer_queue(body.encode()) if isinstance(body, str) else None
        except (WorldError, BadTransferQueue):  # planning reports a disk that cannot be read
            return None

    def read(self) -> None:
        """Read the queue. Never raises."""
        try:
            self._read()
        except WorldError as error:
            self.problem = f"The transfer queue cannot be read: {error.code}: {error}"

    def _read(self) -> None:
        fetched = self._fetch()
        if fetched is None:
            self._etag = self._fault = ""
            self._set_current(None, b"")
        elif fetched is not NOT_MODIFIED:
            self._etag, self._fault = fetched.etag, self._accept(fetched.body, fetched.truncated)
        self.problem = self._fault

    def _fetch(self) -> GetResult | NotModified | None:
        try:
            if self._etag:
                return self._media.get_if_changed(self._key, QUEUE_LIMIT, self._etag)
            return self._media.get(self._key, QUEUE_LIMIT)
        except WorldError as error:
            # If ListBucket is granted for a prefix only, AWS answers 403 for an object that does not exist.
            if error.code != Code.FORBIDDEN or self.queue is not None:
                raise
            return None

    def _accept(self, body: bytes, truncated: bool) -> str:
        """Make a valid queue the current one and return ""; otherwise return the reason."""
        last = self.queue.version if self.queue else None
        consequence = f"; version {last} remains current" if last is not None else "; there is no current version"
        if truncated:
            return f"The transfer queue is longer than {QUEUE_LIMIT} bytes{consequence}"
        try:
            queue = parse_transfer_queue(body)
        except BadTransferQueue as error:
            return f"The transfer queue is refused: {error}{consequence}"
        if last is not None and queue.version < last:
            return f"The transfer queue has an older version, {queue.version}{consequence}"
        self._set_current(queue, body)
        return ""

    def _set_current(self, queue: TransferQueue | None, body: bytes) -> None:
        if queue == self.queue:
            return
        self.queue = queue
        try:
            self._store.write_state(QUEUE_STATE, {} if queue is None else {"body": body.decode()})
        except WorldError:  # transfers report a disk that cannot be written; the next run reads the bucket again
            log.warning("The transfer queue could not be stored on disk", exc_info=True)
