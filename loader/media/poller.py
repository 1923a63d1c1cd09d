"""Polls the media bucket in a thread of its own, so that a slow store never stops the control loop.

A poll reads the queue, the manifests and, where only the objects can tell what changed, their ETags.
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
    """One look at a time.

    `on_snapshot` is called, on the thread of the look, when there is something to `take_snapshot`.
    """

    def __init__(
        self,
        queue_reader: TransferQueueReader,
        manifest_reader: ManifestReader,
        failures: FailureHistory,
        is_new: Callable[[str, ManifestResult], bool],
        stop: threading.Event,
        on_snapshot: Callable[[], None],
    ) -> None:
        """`is_new(campaign, reading)`: another edition of the campaign is aboard, or none."""
        self._queue_reader, self._manifest_reader, self._failures = queue_reader, manifest_reader, failures
        self._is_new, self._stop, self._on_snapshot = is_new, stop, on_snapshot
        self._snapshot: MediaSnapshot | None = None
        self.polling = False

    def start_poll(self) -> None:
        """Look, unless that is being done already."""
        if not self.polling:
            self.polling = True
            # A daemon: a store that hangs must not keep the process from ending.
            threading.Thread(target=self._run, name="look", daemon=True).start()

    def take_snapshot(self) -> MediaSnapshot | None:
        """What was seen since this was last asked."""
        snapshot, self._snapshot = self._snapshot, None
        if snapshot is not None:
            self.polling = False
        return snapshot

    def _run(self) -> None:
        try:
            snapshot = self._read()
        except BaseException as error:
            # The edge of a thread: the next look may fare better.
            log.exception("While looking into the media bucket")
            snapshot = _failed(type(error).__name__)
        # `--once` waits for the result of a look, whatever happened to it.
        self._snapshot = snapshot
        self._on_snapshot()

    def _read(self) -> MediaSnapshot:
        self._queue_reader.read()
        return self._with_etags(self._manifest_reader.read_all(self._stop))

    def _with_etags(self, snapshot: MediaSnapshot) -> MediaSnapshot:
        """Where only the object itself can tell whether it is another one: no hash, or a failure to be forgotten."""
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
                problems.append(f"{name}: whether its objects are others now is not known: {error}")
                continue
            etags.update({ItemKey(name, content): etag for content, etag in object_etags.items()})
        return replace(snapshot, etags=etags, problems=tuple(problems))

    def _needs_listing(self, campaign: str, result: ManifestResult, manifest: Manifest) -> bool:
        """Whether its objects have to be asked. Raises WorldError where the disk cannot say."""
        if campaign in self._failures.with_object_failures:
            return True
        return any(item.sha256 is None for item in manifest.content) and self._is_new(campaign, result)


def _failed(reason: str) -> MediaSnapshot:
    """A look that ended in an error nobody translated; `reason` is shown on the ground, so it quotes nothing."""
    text = f"the media bucket could not be read: unexpected error ({reason})"
    return MediaSnapshot({}, code=Code.INTERNAL, text=text)
