"""Reads this tail's transfer queue from the media bucket; the last good one is kept on disk.

A queue that is unreadable, broken or older than the current one changes nothing; `problem` says why. Only if the
object no longer exists is there no queue.
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
_STATE_LIMIT: Final = 2 * QUEUE_LIMIT + 1024  # bytes: as a string in JSON, a line break or a quote takes two


class TransferQueueReader:
    """What the ground has ordered. Used by one thread."""

    def __init__(self, airline: str, tail: str, media: Bucket, store: ContentStore) -> None:
        """Takes up what was in force when the loader last ran."""
        self._key, self._media, self._store = queue_key(airline, tail), media, store
        self._etag = self._fault = ""
        self.problem = ""
        self.queue = self._load_last()

    def _load_last(self) -> TransferQueue | None:
        try:
            body = self._store.read_state(QUEUE_STATE, _STATE_LIMIT).get("body")
            return parse_transfer_queue(body.encode()) if isinstance(body, str) else None
        except (WorldError, BadTransferQueue):  # a disk that cannot be read is told by whoever loads onto it
            return None

    def read(self) -> None:
        """Look into the bucket. Never raises."""
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
            # On AWS, whose ListBucket is granted for a prefix only is told 403 of what is not there.
            if error.code != Code.FORBIDDEN or self.queue is not None:
                raise
            return None

    def _accept(self, body: bytes, truncated: bool) -> str:
        """Put it in force, or say why not."""
        last = self.queue.version if self.queue else None
        consequence = f"; version {last} stays in force" if last is not None else "; there is none in force"
        if truncated:
            return f"The transfer queue is longer than {QUEUE_LIMIT} bytes{consequence}"
        try:
            queue = parse_transfer_queue(body)
        except BadTransferQueue as error:
            return f"The transfer queue is refused: {error}{consequence}"
        if last is not None and queue.version < last:
            return f"The transfer queue went back to version {queue.version}{consequence}"
        self._set_current(queue, body)
        return ""

    def _set_current(self, queue: TransferQueue | None, body: bytes) -> None:
        if queue == self.queue:
            return
        self.queue = queue
        try:
            self._store.write_state(QUEUE_STATE, {} if queue is None else {"body": body.decode()})
        except (
            WorldError
        ):  # a disk that cannot be written is told by whoever loads onto it; the next run will ask again
            log.warning("The transfer queue could not be kept on disk", exc_info=True)
