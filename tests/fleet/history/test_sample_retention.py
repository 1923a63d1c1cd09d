"""Samples are thinned with age: the database deletes what the rule says, for any history and any number of runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.history import retention
from fleet.history.retention import retained, thin_samples
from fleet.models import Load, ProgressSample
from tests.conftest import Cast
from tests.support.api_fleet import make_load
from tests.support.profiles import scaled
from tests.support.work_leases import ScriptedLease

pytestmark = pytest.mark.both_databases

NOW = datetime(2026, 12, 1, 12, 34, 56, 789, tzinfo=UTC)
# Ages in seconds, most of them near the limits of the rule.
AGES = st.one_of(
    st.floats(0, 2 * 3600),
    st.floats(47 * 3600, 50 * 3600),
    st.floats(363 * 86400, 367 * 86400),
    st.sampled_from([0.0, 3600.0, 2 * 86400.0, 365 * 86400.0]),
)


def samples(load: Load, *ages: timedelta) -> None:
    ProgressSample.objects.bulk_create(
        [ProgressSample(load=load, at=NOW - age, bytes_done=0) for age in ages], ignore_conflicts=True
    )


def left(load: Load) -> set[datetime]:
    return set(ProgressSample.objects.filter(load=load).values_list("at", flat=True))


@pytest.fixture
def loads(cast: Cast) -> list[Load]:
    return [make_load(cast.acme, f"N{n}", "2026-12") for n in range(3)]


@pytest.fixture
def load(loads: list[Load]) -> Load:
    return loads[0]


def test_samples_are_preserved_per_change_minute_or_hour_by_age(load: Load) -> None:
    samples(load, *(timedelta(seconds=20 * n) for n in range(180)))  # the last hour: three a minute
    samples(load, *(timedelta(hours=5, seconds=20 * n) for n in range(180)))
    samples(load, *(timedelta(days=30, minutes=n) for n in range(180)))
    samples(load, timedelta(days=400), timedelta(days=500))
    thin_samples(NOW)
    ages = sorted(NOW - at for at in left(load))
    assert sum(age < timedelta(hours=1) for age in ages) == 180
    assert sum(timedelta(hours=1) <= age < timedelta(days=2) for age in ages) == 60
    assert sum(timedelta(days=2) <= age < timedelta(days=365) for age in ages) == 4
    assert ages[-1] < timedelta(days=365)


def test_the_newest_sample_of_a_load_is_preserved_at_any_age(loads: list[Load]) -> None:
    load, other, _ = loads
    samples(load, timedelta(days=900), timedelta(days=901))
    samples(other, timedelta(days=2))
    thin_samples(NOW)
    assert left(load) == {NOW - timedelta(days=900)}
    assert left(other) == {NOW - timedelta(days=2)}


@settings(max_examples=scaled(100, quick=15), deadline=None, suppress_health_check=list(HealthCheck))
@given(histories=st.lists(st.lists(AGES, max_size=12), min_size=3, max_size=3), rows=st.integers(1, 20))
def test_the_database_preserves_the_samples_that_the_rule_selects(
    loads: list[Load], histories: list[list[float]], rows: int
) -> None:
    ProgressSample.objects.all().delete()
    for each, ages in zip(loads, histories, strict=True):
        samples(each, *(timedelta(seconds=age) for age in ages))
    before = {each.pk: left(each) for each in loads}
    with patch.object(retention, "ROWS_A_STATEMENT", rows):
        deleted = thin_samples(NOW)
    assert {each.pk: left(each) for each in loads} == {pk: retained(moments, NOW) for pk, moments in before.items()}
    assert deleted == sum(map(len, before.values())) - ProgressSample.objects.count()
    assert thin_samples(NOW) == 0


@settings(max_examples=scaled(60, quick=10), deadline=None, suppress_health_check=list(HealthCheck))
@given(ages=st.lists(AGES, max_size=20), runs=st.lists(st.floats(0, 3 * 86400), max_size=4))
def test_looking_only_at_what_came_of_age_keeps_the_same(load: Load, ages: list[float], runs: list[float]) -> None:
    """Each run sees only samples that existed by then; the last one is at NOW."""
    ProgressSample.objects.all().delete()
    moments = sorted({NOW - timedelta(seconds=age) for age in ages})
    since: datetime | None = None
    written: set[datetime] = set()
    for run in (*sorted(NOW - timedelta(seconds=age) for age in runs), NOW):
        new = {moment for moment in moments if moment <= run} - written
        samples(load, *(NOW - moment for moment in new))
        written |= new
        thin_samples(run, since)
        since = run
    assert left(load) == retained(moments, NOW)


def test_the_work_is_cut_into_bounded_statements_and_can_be_stopped_between_them(load: Load, cast: Cast) -> None:
    for n in range(6):
        samples(make_load(cast.acme, f"P{n}", "2026-12"), *(timedelta(hours=3, milliseconds=k) for k in range(5)))

    class Stopped(Exception):
        pass

    def stop_at_the_third() -> None:
        signs.append(1)
        if len(signs) == 3:
            raise Stopped

    signs: list[int] = []
    with patch.object(retention, "ROWS_A_STATEMENT", 10):
        with pytest.raises(Stopped):
            thin_samples(NOW, lease=ScriptedLease(stop_at_the_third))
        assert ProgressSample.objects.count() == 30 - 16  # two slices of two loads with five samples each
        assert thin_samples(NOW) == 8


def test_statements_do_not_grow_with_loads(load: Load, cast: Cast) -> None:
    def run(name: str, loads: int) -> int:
        for n in range(loads):
            samples(make_load(cast.acme, f"{name}{n}", "2026-12"), timedelta(hours=3), timedelta(hours=3, seconds=1))
        with CaptureQueriesContext(connection) as queries:
            thin_samples(NOW)
        return len(queries)

    assert run("A", 2) == run("B", 20)
