"""Events are limited to the newest thousand of a load and to 400 days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest

from fleet.history import retention
from fleet.history.retention import prune_events
from fleet.models import Event, Load
from tests.conftest import Cast
from tests.support.api_fleet import make_load
from tests.support.work_leases import ScriptedLease

pytestmark = pytest.mark.both_databases

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)


def tell(load: Load, number: int, age: timedelta = timedelta()) -> None:
    Event.objects.bulk_create(
        Event(load=load, at=NOW - age - timedelta(seconds=second), state="loading", bytes_done=second)
        for second in range(number)
    )


def left(load: Load) -> list[int]:
    return sorted(Event.objects.filter(load=load).values_list("bytes_done", flat=True))


@pytest.fixture
def loads(cast: Cast) -> list[Load]:
    return [make_load(cast.acme, f"N{n}", "2026-12") for n in range(5)]


def test_the_newest_events_of_each_load_are_preserved(loads: list[Load]) -> None:
    for number, load in enumerate(loads):
        tell(load, 6 + number)
    signs: list[int] = []
    with patch.object(retention, "EVENTS_PER_LOAD", 8), patch.object(retention, "LOADS_A_STATEMENT", 1):
        assert prune_events(NOW, lease=ScriptedLease(lambda: signs.append(1))) == 1 + 2
        assert prune_events(NOW) == 0
    assert [len(left(load)) for load in loads] == [6, 7, 8, 8, 8]
    assert left(loads[4]) == list(range(8))
    assert len(signs) == 3


def test_events_older_than_400_days_are_deleted(loads: list[Load]) -> None:
    tell(loads[0], 2)
    tell(loads[0], 3, timedelta(days=400))
    tell(loads[1], 3, timedelta(days=399))
    assert prune_events(NOW) == 2
    assert (len(left(loads[0])), len(left(loads[1]))) == (3, 3)


def test_only_loads_with_later_events_are_counted(loads: list[Load]) -> None:
    tell(loads[0], 5, timedelta(days=2))
    tell(loads[1], 5, timedelta(minutes=1))
    with patch.object(retention, "EVENTS_PER_LOAD", 2):
        assert prune_events(NOW, NOW - timedelta(minutes=20)) == 3
        assert (len(left(loads[0])), len(left(loads[1]))) == (5, 2)
