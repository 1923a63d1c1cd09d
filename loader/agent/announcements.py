"""Announces problems, plans and totals to the listener and the status bucket, each only when it changes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from loader.media.snapshot import ManifestResult, MediaSnapshot
from loader.monitor.events import CampaignFailed, EventListener, PlanChanged, PlanStarted
from loader.planning.model import Plan
from loader.reporting.reporter import StatusReporter
from loader.transfer.task import TransferOutcome


class Announcements:
    """Remembers the last text of each key, so that the same text is not sent twice in a row."""

    def __init__(self, listener: EventListener, reporter: StatusReporter) -> None:
        self._listener, self._reporter = listener, reporter
        self._last_texts: dict[str, str] = {}

    def notice(self, event: str, key: str, text: str, **fields: object) -> None:
        """Send a notice if `text` is new for this key. An empty text sends nothing and resets the key."""
        if self._is_new(key, text) and text:
            self._listener.notice(event, text, **fields)

    def snapshot(self, snapshot: MediaSnapshot, queue_problem: str, failed: Collection[str]) -> None:
        """Announce what is wrong in the media bucket. `failed`: campaigns with an error that is not the manifest's."""
        self.notice("queue", "queue", queue_problem)
        for problem in snapshot.problems:
            self._listener.notice("listing", problem)
        for text in snapshot.ignored_prefixes:
            self.notice("prefix", text, text)
        for prefix in snapshot.unpublished:
            text = f"{prefix.campaign} is not loaded, because it is not a campaign: {prefix.reason}"
            self.notice("prefix", f"prefix {prefix.campaign}", text)
            self._reporter.clear_campaign_error(prefix.campaign)  # older loaders reported an error here
        if not snapshot.reached:
            media_problem = f"The media bucket is unreachable: {snapshot.reason}"
        else:
            media_problem = f"{snapshot.code}: {snapshot.text}" if snapshot.code else ""
        self.notice("waiting", "media", media_problem, code=snapshot.code or "")
        for result in snapshot.manifests.values():
            self._manifest(result, has_other_error=result.campaign in failed)

    def _manifest(self, result: ManifestResult, *, has_other_error: bool) -> None:
        name = result.campaign
        self.notice("doubt", f"doubt {name}", f"{name}: {result.warning}" if result.warning else "")
        if not result.code:
            self._last_texts.pop(f"campaign {name}", None)
            if not has_other_error:
                self._reporter.clear_campaign_error(name)
        elif result.unreachable:
            self._listener.notice("waiting", f"{name}: {result.text}", campaign=name, code=result.code)
        elif self._is_new(f"campaign {name}", result.text):
            self._reporter.campaign_error(name, result.code, result.text)
            self._listener.handle(CampaignFailed(name, result.code, result.text))

    def plan(self, plan: Plan, snapshot: MediaSnapshot, *, transfers_done: bool) -> None:
        """Announce a plan; its size only if no transfer of an earlier plan is under way."""
        for name in plan.ended:
            self.notice("ended", f"ended {name}", f"{name}: skipped, because its exhibition has ended")
        for name, reason in plan.refused_removals:
            self.notice("kept", f"kept {name}", f"{name} is not removed: {reason}")
        results = snapshot.manifests.values()
        refused = {result.campaign: (result.code, result.text) for result in results if result.code}
        titles = {result.campaign: result.manifest.title for result in results if result.manifest}
        self._listener.handle(PlanChanged(plan.steps, refused, titles))
        todo = [step for step in plan.steps if step.action in ("fetch", "verify", "link")]
        is_new = self._is_new("plan", " ".join(f"{step.campaign}/{step.item.name}" for step in todo))
        if todo and is_new and transfers_done:
            self._listener.handle(
                PlanStarted(len(todo), sum(step.item.size for step in todo), sum(step.bytes_done for step in todo))
            )

    def totals(self, outcomes: Sequence[TransferOutcome]) -> None:
        if outcomes:
            failed = sum(bool(outcome.code) for outcome in outcomes)
            done = len(outcomes) - failed
            text = f"{done} items loaded, {failed} failed"
            self._listener.notice("pass", text, items=len(outcomes), done=done, failed=failed)

    def _is_new(self, key: str, text: str) -> bool:
        if self._last_texts.get(key, "") == text:
            return False
        self._last_texts[key] = text
        return True
