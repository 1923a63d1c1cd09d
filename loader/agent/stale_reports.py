"""Removes reports about items that are no longer on the aircraft from the status bucket."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping

from loader.agent.local_content import LocalContent
from loader.contract.transfer_queue import TransferQueue
from loader.errors import WorldError
from loader.media.snapshot import ManifestResult
from loader.reporting.reporter import StatusReporter


class StaleReports:
    """Reports about items that are not on disk. Another machine that loaded this tail may have written them."""

    def __init__(self, local_content: LocalContent, reporter: StatusReporter) -> None:
        self._local_content, self._reporter = local_content, reporter
        self._checked: object = None  # the inputs of the last check

    def remove(
        self, manifests: Mapping[str, ManifestResult], queue: TransferQueue | None, planned: Collection[str]
    ) -> None:
        """Remove them, unless nothing changed since the last check. `planned`: the campaigns that the plan loads."""
        with contextlib.suppress(WorldError):  # planning has announced the failed disk already
            versions = tuple(
                (name, result.manifest_version.digest, self._local_content.differs_from_installed(name, result))
                for name, result in manifests.items()
            )
            inputs = (queue, versions, self._reporter.has_listing)
            if inputs == self._checked:
                return
            for campaign, items in self._find(manifests, queue, planned):
                self._reporter.remove_items(campaign, items)
            self._checked = inputs

    def _find(
        self, manifests: Mapping[str, ManifestResult], queue: TransferQueue | None, planned: Collection[str]
    ) -> Iterator[tuple[str, set[str]]]:
        purged = {entry.campaign for entry in (queue.entries if queue else None) or () if entry.action == "purge"}
        for name, items in self._reporter.reported_items().items():
            result = manifests.get(name)
            if name in purged and name not in planned and not self._local_content.has_items(name):
                yield name, items
            elif result and result.manifest and not self._local_content.differs_from_installed(name, result):
                yield name, items - {item.name for item in result.manifest.content}
