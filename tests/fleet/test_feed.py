"""A poll publishes its changes in the same transaction, with the API's serialisation."""

from __future__ import annotations

import json

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
from ifeportal.live.models import Change
from ifeportal.models import Airline
from tests.support.polling_world import PollingWorld, load, transfer

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def newest(topic: str) -> dict[int, object]:
    return {change.object: change.state for change in Change.objects.filter(topic=topic, op="put")}


def test_every_row_is_in_the_feed_as_the_api_shows_it(world: PollingWorld) -> None:
    world.manifest(items={"a": 1000, "b": 1000}, exhibition={"starts": "2026-12-01"})
    world.progress("N1/2026-12/a", 100)
    world.error("N2/2026-12/b", "IO_ERROR: disk")
    world.write("N2/loader.json", b'{"state": "idle"}')
    world.poll()
    world.later()
    world.progress("N1/2026-12/a", 300)
    world.poll()
    one = transfer("a")
    assert newest("transfer")[one.pk] == json.loads(json.dumps(serialize_transfer(one)))
    assert newest("transfer")[one.pk]["rate_bps"] == 100  # type: ignore[index]
    assert newest("load") == {row.pk: serialize_load(row) for row in (load("N1"), load("N2"))}
    assert newest("tail") == {row.pk: serialize_tail(row) for row in rollup.tails(Tail.objects.all())}
    assert newest("campaign") == {row.pk: serialize_campaign(row) for row in rollup.campaigns(Campaign.objects.all())}
    assert newest("airline") == {row.pk: serialize_airline(row) for row in rollup.airlines(Airline.objects.all())}
    places = Change.objects.get(topic="transfer", object=one.pk)
    assert (places.airline, places.tail, places.campaign) == (Airline.objects.get(name="ACME"), "N1", "2026-12")


def test_a_heartbeat_alone_publishes_the_tail_only(world: PollingWorld) -> None:
    world.write("N1/loader.json", b'{"state": "idle"}')
    world.poll()
    before = Change.objects.order_by("-rev")[0].rev
    world.later()
    world.write("N1/loader.json", b'{"state": "loading"}')
    world.poll()
    assert [change.topic for change in Change.objects.filter(rev__gt=before)] == ["tail"]


def test_figures_of_an_unknown_total_are_null_never_zero(world: PollingWorld) -> None:
    world.progress("N1/2026-12/a", 100)
    world.poll()
    for topic in ("transfer", "load", "tail", "campaign", "airline"):
        (state,) = newest(topic).values()
        assert isinstance(state, dict)
        assert (state["bytes_done"], state["bytes_total"], state["percent"]) == (100, None, None), topic


def test_the_sums_above_loads_leave_out_what_has_no_total(world: PollingWorld) -> None:
    world.manifest(items={"a": 1000})
    world.progress("N1/2026-12/a", 100)
    world.progress("N1/2027-01/x", 5000)
    world.poll()
    row = serialize_tail(rollup.tails(Tail.objects.all()).get())
    assert (row["bytes_done"], row["bytes_total"], row["percent"]) == (100, 1000, 10)
    assert (row["loads"], row["loads_unknown"], row["loading"]) == (2, 1, 2)


def test_sums_need_one_query_for_any_number_of_rows(world: PollingWorld, django_assert_num_queries: object) -> None:
    for number in range(5):
        world.progress(f"N{number}/2026-12/a", 100)
    world.poll()
    with django_assert_num_queries(3):  # type: ignore[operator]
        assert len([serialize_tail(row) for row in rollup.tails(Tail.objects.all())]) == 5
        assert [serialize_campaign(row)["tails"] for row in rollup.campaigns(Campaign.objects.all())] == [5]
        assert [serialize_airline(row)["tails"] for row in rollup.airlines(Airline.objects.all())] == [5]


def test_a_row_from_elsewhere_has_no_sums(world: PollingWorld) -> None:
    world.progress("N1/2026-12/a", 100)
    world.poll()
    with pytest.raises(AttributeError, match=r"fleet\.stats\.rollup"):
        serialize_tail(Tail.objects.get())


def test_rate_and_time_left_of_a_load_come_from_its_reports(world: PollingWorld) -> None:
    world.manifest(items={"a": 10_000, "b": 10_000})
    for step in range(5):
        world.progress("N1/2026-12/a", 1000 * step)
        world.progress("N1/2026-12/b", 1000 * step)
        world.poll()
        world.later(10)
    assert (load().rate_bps, load().eta_seconds) == (200, 60)
    assert (transfer("a").rate_bps, transfer("a").eta_seconds) == (100, 60)
    assert load().samples.count() == 4
