"""Looks into the media bucket on a thread of its own, so that a slow store never keeps the loop from turning.

A look reads the queue, the manifests, and where only the objects themselves can tell what has changed, their ETags.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from loader.contract.manifest import Manifest
from loader.errors import WorldError
from loader.media.manifest_reader import Lookout
from loader.media.queue_reader import Dispatch
from loader.media.snapshot import Look, Reading, Sight
from loader.planning.failure_history import FailureHistory
from loader.storage.inventory import ItemKey

log = logging.getLogger("loader")


class Eyes:
    """One look at a time. `seen` is called, on the thread of the look, when there is something to `take`."""

    def __init__(
        self,
        dispatch: Dispatch,
        lookout: Lookout,
        failures: FailureHistory,
        is_new: Callable[[str, Reading], bool],
        stop: threading.Event,
        seen: Callable[[], None],
    ) -> None:
        """`is_new(campaign, reading)`: another edition of the campaign is aboard, or none."""
        self._dispatch, self._lookout, self._failures = dispatch, lookout, failures
        self._is_new, self._stop, self._seen = is_new, stop, seen
        self._sight: Sight | None = None
        self.looking = False

    def begin(self) -> None:
        """Look, unless that is being done already."""
        if not self.looking:
            self.looking = True
            # A daemon: a store that hangs must not keep the process from ending.
            threading.Thread(target=self._run, name="look", daemon=True).start()

    def take(self) -> Sight | None:
        """What was seen since this was last asked."""
        sight, self._sight = self._sight, None
        if sight is not None:
            self.looking = False
        return sight

    def _run(self) -> None:
        try:
            sight = self._read()
        except BaseException as error:
            # The edge of a thread: the next look may fare better.
            log.exception("While looking into the media bucket")
            sight = _failed(type(error).__name__)
        # `--once` waits for the result of a look, whatever happened to it.
        self._sight = sight
        self._seen()

    def _read(self) -> Sight:
        self._dispatch.read()
        return self._with_etags(self._lookout.look(self._stop))

    def _with_etags(self, look: Look) -> Sight:
        """Where only the object itself can tell whether it is another one: no hash, or a failure to be forgotten."""
        etags: dict[ItemKey, str] = {}
        notes: list[str] = []
        for name, reading in look.readings.items():
            manifest = reading.manifest
            if manifest is None or self._stop.is_set():
                continue
            try:
                if not self._has_doubts(name, reading, manifest):
                    continue
                found = self._lookout.object_etags(name, manifest)
            except WorldError as error:
                notes.append(f"{name}: whether its objects are others now is not known: {error}")
                continue
            etags.update({(name, content): etag for content, etag in found.items()})
        return Sight(look, etags, tuple(notes))

    def _has_doubts(self, campaign: str, reading: Reading, manifest: Manifest) -> bool:
        """Whether its objects have to be asked. Raises WorldError where the disk cannot say."""
        if campaign in self._failures.with_object_failures:
            return True
        return any(item.sha256 is None for item in manifest.content) and self._is_new(campaign, reading)


def _failed(reason: str) -> Sight:
    """A look that ended in an error nobody translated; `reason` is shown on the ground, so it quotes nothing."""
    return Sight(Look({}, code="INTERNAL", text=f"the media bucket could not be read: unexpected error ({reason})"))
