"""The rate of a load is calculated from few of its samples, with the same result as from all."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from fleet.ingest import aggregates
from fleet.models import Load, ProgressSample
from fleet.state import rates
from fleet.state.load import TransferTotals
from fleet.state.rates import RateSample
from tests.support.polling_world import PollingWorld

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def test_of_many_loads_at_once_with_restarts_among_them(world: PollingWorld) -> None:
    dice = random.Random(11)
    names = [f"N{number:02}" for number in range(30)]
    for name in names:
        world.progress(f"{name}/2026-12/a", 5)
    world.poll()
    ProgressSample.objects.all().delete()
    loads, now = list(Load.objects.all()), world.clock
    expected = {}
    done = {load.pk: TransferTotals(bytes_done=dice.randrange(400)) for load in loads}
    for load in loads:
        seconds = sorted(dice.sample(range(1, 90), dice.randrange(12)), reverse=True)
        samples = [RateSample(now - timedelta(seconds=each), dice.randrange(400)) for each in seconds]
        ProgressSample.objects.bulk_create(
            ProgressSample(load=load, at=each.at, bytes_done=each.bytes_done) for each in samples
        )
        window = [each for each in samples if each.at > now - rates.WINDOW]
        expected[load.pk] = rates.windowed_rate([*window, RateSample(now, done[load.pk].bytes_done)])
        load.moved_at = None
    assert aggregates.windowed_rates(loads, done, now) == expected
    assert len(set(expected.values())) > 10
