"""A run with `--once` ends when nothing is left to do, and its exit code says how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from loader.agent.exit_rules import MAX_PASSES, RepublishCheck, RunState, exit_code, is_finished, should_give_up
from loader.contract.keys import manifest_key
from loader.contract.manifest import Item, Manifest, build_manifest
from loader.errors import Code, ExitCode
from loader.media.manifest_reader import ManifestReader
from loader.media.manifest_verifier import ManifestVerifier
from loader.media.snapshot import ManifestResult, MediaSnapshot
from loader.planning.model import PlanStep
from loader.s3.memory import MemoryBucket
from loader.transfer.task import TransferOutcome

DONE = RunState(blocked=False, link_down=False, replanning=False, reached=True, transfers_done=True, hooks_done=True)
FINE = MediaSnapshot({"c": ManifestResult("c")})


def outcomes(*codes: Code | None) -> Sequence[TransferOutcome]:
    return [TransferOutcome(PlanStep("c", Item(f"i{at}", 1), "fetch", 0), "", code) for at, code in enumerate(codes)]


@pytest.mark.parametrize(
    ("state", "gives_up", "finished"),
    [
        (DONE, False, True),
        (replace(DONE, transfers_done=False), False, False),
        (replace(DONE, hooks_done=False), False, False),
        (replace(DONE, replanning=True), False, False),
        (replace(DONE, blocked=True), True, True),
        (replace(DONE, blocked=True, replanning=True), False, False),
        (replace(DONE, blocked=True, link_down=True, replanning=True), True, False),
        (replace(DONE, link_down=True), False, True),
        (replace(DONE, reached=False), True, True),
        (replace(DONE, reached=False, transfers_done=False), False, False),
        (replace(DONE, reached=False, replanning=True), False, False),
    ],
)
def test_a_run_ends_when_nothing_is_left_or_nothing_can_be_done(
    state: RunState, gives_up: bool, finished: bool
) -> None:
    assert (should_give_up(state), is_finished(state)) == (gives_up, finished)


@pytest.mark.parametrize(
    ("snapshot", "codes", "other_failure", "expected"),
    [
        (FINE, [None, None], False, ExitCode.DONE),
        (FINE, [None, Code.HASH_MISMATCH], False, ExitCode.SOME_FAILED),
        (FINE, [None], True, ExitCode.SOME_FAILED),
        (MediaSnapshot({}, code=Code.FORBIDDEN), [], False, ExitCode.SOME_FAILED),
        (MediaSnapshot({"c": ManifestResult("c", code=Code.BAD_MANIFEST)}), [], False, ExitCode.SOME_FAILED),
        (MediaSnapshot({"c": ManifestResult("c", code=Code.UNSIGNED)}), [Code.IO_ERROR], True, ExitCode.REFUSED),
    ],
)
def test_the_exit_code_identifies_the_failure(
    snapshot: MediaSnapshot, codes: Sequence[Code | None], other_failure: bool, expected: ExitCode
) -> None:
    assert exit_code(snapshot, outcomes(*codes), other_failure=other_failure) is expected


def test_a_failed_object_calls_for_another_pass_only_if_its_campaign_was_published_again() -> None:
    media = MemoryBucket("media")
    reader = ManifestReader("ACME", (), media, ManifestVerifier("off", "ACME", "N1"))

    def publish(size: int) -> None:
        media.put(manifest_key("ACME", "c"), build_manifest(Manifest(content=(Item("i0", size),), airline="ACME")))

    publish(1)
    manifests, check = {"c": reader.read("c")}, RepublishCheck(reader)
    assert not check.was_republished(outcomes(Code.OBJECT_GONE), manifests)
    publish(2)
    assert not RepublishCheck(reader).was_republished(outcomes(Code.NO_SPACE), manifests)
    assert not RepublishCheck(reader).was_republished(outcomes(Code.OBJECT_GONE), {})
    passes = [check.was_republished(outcomes(Code.OBJECT_GONE), manifests) for _ in range(MAX_PASSES)]
    assert passes == [True, False, False]
