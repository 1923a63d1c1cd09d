"""Outcomes of the items in the current plan, and the items that are not retried for now. Stored in memory only."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

from loader.errors import Code
from loader.media.snapshot import MediaSnapshot
from loader.planning.failure_history import FailureHistory
from loader.storage.inventory import ItemKey
from loader.transfer.task import TransferOutcome


class ItemResults:
    """The newest outcome of each item. `once`: an item that failed is not retried in this run."""

    def __init__(self, failures: FailureHistory, *, once: bool) -> None:
        self._failures, self._once = failures, once
        self._outcomes: dict[ItemKey, TransferOutcome] = {}

    @property
    def outcomes(self) -> list[TransferOutcome]:
        return list(self._outcomes.values())

    @property
    def failed(self) -> list[TransferOutcome]:
        return [outcome for outcome in self._outcomes.values() if outcome.code]

    def add(self, outcomes: Iterable[TransferOutcome]) -> None:
        for outcome in outcomes:
            key = outcome.step.key
            self._outcomes[key] = outcome
            if outcome.step.action not in ("blocked", "refuse"):
                self._failures.record(key, outcome.code, outcome.digest, outcome.etag, time.monotonic())

    def drop_unplanned(self, planned: Collection[ItemKey]) -> None:
        self._outcomes = {key: outcome for key, outcome in self._outcomes.items() if key in planned}

    def blocked_items(self, snapshot: MediaSnapshot) -> dict[ItemKey, Code]:
        """Return the codes of the items that would only fail again, or that failed in a run with `--once`."""
        etags = snapshot.etags
        digests = {name: result.manifest_version.digest for name, result in snapshot.manifests.items()}
        blocked = self._failures.blocked_items(digests, etags, time.monotonic())
        if self._once:
            # The program that runs the loader once decides when to try again.
            blocked |= {
                key: outcome.code
                for key, outcome in self._outcomes.items()
                if outcome.code
                and outcome.step.action != "refuse"
                and (digests.get(key.campaign), etags.get(key, outcome.etag)) == (outcome.digest, outcome.etag)
            }
        return blocked
