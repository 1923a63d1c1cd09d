"""Hand-made objects that follow only the two basic rules of the buckets, like those of a third-party loader."""

from __future__ import annotations

import pytest

from campaigns.models import Campaign
from fleet.models import Tail
from fleet.serialization import (
    serialize_airline,
    serialize_campaign,
    serialize_load,
    serialize_tail,
    serialize_transfer,
)
from fleet.stats import rollup
from ifeportal.models import Airline
from tests.support.polling_world import PollingWorld, load, rows, tail, transfer

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def test_airline_tail_and_campaign_are_discovered_with_right_percentages_everywhere(world: PollingWorld) -> None:
    world.media.put("NEW/2026-12/campaign.json", b'[{"name": "a.tgz", "size": 1000}, {"name": "b", "size": 3000}]')
    world.status.put("NEW/N1/2026-12/a.tgz.progress", b"1000\n")
    world.status.put("NEW/N1/2026-12/b.tgz.progress", b"500")
    world.status.put("NEW/N2/2026-12/b.tgz.error", b"disk said no")

    world.poll()

    airline = Airline.objects.get(name="NEW")
    assert airline.discovered
    assert not airline.memberships.exists()
    a = serialize_transfer(transfer("a", airline="NEW"))
    assert (a["status"], a["percent"], a["bytes_done"], a["bytes_total"]) == ("complete", 100, 1000, 1000)
    b = serialize_transfer(transfer("b", airline="NEW"))
    assert (b["status"], b["percent"]) == ("loading", 16)
    failed = serialize_transfer(transfer("b", "N2", airline="NEW"))
    assert (failed["status"], failed["error"], failed["error_code"]) == ("failed", "disk said no", "")
    assert transfer("a", "N2", airline="NEW").status == "pending"
    one = serialize_load(load("N1", airline="NEW"))
    assert (one["status"], one["percent"], one["items_total"], one["items_done"]) == ("loading", 37, 2, 1)
    two = serialize_load(load("N2", airline="NEW"))
    assert (two["status"], two["percent"], two["error"], two["error_content"]) == ("failed", 0, "disk said no", "b")
    assert serialize_tail(rollup.tails(Tail.objects.filter(name="N1")).get())["percent"] == 37
    assert serialize_campaign(rollup.campaigns(Campaign.objects.all()).get())["percent"] == 18
    whole = serialize_airline(rollup.airlines(Airline.objects.all()).get())
    assert (whole["status"], whole["percent"], whole["tails"], whole["failed"]) == ("failed", 18, 2, 1)
    assert (whole["bytes_done"], whole["bytes_total"]) == (1500, 8000)


def test_a_new_campaign_prefix_shows_up_within_one_poll(world: PollingWorld) -> None:
    world.progress("N1/2026-12/a", 5)
    world.poll()
    world.progress("N1/2027-01/a", 0)
    world.poll()
    assert load("N1", "2027-01").status == "pending"


def test_a_second_poll_changes_nothing_and_writes_nothing(
    world: PollingWorld, django_assert_num_queries: pytest.FixtureRequest
) -> None:
    world.manifest(items={"a": 100, "b": 100})
    world.progress("N1/2026-12/a", 50)
    world.progress("N1/2026-12/b", b"what?")
    world.error("N1/2026-12/b", "E")
    world.write("N1/2026-12/campaign.json.error", b"NO_SPACE: full")
    world.write("N1/loader.json", b"{}")
    world.status.put("ACME/rubbish", b"")
    first = world.poll()
    before = rows()
    world.later()
    second = world.poll()
    assert first.get_requests > 0
    assert (second.get_requests, second.objects_changed, second.transfers_changed) == (0, 0, 0)
    assert second.anomalies == first.anomalies == 2
    assert rows() == before
    assert tail().heartbeat_etag
