"""A new snapshot replaces what the bucket answered, and keeps the rest of the one before."""

from __future__ import annotations

from loader.contract.manifest import Item, Manifest
from loader.errors import Code
from loader.media.snapshot import ManifestResult, MediaSnapshot

FILM = ManifestResult("film", Manifest(content=(Item("a", 1),)))
UNREACHABLE = ManifestResult("film", code=Code.TIMEOUT)
BROKEN = ManifestResult("film", code=Code.BAD_MANIFEST)
BEFORE = MediaSnapshot({"film": FILM})


def test_a_manifest_that_cannot_be_read_counts_as_unchanged() -> None:
    assert MediaSnapshot({"film": UNREACHABLE}).merged_with(BEFORE).manifests == {"film": FILM}
    assert MediaSnapshot({"film": UNREACHABLE}).merged_with(MediaSnapshot({})).manifests == {"film": UNREACHABLE}


def test_a_manifest_that_is_refused_replaces_the_one_before() -> None:
    assert MediaSnapshot({"film": BROKEN}).merged_with(BEFORE).manifests == {"film": BROKEN}


def test_a_campaign_is_withdrawn_only_if_the_bucket_could_be_listed() -> None:
    assert MediaSnapshot({}).merged_with(BEFORE).manifests == {}
    assert MediaSnapshot({}, code=Code.FORBIDDEN).merged_with(BEFORE).manifests == {"film": FILM}


def test_a_request_for_a_campaign_missing_from_the_snapshot_is_refused_with_a_reason() -> None:
    assert BEFORE.why_missing("film", None) is None
    assert BEFORE.why_missing("film", "a") is None
    assert BEFORE.why_missing("film", "b") == "The campaign 'film' has no content 'b'"
    assert BEFORE.why_missing("song", None) == "There is no campaign 'song' to load on this aircraft"
    assert MediaSnapshot({"film": BROKEN}).why_missing("film", None) is not None
