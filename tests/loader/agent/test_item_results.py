"""An item that failed is not tried again while that would only fail again; with `--once`, not in the same run."""

from __future__ import annotations

import pytest

from loader.agent.item_results import ItemResults
from loader.contract.manifest import Item
from loader.errors import Code
from loader.media.snapshot import ManifestResult, MediaSnapshot
from loader.planning.failure_history import FailureHistory
from loader.planning.model import Action, PlanStep
from loader.storage.inventory import ItemKey, ManifestVersion
from loader.transfer.task import TransferOutcome

KEY = ItemKey("c", "a")


def snapshot(digest: str = "one", etag: str = "tag") -> MediaSnapshot:
    return MediaSnapshot({"c": ManifestResult("c", manifest_version=ManifestVersion(digest))}, etags={KEY: etag})


def outcome(code: Code | None, action: Action = "fetch") -> TransferOutcome:
    return TransferOutcome(PlanStep("c", Item("a", 1), action, 0), "one", code, "tag")


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize(
    ("code", "blocks"), [(None, False), (Code.HASH_MISMATCH, True), (Code.TIMEOUT, False), (Code.NO_SPACE, False)]
)
def test_a_failure_blocks_an_item_if_a_retry_is_pointless_or_the_run_is_the_only_one(
    code: Code | None, blocks: bool, once: bool
) -> None:
    results = ItemResults(FailureHistory(), once=once)
    results.add([outcome(code)])
    assert results.blocked_items(snapshot()) == ({KEY: code} if blocks or (once and code) else {})


@pytest.mark.parametrize("now", [snapshot(digest="two"), snapshot(etag="other")])
def test_a_new_manifest_or_object_ends_the_block(now: MediaSnapshot) -> None:
    results = ItemResults(FailureHistory(), once=True)
    results.add([outcome(Code.HASH_MISMATCH)])
    assert results.blocked_items(now) == {}


def test_an_item_that_was_refused_for_lack_of_space_is_planned_again() -> None:
    results = ItemResults(FailureHistory(), once=True)
    results.add([outcome(Code.NO_SPACE, "refuse")])
    assert results.blocked_items(snapshot()) == {}
    assert len(results.failed) == 1


def test_an_item_that_is_no_longer_planned_is_forgotten() -> None:
    results = ItemResults(FailureHistory(), once=False)
    results.add([outcome(Code.TIMEOUT)])
    results.drop_unplanned({KEY})
    assert len(results.outcomes) == 1
    results.drop_unplanned(set())
    assert results.outcomes == []
