"""A complete load is a claim; size, hash and signature prove it, each by its rule."""

from __future__ import annotations

import json
from typing import Any

import pytest

from campaigns.models import Campaign
from fleet.choices import Verification
from fleet.state.verification import verification_level
from ifeportal.live.models import Change
from tests.support.polling_world import PollingWorld, load, rows, tail

pytestmark = pytest.mark.both_databases

SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def manifest(world: PollingWorld, *shas: str, signed: bool = False, version: int = 1) -> None:
    content = [{"name": f"item-{at}", "size": 100, **({"sha256": sha} if sha else {})} for at, sha in enumerate(shas)]
    body = json.dumps({"content": content, "version": version}).encode()
    world.media.put("ACME/2026-12/campaign.json", body)
    if signed:
        world.media.put("ACME/2026-12/campaign.json.dsse", b"{}")


def beat(world: PollingWorld, verified: bool | None, **more: object) -> None:
    held_campaigns = (
        [] if verified is None else [{"campaign": "2026-12", "items": 2, "bytes": 200, "verified": verified}]
    )
    body = {"schema": 1, "loader": "0.1.0", "state": "idle", "held": held_campaigns, **more}
    world.write("N1/loader.json", json.dumps(body).encode())


def arrive(world: PollingWorld) -> None:
    for at in range(2):
        world.progress(f"N1/2026-12/item-{at}", 100)


@pytest.mark.parametrize(
    ("hashed", "held_campaigns", "signed", "policy", "found"),
    [
        (False, None, False, "", Verification.SIZE),
        (False, {"verified": True, "items": 2}, True, "enforce", Verification.SIZE),
        (True, None, True, "enforce", Verification.NONE),
        (True, {"verified": False, "items": 2}, True, "enforce", Verification.NONE),
        (True, {"verified": True, "items": 1}, True, "enforce", Verification.NONE),
        (True, {"verified": True, "items": 2}, False, "enforce", Verification.HASH),
        (True, {"verified": True, "items": None}, True, "warn", Verification.HASH),
        (True, {"verified": True, "items": 2}, True, "enforce", Verification.SIGNED),
    ],
)
def test_the_rule(
    hashed: bool, held_campaigns: dict[str, Any] | None, signed: bool, policy: str, found: Verification
) -> None:
    assert verification_level(hashed=hashed, held=held_campaigns, items=2, signed=signed, policy=policy) is found


@pytest.mark.django_db
class TestThePortal:
    def test_a_manifest_without_a_hash_for_each_item_is_size_checked(self, world: PollingWorld) -> None:
        manifest(world, SHA, "")
        arrive(world)
        world.poll()
        assert (load().status, load().proof) == ("complete", "size")

    def test_a_hash_counts_once_the_loader_reports_the_campaign_as_verified(self, world: PollingWorld) -> None:
        manifest(world, SHA, SHA)
        arrive(world)
        beat(world, None)
        world.poll()
        assert (load().status, load().proof) == ("complete", "")
        rev = Change.objects.order_by("-rev").values_list("rev", flat=True)[0]
        world.later()
        beat(world, True)
        world.poll()
        assert load().proof == "hash"
        assert {change.state["proof"] for change in Change.objects.filter(rev__gt=rev, topic="load")} == {"hash"}
        before = rows()
        world.later()
        world.poll()
        assert rows() == before

    def test_signed_needs_a_signature_and_a_loader_that_takes_nothing_unsigned(self, world: PollingWorld) -> None:
        manifest(world, SHA, SHA)
        arrive(world)
        beat(world, True, signature_policy="enforce", queue_error="entries[0]: no such campaign", queue_version=7)
        world.poll()
        assert load().proof == "hash"
        row = tail()
        assert (row.signatures, row.queue_error, row.queue_version) == ("enforce", "entries[0]: no such campaign", 7)
        world.later()
        world.media.put("ACME/2026-12/campaign.json.dsse", b"{}")
        world.poll()
        assert (Campaign.objects.get().signed, load().proof) == (True, "signed")
        world.later()
        beat(world, True, signature_policy="warn")
        world.poll()
        assert load().proof == "hash"

    def test_a_load_that_is_no_longer_complete_is_not_verified(self, world: PollingWorld) -> None:
        manifest(world, SHA, SHA)
        arrive(world)
        beat(world, True)
        world.poll()
        world.later()
        manifest(world, SHA, SHA, SHA, version=2)
        world.poll()
        assert (load().status, load().proof) == ("loading", "")

    @pytest.mark.parametrize(
        "held_campaigns", ["all", [7], [{"campaign": 3}], [{"campaign": "2026-12", "verified": "yes"}]]
    )
    def test_a_heartbeat_of_any_shape_proves_nothing_and_breaks_nothing(
        self, world: PollingWorld, held_campaigns: object
    ) -> None:
        manifest(world, SHA, SHA)
        arrive(world)
        beat(world, None, held=held_campaigns, signature_policy=["enforce"], queue_error=17)
        world.poll()
        assert (load().status, load().proof) == ("complete", "")
