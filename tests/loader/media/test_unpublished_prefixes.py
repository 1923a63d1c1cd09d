"""A prefix that never had a manifest is not a campaign, and nothing is reported for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest

from loader.contract.keys import campaign_error_key, content_key, manifest_key, signature_key
from loader.contract.manifest import Item, Manifest, build_manifest
from loader.errors import Code, WorldError
from loader.media.manifest_reader import ManifestReader
from loader.media.manifest_verifier import ManifestVerifier, Policy
from loader.media.snapshot import MediaSnapshot
from loader.s3.interface import Names, ObjectInfo
from loader.s3.memory import MemoryBucket
from tests.support.aircraft import AIRLINE, TAIL, Aircraft, publish

MANIFEST = build_manifest(Manifest((Item("a", 1),), airline=AIRLINE, campaign="c", version=1))


class Listing(MemoryBucket):
    """Lists more prefixes than it has, and may fail to list one of them."""

    more: Names = []
    unlisted = ""

    def list_prefixes(self, prefix: str = "") -> Names:
        return [*super().list_prefixes(prefix), *self.more]

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        if self.unlisted and prefix.startswith(self.unlisted):
            raise WorldError(Code.TIMEOUT, f"LIST {prefix}: no answer")
        return super().list(prefix)


@pytest.fixture
def listing() -> Listing:
    return Listing("media")


def reader(listing: Listing, policy: Policy = "off", named: Sequence[str] = (), loaded: str = "") -> ManifestReader:
    verifier = ManifestVerifier(policy, AIRLINE, TAIL)
    return ManifestReader(AIRLINE, named, listing, verifier, was_loaded=lambda campaign: campaign == loaded)


def read(reader: ManifestReader) -> MediaSnapshot:
    return reader.read_all(threading.Event())


@pytest.mark.parametrize("policy", ["off", "warn", "enforce"])
@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (content_key(AIRLINE, "c", "a"), "it has no campaign.json yet"),
        (f"{AIRLINE}/c/poster.jpg", "it has no campaign.json yet"),
        (f"{AIRLINE}/c/sub/", "it is an empty folder"),
        (f"{AIRLINE}/c/", "it is an empty folder"),
    ],
)
def test_a_prefix_without_manifest_is_no_campaign_and_no_error(
    listing: Listing, policy: Policy, key: str, reason: str
) -> None:
    listing.put(key, b"")
    snapshot = read(reader(listing, policy))
    assert (snapshot.manifests, snapshot.code) == ({}, None)
    assert [(prefix.campaign, prefix.reason) for prefix in snapshot.unpublished] == [("c", reason)]


def test_a_prefix_becomes_a_campaign_with_its_manifest(listing: Listing) -> None:
    listing.put(content_key(AIRLINE, "c", "a"), b"x")
    loader = reader(listing)
    assert read(loader).manifests == {}
    listing.put(manifest_key(AIRLINE, "c"), MANIFEST)
    snapshot = read(loader)
    assert (snapshot.manifests["c"].code, snapshot.unpublished) == (None, ())


def test_a_manifest_that_was_there_and_vanished_is_an_error_also_in_a_later_run(listing: Listing) -> None:
    listing.put(content_key(AIRLINE, "c", "a"), b"x")
    listing.put(manifest_key(AIRLINE, "c"), MANIFEST)
    loader = reader(listing)
    read(loader)
    listing.delete(manifest_key(AIRLINE, "c"))
    assert read(loader).manifests["c"].code == "OBJECT_GONE"
    assert read(reader(listing, loaded="c")).manifests["c"].code == "OBJECT_GONE"


def test_a_campaign_named_by_an_option_is_an_error_without_manifest(listing: Listing) -> None:
    assert read(reader(listing, named=["c"])).manifests["c"].code == "OBJECT_GONE"
    listing.put(content_key(AIRLINE, "c", "a"), b"x")
    assert read(reader(listing, named=["c"])).manifests["c"].code == "OBJECT_GONE"


def test_a_manifest_without_the_envelope_that_is_required_is_an_error(listing: Listing) -> None:
    listing.put(manifest_key(AIRLINE, "c"), MANIFEST)
    assert read(reader(listing, "enforce")).manifests["c"].code == "UNSIGNED"
    listing.delete(manifest_key(AIRLINE, "c"))
    listing.put(signature_key(AIRLINE, "c"), b"{}")
    assert read(reader(listing)).manifests["c"].code == "OBJECT_GONE"


def test_a_listed_object_that_is_missing_is_reported(listing: Listing) -> None:
    listing.more = ["dec jan"]  # a plus that the store did not encode
    snapshot = read(reader(listing))
    assert snapshot.manifests == {}
    assert [prefix.campaign for prefix in snapshot.unpublished] == ["dec jan"]
    assert "no object is found below it" in snapshot.unpublished[0].reason


def test_a_prefix_that_is_no_campaign_conflicts_with_none(listing: Listing) -> None:
    listing.put(manifest_key(AIRLINE, "c"), MANIFEST)
    listing.put(content_key(AIRLINE, "C", "a"), b"x")
    snapshot = read(reader(listing))
    assert [(name, result.code) for name, result in snapshot.manifests.items()] == [("c", None)]
    listing.put(manifest_key(AIRLINE, "C"), b"[]")
    assert {result.code for result in read(reader(listing)).manifests.values()} == {Code.BAD_NAME}


def test_a_listing_that_fails_is_no_proof_of_anything(listing: Listing) -> None:
    listing.put(content_key(AIRLINE, "c", "a"), b"x")
    listing.unlisted = f"{AIRLINE}/c/"
    snapshot = read(reader(listing))
    assert (snapshot.manifests["c"].unreachable, snapshot.unpublished) == (True, ())


@pytest.mark.processes
def test_a_campaign_that_is_being_uploaded_and_an_empty_folder_fail_on_no_aircraft(aircraft: Aircraft) -> None:
    publish(aircraft.media, "good", {"a": b"film"})
    aircraft.media.put(content_key(AIRLINE, "next", "b"), b"uploaded, but not yet published")
    aircraft.media.put(f"{AIRLINE}/empty/", b"")
    # An older loader reported this error.
    aircraft.status.put(campaign_error_key(AIRLINE, TAIL, "next"), b"OBJECT_GONE: campaign.json does not exist\n")
    run = aircraft.load()
    assert (run.code, aircraft.errors()) == (0, {})
    assert {key.split("/")[2] for key in aircraft.reports()} == {"good", "loader.json"}
    messages = [str(event["text"]) for event in run.of("prefix")]
    assert any("next is not loaded" in text and "no campaign.json yet" in text for text in messages)
    publish(aircraft.media, "next", {"b": b"uploaded, but not yet published"}, put=[])
    assert aircraft.load().code == 0
    assert aircraft.path("next", "b").exists()
    aircraft.media.delete(manifest_key(AIRLINE, "next"))
    assert aircraft.load().code == 1
    assert aircraft.errors() == {"next": "OBJECT_GONE: campaign.json does not exist"}


@pytest.mark.processes
def test_a_named_campaign_without_manifest_fails(aircraft: Aircraft) -> None:
    aircraft.media.put(content_key(AIRLINE, "next", "b"), b"x")
    assert aircraft.load("--campaign", "next").code == 1
    assert aircraft.errors() == {"next": "OBJECT_GONE: campaign.json does not exist"}
