"""The readiness curve: which tails have the campaign, which will at the earliest and latest, and which are unknown."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from campaigns.models import Campaign
from fleet.choices import ServiceStatus, Status
from fleet.models import Load, Tail
from fleet.state.forecast import Forecast
from fleet.stats.readiness import TailReadiness, load_readiness, readiness, tail_readiness
from tests.conftest import Cast
from tests.support.api_fleet import make_load

pytestmark = pytest.mark.both_databases

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
STARTS = date(2026, 12, 1)
START = datetime(2026, 12, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def expected(earliest: timedelta, latest: timedelta) -> TailReadiness:
    return TailReadiness(expected=Forecast(NOW + earliest, NOW + latest))


FLEET = [
    TailReadiness(complete_at=NOW - 3 * DAY),
    TailReadiness(complete_at=NOW - HOUR),
    expected(HOUR, 2 * HOUR),
    expected(DAY, 9 * DAY),
    expected(4 * DAY, 12 * DAY),
    TailReadiness(),
]


def test_the_curve_counts_completed_loads_and_then_expected_ones() -> None:
    found = readiness(FLEET, 9, STARTS, NOW)
    assert (found.tails, found.complete, found.unknown, found.not_started, found.by_start) == (9, 2, 1, 3, (3, 4))
    at_now, at_start = found.at.index(NOW), found.at.index(START)
    assert found.at == sorted(found.at)
    assert found.observed[0] == 1
    assert (found.observed[at_now], found.fewest[at_now], found.most[at_now]) == (2, 2, 2)
    assert (found.observed[at_start], found.fewest[at_start], found.most[at_start]) == (None, 3, 4)
    assert all(value is None for value in found.fewest[:at_now])
    assert (found.fewest[-1], found.most[-1]) == (4, 5), "what comes later than a week after the start is not shown"
    assert found.at[-1] == START + 7 * DAY
    assert found.summary(NOW) == (
        "2 of 9 tails in service hold the campaign; by 2026-12-01: 3 to 4 expected; 1 unknown; 3 not started."
    )


@pytest.mark.parametrize(
    "standings", [[], FLEET, [TailReadiness()] * 3, [TailReadiness(complete_at=NOW + DAY)], FLEET[3:4]]
)
@pytest.mark.parametrize("starts", [None, STARTS, date(2025, 1, 1), date(2030, 1, 1)])
@pytest.mark.parametrize("tails", [0, 6, 1_000])
def test_any_curve_is_ordered_never_decreases_and_is_bounded_by_the_fleet(
    standings: list[TailReadiness], starts: date | None, tails: int
) -> None:
    found = readiness(standings, tails, starts, NOW)
    assert 2 <= len(found.at) <= 124
    assert found.at == sorted(set(found.at))
    for values in (found.observed, found.fewest, found.most):
        known_values = [value for value in values if value is not None]
        assert known_values == sorted(known_values)
        assert all(0 <= value <= len(standings) for value in known_values)
    assert all(low is None or high is None or low <= high for low, high in zip(found.fewest, found.most, strict=True))
    assert (found.by_start is None) == (starts is None)


def test_after_the_start_it_counts_the_tails_complete_by_then() -> None:
    found = readiness(FLEET[:2], 2, date(2026, 11, 27), NOW)
    assert found.by_start == (1, 1)
    assert found.summary(NOW) == "2 of 2 tails in service hold the campaign; by 2026-11-27: 1 complete."


@pytest.mark.parametrize(
    ("row", "held", "known"),
    [
        (Load(status="complete", finished_at=NOW, bytes_total=1), NOW, False),
        (Load(status="complete", as_of=NOW - HOUR, bytes_total=0), NOW - HOUR, False),
        (Load(status="failed", bytes_done=1, bytes_total=9, rate_bps=1), None, False),
        (Load(status="loading", bytes_done=1, bytes_total=None, rate_bps=1), None, False),
        (Load(status="loading", bytes_done=1, bytes_total=9, rate_bps=1), None, True),
        (Load(status="loading", bytes_done=1, bytes_total=9), None, False),
        (Load(status="pending", bytes_total=9), None, False),
    ],
)
def test_a_failed_load_or_one_without_a_rate_has_no_forecast(row: Load, held: datetime | None, known: bool) -> None:
    found = tail_readiness(row, NOW)
    assert (found.complete_at, found.expected is not None) == (held, known)


def test_only_tails_in_service_count_and_in_two_queries(cast: Cast) -> None:
    for number in range(4):
        load = make_load(cast.acme, f"N{number}", "2026-12", done=4_000, status=Status.COMPLETE)
        Load.objects.filter(pk=load.pk).update(finished_at=NOW - number * HOUR)
    Tail.objects.filter(name="N3").update(duty=ServiceStatus.STORED)
    Load.objects.filter(tail__name="N2").update(status=Status.DELETED)
    Tail.objects.create(airline=cast.acme, name="N9")
    campaign = Campaign.objects.get()
    with CaptureQueriesContext(connection) as queries:
        found = load_readiness(campaign, NOW)
    assert len(queries) == 2
    assert (found.tails, found.complete, found.not_started) == (4, 2, 2)
