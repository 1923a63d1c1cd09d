"""Carries out one step of a plan: downloads, links or verifies an item, and reports the result.

Reads the media bucket through `loader.transfer.download` and writes one content directory through
`loader.storage.content_store`. What to do was decided by `loader.planning.planner`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from loader.contract.keys import content_key, other_content_keys
from loader.contract.names import TGZ
from loader.contract.units import MIB
from loader.errors import Code, Stopped, WorldError
from loader.frozen import frozen
from loader.media.manifest_reader import ManifestReader
from loader.media.snapshot import ManifestResult
from loader.monitor.events import (
    EventListener,
    ItemFailed,
    ItemFinished,
    ItemProgress,
    ItemRetrying,
    ItemStarted,
    ItemStopped,
)
from loader.planning.model import PlanStep
from loader.reporting.reporter import StatusReporter
from loader.s3.interface import Body
from loader.storage.content_store import ContentStore
from loader.storage.inventory import FileState
from loader.storage.partial_file import PartialFile
from loader.transfer.context import DownloadContext
from loader.transfer.download import download_item

log = logging.getLogger("loader")


@frozen
class TransferOutcome:
    """The result of a step: `code` is None if the item is complete.

    `etag`: of the object, as the listing had it before the step; if it was not listed, as the object that was read last
    had it. Stores may give an object another ETag in a listing than in the response to a GET. `digest`: of the manifest
    that the step was planned for.
    """

    step: PlanStep
    digest: str
    code: Code | None = None
    etag: str = ""


@dataclass(frozen=True)
class TaskContext:
    """What all steps share. `reserve`: bytes to leave free in each content directory.

    `on_installed(campaign, content, store)` is called for each item and, with an empty content, for each campaign that
    is durable. `has_failed_hook(campaign, content)`: the command failed for the item.
    """

    airline: str
    stores: Sequence[ContentStore]
    download: DownloadContext
    manifest_reader: ManifestReader
    reporter: StatusReporter
    listener: EventListener
    reserve: int = 0
    on_installed: Callable[[str, str, int], None] = lambda campaign, content, store: None
    has_failed_hook: Callable[[str, str], bool] = lambda campaign, content: False


class TransferTask:
    """One step being carried out. `run` blocks; `cancel` may be called from any thread."""

    def __init__(
        self,
        step: PlanStep,
        result: ManifestResult,
        etag: str,
        context: TaskContext,
        *,
        maybe_done: bool = False,
        on_received: Callable[[TransferTask], None] = lambda task: None,
    ) -> None:
        """`etag`: of the object in the last listing, empty if unknown.

        `maybe_done`: the item may have been completed after the plan was made. `on_received` is called once all bytes
        of the item have arrived and have the right hash, before they are synced to disk.
        """
        self._maybe_done, self._on_received = maybe_done, on_received
        self.step = step
        self.stop = threading.Event()
        self._manifest_version, self._listed_etag, self._context = result.manifest_version, etag, context
        self._store = context.stores[step.store]
        self._bodies: set[Body] = set()
        self._lock = threading.Lock()
        self._bytes_done = 0
        self._clear_at: int | None = None
        self._etag = ""

    def run(self) -> TransferOutcome | None:
        """Carry out the step. Return None if it was cancelled."""
        step, context = self.step, self._context
        try:
            if not self._is_available():
                self._fetch()
            self._report_success()
        except Stopped:
            context.listener.handle(ItemStopped(step.campaign, step.item.name))
            return None
        except WorldError as error:
            return self._failed(self._explain(error))
        except BaseException as error:
            # The edge of a thread: the other items continue.
            log.exception("Failed to load %s/%s%s", step.campaign, step.item.name, TGZ)
            return self._failed(WorldError(Code.INTERNAL, f"unexpected error ({type(error).__name__})"))
        return self.outcome()

    def outcome(self, code: Code | None = None) -> TransferOutcome:
        etag = (self._listed_etag or self._etag) if code else ""
        return TransferOutcome(self.step, self._manifest_version.digest, code, etag)

    def cancel(self) -> None:
        """End `run` soon, even while it waits for a byte. The bytes stay on disk."""
        self.stop.set()
        with self._lock:
            bodies = list(self._bodies)
        for body in bodies:
            body.abort()

    def _is_available(self) -> bool:
        """Complete the item without a download: link it, verify it, or find it complete. False if that fails."""
        step = self.step
        if self._maybe_done:
            state = self._store.item_state(step.campaign, step.item, self._listed_etag)
            if state.file is FileState.COMPLETE or state.staged:
                return True
        if step.action == "link":
            return self._store.link_duplicate(step.campaign, step.item, self._manifest_version, staged=step.staged)
        if step.action == "verify":
            self._context.listener.notice(
                "verify", f"{step.campaign}/{step.item.name}{TGZ}: verifying the existing file"
            )
            return self._store.verify(step.campaign, step.item, self._listed_etag, self._manifest_version, self.stop)
        return False

    def _fetch(self) -> None:
        step, context, store = self.step, self._context, self._store
        with store.open_partial(step.campaign, step.item, self._manifest_version) as part:
            part.resume(self.stop)
            missing, free = part.missing, (store.space().free or 0) - context.reserve
            if missing > max(0, free):
                text = f"{missing} bytes are still to be fetched and {max(0, free)} may be used"
                raise WorldError(Code.NO_SPACE, text)
            self._start(part.bytes_done)

            def finish() -> None:
                if part.is_intact:  # else it is downloaded once more
                    self._on_received(self)
                store.install(
                    step.campaign, part, self._manifest_version, staged=step.staged, listed_etag=self._listed_etag
                )

            try:
                self._download(part, finish)
            finally:
                part.save()

    def _download(self, part: PartialFile, finish: Callable[[], None]) -> None:
        """Download the object of the item, or the one with an ending in capitals if there is no other."""
        names = self._context.airline, self.step.campaign, self.step.item.name
        context = replace(self._context.download, stop=self.stop)
        try:
            download_item(content_key(*names), part, context, self, finish)
        except WorldError as error:
            if error.code != Code.OBJECT_GONE:
                raise
            key = self._find_other_key(names)
            if key is None:
                raise
            download_item(key, part, context, self, finish)

    def _find_other_key(self, names: tuple[str, str, str]) -> str | None:
        """Return another key at which the object is; None if there is none, or the store does not say."""
        try:
            return next((key for key in other_content_keys(*names) if self._exists(key)), None)
        except WorldError:
            return None

    def _exists(self, key: str) -> bool:
        return any(found.key == key for found in islice(self._context.download.media.list(key), 1))

    def _report_success(self) -> None:
        step, context, size = self.step, self._context, self.step.item.size
        context.reporter.progress(step.campaign, step.item.name, size, size, final=not step.staged)
        context.reporter.clear_error(step.campaign, step.item.name)
        context.listener.handle(
            ItemFinished(step.campaign, step.item.name, size, verified=step.item.sha256 is not None)
        )
        if not step.staged:
            context.on_installed(step.campaign, step.item.name, step.store)

    def _explain(self, error: WorldError) -> WorldError:
        """Add to NO_SPACE what is missing: bytes besides the reserve, or inodes."""
        if error.code is not Code.NO_SPACE:
            return error
        try:
            return WorldError(error.code, f"{error}; {self._store.why_full(self._context.reserve)}")
        except WorldError:
            return error

    def _failed(self, error: WorldError) -> TransferOutcome:
        step = self.step
        self._context.reporter.error(step.campaign, step.item.name, error.code, str(error))
        self._context.listener.handle(ItemFailed(step.campaign, step.item.name, error.code, str(error)))
        return self.outcome(error.code)

    def _start(self, bytes_done: int) -> None:
        step, self._bytes_done = self.step, bytes_done
        self._clear_at = bytes_done + MIB  # an error of an earlier try is cleared once bytes arrive
        self._context.listener.handle(ItemStarted(step.campaign, step.item.name, bytes_done, step.item.size))
        self._context.reporter.progress(step.campaign, step.item.name, bytes_done, step.item.size)

    # Implements `loader.transfer.context.DownloadObserver`.

    def on_progress(self, bytes_done: int) -> None:
        step, gained = self.step, max(0, bytes_done - self._bytes_done)
        self._bytes_done = bytes_done
        self._context.reporter.progress(step.campaign, step.item.name, bytes_done, step.item.size)
        self._context.listener.handle(ItemProgress(step.campaign, step.item.name, bytes_done, step.item.size, gained))
        if self._clear_at is not None and bytes_done >= self._clear_at:
            self._clear_at = None
            self._context.reporter.clear_error(step.campaign, step.item.name)

    def on_retry(self, error: WorldError, wait: float, failures: int) -> None:
        step = self.step
        self._context.listener.handle(ItemRetrying(step.campaign, step.item.name, error.code, str(error), wait))
        # A single failed try is not reported to the ground. The report is cleared once bytes arrive again.
        if failures > 1 or not wait:
            self._context.reporter.error(step.campaign, step.item.name, error.code, str(error))
            self._clear_at = self._bytes_done + MIB

    def is_still_listed(self) -> bool:
        return self._context.manifest_reader.still_lists(self.step.campaign, self.step.item)

    def on_body_opened(self, body: Body | None) -> None:
        with self._lock:
            self._bodies = {body} if body is not None else set()
        if body is not None:
            self._etag = body.etag
