"""Polls the media bucket in a thread of its own, so that a slow store never blocks the control loop.

A poll reads the queue, the manifests and, if a manifest alone cannot show that an object changed, the objects' ETags.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace

from loader.contract.manifest import Manifest
from loader.errors import Code, WorldError
from loader.media.manifest_reader import ManifestReader
from loader.media.queue_reader import TransferQueueReader
from loader.media.snapshot import ManifestResult, MediaSnapshot
from loader.planning.failure_history import FailureHistory
from loader.storage.inventory import ItemKey

log = logging.getLogger("loader")


class MediaPoller:
    """Runs one poll at a time. `on_snapshot` is called in the thread of the poll when a snapshot is ready."""

    def __init__(
        self,
        queue_reader: TransferQueueReader,
        manifest_reader: ManifestReader,
        failures: FailureHistory,
        is_new: Callable[[str, ManifestResult], bool],
        stop: threading.Event,
        on_snapshot: Callable[[], None],
    ) -> None:
        """`is_new(campaign, result)`: whether this version of the campaign is not installed."""
        self._queue_reader, self._manifest_reader, self._failures = queue_reader, manifest_reader, failures
        self._is_new, self._stop, self._on_snapshot = is_new, stop, on_snapshot
        self._snapshot: MediaSnapshot | None = None
        self.polling = False

    def start_poll(self) -> None:
        """Start a poll, unless one is running."""
        if not self.polling:
            self.polling = True
            try:
                # A daemon, so that a store that hangs cannot keep the process from exiting.
                threading.Thread(target=self._run, name="poll", daemon=True).start()
            except RuntimeError:
                log.exception("The media bucket cannot be polled: no thread can be started")
                self._snapshot = _failed("no thread can be started")

    def take_snapshot(self) -> MediaSnapshot | None:
        """Return the snapshot of a finished poll, once; otherwise None."""
        snapshot, self._snapshot = self._snapshot, None
        if snapshot is not None:
            self.polling = False
        return snapshot

    def _run(self) -> None:
        try:
            snapshot = self._read()
        except BaseException as error:
            # Thread boundary: the next poll may succeed.
            log.exception("Unexpected error while polling the media bucket")
            snapshot = _failed(type(error).__name__)
        # Always leave a snapshot: `--once` waits for the result of a poll.
        self._snapshot = snapshot
        self._on_snapshot()

    def _read(self) -> MediaSnapshot:
        self._queue_reader.read()
        return self._with_etags(self._manifest_reader.read_all(self._stop))

    def _with_etags(self, snapshot: MediaSnapshot) -> MediaSnapshot:
        """Add ETags where only they show that an object was replaced: it has no hash, or its transfer failed before."""
        etags: dict[ItemKey, str] = {}
        problems: list[str] = []
        for name, result in snapshot.manifests.items():
            manifest = result.manifest
            if manifest is None or self._stop.is_set():
                continue
            try:
                if not self._needs_listing(name, result, manifest):
                    continue
                object_etags = self._manifest_reader.object_etags(name, manifest)
            except WorldError as error:
                problems.append(f"{name}: cannot list its objects to find changed ones: {error}")
                continue
            etags.update({ItemKey(name, content): etag for content, etag in object_etags.items()})
        return replace(snapshot, etags=etags, problems=tuple(problems))

    def _needs_listing(self, campaign: str, result: ManifestResult, manifest: Manifest) -> bool:
        """Return whether the campaign's objects must be listed. Raises WorldError if the disk cannot be read."""
        if campaign in self._failures.with_object_failures:
            return True
        return any(item.sha256 is None for item in manifest.content) and self._is_new(campaign, result)


def _failed(reason: str) -> MediaSnapshot:
    """Return the snapshot of a poll with an unexpected error. `reason` is shown in the portal, so it quotes no data."""
    text = f"the media bucket could not be read: unexpected error ({reason})"
    return MediaSnapshot({}, code=Code.INTERNAL, text=text)
