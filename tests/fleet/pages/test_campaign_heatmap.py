"""The data of the heat map: tails by items as compact JSON, now and at an earlier time."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext

from campaigns.models import Campaign
from fleet.choices import ServiceStatus, State
from fleet.models import Event, Load, ProgressSample, Tail, Transfer
from fleet.pages.campaign.heatmap import STATE_CODES
from tests.conftest import Cast
from tests.support.page_rows import GB, create_campaign, create_fleet, create_load, create_tail, now

PAGE = "/airlines/ACME/campaigns/2026-12/matrix/"


def drawn(client: Client, query: str = "") -> dict[str, Any]:
    answer = client.get(f"{PAGE}{query}")
    assert answer.status_code == 200
    assert isinstance(answer, HttpResponse)
    heat_map: dict[str, Any] = json.loads(answer.content)
    return heat_map


def line(heat_map: dict[str, Any], tail: str) -> str:
    names = [row[0] for row in heat_map["tails"]]
    return str(heat_map["cells"][names.index(tail)])


def test_every_state_has_a_letter_of_its_own() -> None:
    assert set(STATE_CODES) == set(State.values)
    assert len(set(STATE_CODES.values())) == len(STATE_CODES)


def test_the_letters_are_explained_in_the_order_of_weight(cast: Cast, alice: Client) -> None:
    create_campaign(cast.acme)
    assert list(drawn(alice)["states"].values()) == State.values


def test_each_cell_is_a_letter_with_details_for_loading_and_failed_cells(cast: Cast, alice: Client) -> None:
    campaign = create_campaign(cast.acme, items=4)
    for name, story in (("VP-A", "failed"), ("VP-B", "complete"), ("VP-C", "pending"), ("VP-D", "stalled")):
        create_load(create_tail(cast.acme, name), campaign, story)
    heat_map = drawn(alice)
    assert [item[0] for item in heat_map["items"]] == ["movie-001", "movie-002", "movie-003", "movie-004"]
    assert [line(heat_map, name) for name in ("VP-A", "VP-B", "VP-C", "VP-D")] == ["ccfp", "cccc", "pppp", "ccss"]
    failed = Transfer.objects.get(load__tail__name="VP-A", content="movie-003")
    assert failed.as_of is not None
    assert heat_map["moving"][0] == [[2, 61, 0, int(failed.as_of.timestamp())]]
    assert heat_map["codes"] == ["HASH_MISMATCH"]
    assert heat_map["moving"][1] == []


def test_flags_of_a_load_apply_to_its_loading_items(cast: Cast, alice: Client) -> None:
    load = create_load(create_tail(cast.acme, "VP-A"), create_campaign(cast.acme, items=4), "loading")
    for field, letter in (("silent", "i"), ("waiting", "w")):
        Load.objects.filter(pk=load.pk).update(**{field: True})
        assert line(drawn(alice), "VP-A") == f"cc{letter}{letter}"
        Load.objects.filter(pk=load.pk).update(**{field: False})
    Transfer.objects.filter(load=load, content="movie-003").update(restarted=True)
    Transfer.objects.filter(load=load, content="movie-004").update(oversized=True)
    assert line(drawn(alice), "VP-A") == "ccrx"


def test_a_tail_in_service_that_has_not_begun_is_there_and_a_stored_one_is_not(cast: Cast, alice: Client) -> None:
    campaign = create_campaign(cast.acme, items=2)
    create_load(create_tail(cast.acme, "VP-A"), campaign, "complete")
    for name, duty in (("VP-STORED", ServiceStatus.STORED), ("VP-RETIRED", ServiceStatus.RETIRED)):
        tail = create_tail(cast.acme, name)
        create_load(tail, campaign, "failed")
        Tail.objects.filter(pk=tail.pk).update(duty=duty)
    create_tail(cast.acme, "VP-LATE")
    heat_map = drawn(alice)
    assert [row[0] for row in heat_map["tails"]] == ["VP-A", "VP-LATE"]
    assert heat_map["tails"][1] == ["VP-LATE", "", None, None]
    assert line(heat_map, "VP-LATE") == ".."
    assert heat_map["out"] == 2
    assert heat_map["codes"] == []


def test_items_no_manifest_names_come_last_and_unknown_sizes_are_unknown(cast: Cast, alice: Client) -> None:
    campaign = Campaign.objects.create(airline=cast.acme, name="2026-12")
    load = Load.objects.create(tail=create_tail(cast.acme, "VP-A"), campaign=campaign, status="loading", bytes_done=5)
    Transfer.objects.create(load=load, content="x", status="loading", bytes_done=5)
    heat_map = drawn(alice)
    assert heat_map["items"] == [["x", "", None, 0]]
    assert heat_map["cells"] == ["l"]
    assert heat_map["moving"] == [[[0, None, None, None]]]


def test_tails_of_other_campaigns_and_airlines_are_excluded(cast: Cast, alice: Client) -> None:
    campaign = create_campaign(cast.acme, items=2)
    tail = create_tail(cast.acme, "VP-A")
    create_load(tail, campaign, "pending")
    create_load(tail, create_campaign(cast.acme, "2026-11", items=3), "complete")
    create_load(create_tail(cast.beta, "VP-B"), create_campaign(cast.beta, items=2), "failed")
    assert drawn(alice)["cells"] == ["pp"]
    assert alice.get(PAGE.replace("ACME", "BETA")).status_code == 404
    assert alice.get(PAGE.replace("2026-12", "2030-01")).status_code == 404
    assert alice.post(PAGE).status_code == 405


def test_the_number_of_queries_does_not_depend_on_the_number_of_rows(cast: Cast, alice: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            drawn(alice)
        return len(captured)

    campaign = create_fleet(cast.acme, 3, items=3)
    few = queries()
    for number in range(40):
        create_load(create_tail(cast.acme, f"VP-X{number}"), campaign, "failed")
    assert queries() == few <= 8


def test_an_unchanged_heatmap_is_not_sent_again(cast: Cast, alice: Client) -> None:
    campaign = create_fleet(cast.acme, 3, items=3)
    first = alice.get(PAGE)
    again = alice.get(PAGE, headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    Transfer.objects.filter(load__campaign=campaign).update(status="pending", bytes_done=0)
    assert alice.get(PAGE, headers={"If-None-Match": first["ETag"]}).status_code == 200


def test_the_heatmap_is_sent_compressed(cast: Cast, alice: Client) -> None:
    create_fleet(cast.acme, 60, items=20)
    answer = alice.get(PAGE, headers={"Accept-Encoding": "gzip"})
    assert answer["Content-Encoding"] == "gzip"
    assert len(answer.content) < 4_000


def test_as_it_was_it_follows_what_was_recorded(cast: Cast, alice: Client) -> None:
    campaign = create_campaign(cast.acme, items=2)
    load = create_load(create_tail(cast.acme, "VP-A"), campaign, "complete")
    create_tail(cast.acme, "VP-LATE")
    moment = now() - timedelta(hours=5)
    Load.objects.filter(pk=load.pk).update(started_at=moment - timedelta(hours=1), finished_at=now())
    Event.objects.create(load=load, at=moment - timedelta(hours=1), state="loading", bytes_done=0, bytes_total=GB)
    Event.objects.create(load=load, content="movie-001", at=moment, state="failed", bytes_done=7, error_code="NO_SPACE")
    ProgressSample.objects.create(load=load, at=moment, bytes_done=GB // 4)
    heat_map = drawn(alice, f"?at={moment + timedelta(minutes=1):%Y-%m-%dT%H:%MZ}")
    assert heat_map["at"] is not None
    assert line(heat_map, "VP-A") == "fp"
    assert heat_map["tails"][0][:3] == ["VP-A", "loading", 25]
    assert line(heat_map, "VP-LATE") == ".."
    assert line(drawn(alice), "VP-A") == "cc"


@pytest.mark.parametrize("at", ["nonsense", "9999-12-31T23:59Z", "0001-01-01T00:00", "2026-11-20T12:00:00+99:00"])
def test_a_moment_that_is_none_gives_the_present(cast: Cast, alice: Client, at: str) -> None:
    create_load(create_tail(cast.acme, "VP-A"), create_campaign(cast.acme, items=2), "complete")
    assert drawn(alice, f"?at={at}")["at"] is None
