"""The state word of a load or an item is the same in Python, SQL, filters and totals, for all flags."""

from __future__ import annotations

from itertools import product

import pytest

from campaigns.models import Campaign
from fleet.choices import Inconsistency, ServiceStatus, State, Status
from fleet.models import Load, Tail, Transfer
from fleet.state.precedence import (
    AT_RISK,
    CHOICES,
    LOAD_STATE,
    STATES,
    TRANSFER_STATE,
    in_state,
    state_of,
    transfer_in_state,
)
from fleet.stats import rollup
from fleet.stats.rollup import COUNTED_STATES, read_rollup
from fleet.stats.totals import recount
from ifeportal.models import Airline

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
FLAGS = ("silent", "stalled", "waiting", "restarted", "at_risk")
WEIGHTS = ("silent", "stalled", "contradiction", "waiting", "restarted")


@pytest.fixture
def airline() -> Airline:
    """An airline with a load in every combination of status and flags, each on its own tail."""
    airline = Airline.objects.create(name="ACME")
    campaign = Campaign.objects.create(airline=airline, name="2026-12")
    every = list(product(Status.values, product((False, True), repeat=len(FLAGS)), Inconsistency.values))
    tails = Tail.objects.bulk_create(Tail(airline=airline, name=f"N{number}") for number in range(len(every)))
    Load.objects.bulk_create(
        Load(
            tail=tail,
            campaign=campaign,
            status=status,
            bytes_total=0,
            contradiction=contradiction,
            **dict(zip(FLAGS, flags, strict=True)),
        )
        for tail, (status, flags, contradiction) in zip(tails, every, strict=True)
    )
    recount(airline.pk)
    return airline


@pytest.mark.parametrize("status", Status.values)
def test_only_what_is_loading_has_a_word_on_top_and_of_several_the_weightiest(status: str) -> None:
    for holds in product((False, True), repeat=len(WEIGHTS)):
        flags = dict(zip(WEIGHTS, holds, strict=True))
        words = [word for word, each in flags.items() if each and status == "loading"]
        contradiction = "oversized" if flags.pop("contradiction") else ""
        assert state_of(status, contradiction=contradiction, **flags) == (words[0] if words else status)


def test_the_database_has_the_same_word_for_a_load(airline: Airline) -> None:
    rows = Load.objects.annotate(word=LOAD_STATE)
    assert len(rows) == 5 * 32 * 4
    assert {row.pk: row.state for row in rows} == dict(rows.values_list("pk", "word"))


def test_the_database_has_the_same_word_for_an_item(airline: Airline) -> None:
    for load in Load.objects.filter(contradiction=""):
        every = product((False, True), repeat=3)
        Transfer.objects.bulk_create(
            Transfer(load=load, content=str(number), status=load.status, bytes_total=0)
            if load.status == "complete"
            else Transfer(
                load=load, content=str(number), status=load.status, stalled=stalled, restarted=back, oversized=large
            )
            for number, (stalled, back, large) in enumerate(every)
        )
    rows = Transfer.objects.select_related("load").annotate(word=TRANSFER_STATE)
    words = dict(rows.values_list("pk", "word"))
    assert {row.pk: row.state for row in rows} == words
    assert set(words.values()) == set(State.values)
    for word in STATES:
        assert set(Transfer.objects.filter(transfer_in_state(word)).values_list("pk", flat=True)) == {
            pk for pk, each in words.items() if each == word
        }


def test_every_load_is_found_under_exactly_one_word(airline: Airline) -> None:
    for word in STATES:
        found = Load.objects.filter(in_state(word))
        assert {row.state for row in found} == {word}
    assert sum(Load.objects.filter(in_state(word)).count() for word in STATES) == Load.objects.count()
    assert set(CHOICES) - set(STATES) == {AT_RISK}
    assert {row.at_risk for row in Load.objects.filter(in_state(AT_RISK))} == {True}


def test_sums_count_every_load_under_its_word(airline: Airline) -> None:
    loads = [row for row in Load.objects.all() if row.status != Status.DELETED]
    for sums in (
        read_rollup(rollup.airlines(Airline.objects.all()).get()),
        read_rollup(rollup.campaigns(Campaign.objects.all()).get()),
    ):
        for word in COUNTED_STATES:
            assert getattr(sums, word) == sum(row.state == word for row in loads)
        assert sums.at_risk == sum(row.at_risk for row in loads)
        assert sums.loads == len(loads) == sum(getattr(sums, word) for word in COUNTED_STATES)
        assert (sums.tails, sums.tails_out, sums.state, sums.status) == (640, 0, "failed", "failed")


@pytest.mark.parametrize("duty", [ServiceStatus.STORED, ServiceStatus.RETIRED])
def test_tails_out_of_service_are_excluded_from_sums_and_labelled(duty: ServiceStatus) -> None:
    airline = Airline.objects.create(name="ACME")
    campaign = Campaign.objects.create(airline=airline, name="2026-12", bytes_total=10)
    for name, its_duty, done in (("N1", ServiceStatus.ACTIVE, 4), ("N2", duty, 10), ("N3", ServiceStatus.ACTIVE, None)):
        tail = Tail.objects.create(airline=airline, name=name, duty=its_duty)
        if done is not None:
            Load.objects.create(tail=tail, campaign=campaign, status="loading", bytes_done=done, bytes_total=10)
    recount(airline.pk)
    of_airline = read_rollup(rollup.airlines(Airline.objects.all()).get())
    of_campaign = read_rollup(rollup.campaigns(Campaign.objects.all()).get())
    assert (of_airline.tails, of_airline.tails_out, of_airline.loads) == (2, 1, 1)
    assert (of_campaign.tails, of_campaign.tails_out, of_campaign.loads) == (1, 1, 1)
    assert (of_airline.bytes_done, of_airline.bytes_total, of_campaign.percent) == (4, 10, 40)
    own = {row.name: read_rollup(row) for row in rollup.tails(Tail.objects.all())}
    assert (own["N2"].bytes_done, own["N2"].tails, own["N2"].tails_out) == (10, 0, 1)
    assert (own["N1"].tails, own["N1"].tails_out, own["N3"].loads) == (1, 0, 0)
