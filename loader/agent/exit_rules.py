"""Rules of `--once`: when the loader ends, and with which exit code.

`should_give_up`, `is_finished` and `exit_code` are pure. `RepublishCheck` reads manifests from the media bucket.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from loader.errors import Cause, ExitCode
from loader.frozen import frozen
from loader.media.manifest_reader import ManifestReader
from loader.media.snapshot import ManifestResult, MediaSnapshot
from loader.transfer.task import TransferOutcome

MAX_PASSES: Final = 3  # of one run, if campaigns are published again while they are loaded


@frozen
class RunState:
    """State of a run with `--once`.

    `blocked`: nothing may be loaded now, and nothing is being loaded. `link_down`: the link was checked and is down.
    `replanning`: a poll or a plan is due. `reached`: the media bucket answered the last poll.
    """

    blocked: bool
    link_down: bool
    replanning: bool
    reached: bool
    transfers_done: bool
    hooks_done: bool


def should_give_up(state: RunState) -> bool:
    """Return whether the run ends because it cannot go on; it does not wait for the link or for allowed hours."""
    if state.blocked and state.link_down:
        return True
    return not state.replanning and (state.blocked or (state.transfers_done and not state.reached))


def is_finished(state: RunState) -> bool:
    """Return whether nothing is left to do in this pass."""
    return not state.replanning and state.transfers_done and state.hooks_done


def exit_code(snapshot: MediaSnapshot, outcomes: Iterable[TransferOutcome], *, other_failure: bool) -> ExitCode:
    """Return the exit code of a finished run. `other_failure`: of a disk, a hook or the activation of a campaign."""
    if snapshot.refused:
        return ExitCode.REFUSED
    campaign_failed = any(result.code for result in snapshot.manifests.values())
    item_failed = any(outcome.code for outcome in outcomes)
    failed = snapshot.code or campaign_failed or item_failed or other_failure
    return ExitCode.SOME_FAILED if failed else ExitCode.DONE


class RepublishCheck:
    """Checks whether a campaign with a failed object was published again meanwhile; then another pass may succeed."""

    def __init__(self, manifest_reader: ManifestReader) -> None:
        self._manifest_reader = manifest_reader
        self._passes = 0

    def was_republished(self, failed: Sequence[TransferOutcome], manifests: Mapping[str, ManifestResult]) -> bool:
        """Read the manifests of the campaigns concerned again. Always False after `MAX_PASSES` passes."""
        self._passes += 1
        if self._passes >= MAX_PASSES:
            return False
        campaigns = {outcome.step.campaign for outcome in failed if outcome.code and outcome.code.cause is Cause.OBJECT}
        return any(self._has_new_version(manifests[name]) for name in campaigns if name in manifests)

    def _has_new_version(self, before: ManifestResult) -> bool:
        current = self._manifest_reader.read(before.campaign)
        return current.manifest is not None and current.manifest_version != before.manifest_version
