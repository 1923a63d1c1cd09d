"""Completes a campaign once nothing of it is left to transfer.

Removes stale partial files, gives staged items their final names and records the complete version in each content
directory. An error is reported as the campaign's; completion is tried again after the next plan or transfer.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from loader.contract.manifest import Manifest
from loader.errors import Code, WorldError
from loader.media.snapshot import ManifestResult
from loader.monitor.events import CampaignActivated, CampaignFailed
from loader.planning.model import Plan, PlanStep
from loader.storage.inventory import ManifestVersion
from loader.transfer.task import TaskContext

log = logging.getLogger("loader")


@dataclass
class PlannedCampaign:
    """One campaign of the current plan. `missing`: names of the items that are not complete on disk."""

    result: ManifestResult
    steps: dict[str, PlanStep] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)

    @property
    def is_complete(self) -> bool:
        """True if no item is missing and the plan has all items of the manifest."""
        manifest = self.result.manifest
        return not self.missing and manifest is not None and len(self.steps) == len(manifest.content)


def group_by_campaign(plan: Plan, manifests: Mapping[str, ManifestResult]) -> dict[str, PlannedCampaign]:
    campaigns: dict[str, PlannedCampaign] = {}
    for step in plan.steps:
        campaign = campaigns.setdefault(step.campaign, PlannedCampaign(manifests[step.campaign]))
        campaign.steps[step.item.name] = step
        if step.action != "keep":
            campaign.missing.add(step.item.name)
    return campaigns


class CampaignCompletion:
    """Completes one campaign at a time and remembers what it completed.

    A completion holds `lock`. A thread that needs the lock of the transfers as well acquires `lock` first.
    """

    def __init__(self, context: TaskContext) -> None:
        self.lock = threading.Lock()
        self._context = context
        # The manifest digest, and whether all of the campaign was planned. Written by any thread, one key at a time.
        self._completed: dict[str, tuple[str, bool]] = {}

    def is_completed(self, name: str) -> bool:
        return name in self._completed

    def forget(self, name: str) -> None:
        """Complete the campaign again when it is next due: one of its items was transferred."""
        self._completed.pop(name, None)

    def complete_if_due(self, name: str, find_idle: Callable[[str], PlannedCampaign | None]) -> None:
        """Complete the campaign unless that was done. `find_idle` returns None while items of it are in transfer."""
        with self.lock:
            campaign = find_idle(name)
            if campaign is None:
                return
            state = (campaign.result.manifest_version.digest, campaign.is_complete)
            if self._completed.get(name) == state:
                return
            try:
                self._complete(name, campaign)
                self._completed[name] = state
            except WorldError as error:
                self._report(name, error)
            except Exception as error:
                # Callers are the edges of threads: the other campaigns continue.
                log.exception("Failed to complete %s", name)
                self._report(name, WorldError(Code.INTERNAL, f"unexpected error ({type(error).__name__})"))

    def _report(self, name: str, error: WorldError) -> None:
        self._context.reporter.campaign_error(name, error.code, str(error))
        self._context.listener.handle(CampaignFailed(name, error.code, str(error)))

    def _complete(self, name: str, campaign: PlannedCampaign) -> None:
        manifest, stores = campaign.result.manifest, self._context.stores
        if manifest is None:
            return
        for store in stores:
            store.remove_stale_partials(name, manifest.content)
        if campaign.missing:
            return
        steps = list(campaign.steps.values())
        if not campaign.is_complete and any(step.staged for step in steps):
            for store in stores:
                store.mark_incomplete(name)  # with items of two versions in place, neither is complete
        for store in stores:
            store.activate_staged(name, [step.item for step in steps])
        if campaign.is_complete:
            self._mark_complete(name, manifest, campaign.result.manifest_version)
        for step in steps:
            size = step.item.size
            self._context.reporter.progress(name, step.item.name, size, size, final=True)
            if step.staged:
                self._context.on_installed(name, step.item.name, step.store)
        if campaign.is_complete:
            self._context.on_installed(name, "", next((step.store for step in steps), 0))

    def _mark_complete(self, name: str, manifest: Manifest, manifest_version: ManifestVersion) -> None:
        for store in self._context.stores:
            store.mark_complete(
                name, manifest.content, manifest_version, exhibition=manifest.exhibition, title=manifest.title
            )
        self._context.listener.handle(CampaignActivated(name))
