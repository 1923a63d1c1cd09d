"""Several pollers at once, in threads with their own connections, while a loader writes."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from fleet.models import Load, ProgressSample, Transfer
from ifeportal.live.models import Change, Counter
from tests.support.polling_world import MIB, PollingWorld, rows

pytestmark = pytest.mark.both_databases

POLLERS, TAILS, ITEMS = 3, 6, 4
POLLS = 30


@pytest.mark.django_db(transaction=True)
def test_pollers_at_the_same_moment_end_in_the_truth() -> None:
    world = PollingWorld()
    dice = random.Random(7)
    world.manifest(items={f"item-{item}": 3 * MIB for item in range(ITEMS)})
    truth: dict[tuple[str, str], int] = {}
    over = threading.Event()
    done: list[int] = []

    def poll() -> list[str]:
        failures: list[str] = []
        try:
            while not over.is_set():
                failures += world.poll().failures
                done.append(1)
        finally:
            connection.close()
        return failures

    with ThreadPoolExecutor(POLLERS) as pool:
        pollers = [pool.submit(poll) for _ in range(POLLERS)]
        try:
            while len(done) < POLLS and not any(poller.done() for poller in pollers):
                over.wait(0.002)
                place = f"N{dice.randrange(TAILS)}", f"item-{dice.randrange(ITEMS)}"
                truth[place] = dice.choice([0, 7, MIB, 2 * MIB, 3 * MIB])
                world.later(dice.choice([0, 1]))
                world.progress(f"{place[0]}/2026-12/{place[1]}", truth[place])
        finally:
            over.set()
        assert [failure for poller in pollers for failure in poller.result()] == []

    world.poll()
    reported = Transfer.objects.exclude(bytes_reported=None).select_related("load__tail")
    assert {(row.load.tail.name, row.content): row.bytes_reported for row in reported} == truth
    for load in Load.objects.all():
        assert load.bytes_done == sum(row.bytes_done for row in load.transfers.all())
    assert Change.objects.filter(rev__gt=Counter.objects.get().rev).count() == 0
    before = rows()
    assert world.poll().anomalies == 0
    assert rows() == before
    assert ProgressSample.objects.exists()
