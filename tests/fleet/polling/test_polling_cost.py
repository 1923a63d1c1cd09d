"""Requests depend on pages and changes, queries on changed tails; nothing is missed."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from fleet.models import Transfer
from fleet.polling.result import PollResult
from tests.support.polling_world import MIB, PollingWorld
from tests.support.profiles import scaled

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

TAILS, ITEMS = 400, 50  # those of docs/performance.md
SIZE = 8 * MIB
QUERIES_A_POLL = 24  # whatever the number of tails and objects
QUERIES_A_BATCH = 24  # whatever the number of tails and objects in it


def fill(world: PollingWorld, tails: int, items: int = ITEMS) -> None:
    """Create all items of every tail, half of them complete."""
    world.manifest(items={f"item-{i:03}": SIZE for i in range(items)})
    for tail in range(tails):
        for item in range(items):
            world.progress(f"N{tail:03}/2026-12/item-{item:03}", SIZE if item % 2 else MIB)


def written(queries: CaptureQueriesContext) -> list[str]:
    return [q["sql"] for q in queries.captured_queries if re.match(r"(INSERT|UPDATE|DELETE)", q["sql"])]


def tell(what: str, result: PollResult, queries: CaptureQueriesContext) -> None:
    """Print the figures of docs/performance.md, with `pytest -s`."""
    counts = f"{result.get_requests} GETs, {len(queries)} queries, {len(written(queries))} of them writing"
    print(f"{connection.vendor}, {what}: {counts}, {result.seconds:.2f} s")  # noqa: T201


def test_one_in_a_hundred_of_many_objects_changed(world: PollingWorld) -> None:
    tails = scaled(TAILS, quick=80)
    objects = tails * ITEMS
    fill(world, tails)
    first = world.poll()
    assert (first.objects_seen, first.get_requests) == (objects + 1, 1), "only the manifest is fetched"
    assert Transfer.objects.filter(status="complete").count() == objects // 2

    world.later()
    with CaptureQueriesContext(connection) as queries:
        quiet = world.poll()
    tell("nothing changed", quiet, queries)
    assert (quiet.objects_changed, quiet.get_requests) == (0, 0)
    assert written(queries) == []
    assert len(queries) <= QUERIES_A_POLL

    # 200 of 20,000 on 40 tails, or 40 of 4,000 on 8: half have values that their ETag reveals, half others.
    world.later()
    changed = {f"N{tail:03}": [f"item-{item:03}" for item in range(0, 10, 2)] for tail in range(0, tails, 10)}
    for number, (tail, items) in enumerate(changed.items()):
        for item in items:
            world.progress(f"{tail}/2026-12/{item}", 3 * MIB if number % 2 else 3 * MIB + 7)
    lists = world.status.requests.list
    with CaptureQueriesContext(connection) as queries:
        result = world.poll()

    tell("1% changed", result, queries)
    assert world.status.requests.list - lists == objects // 1_000 + 1, "pages of 1,000 keys; one to look for airlines"
    assert result.objects_changed == result.transfers_changed == objects // 100
    assert result.get_requests == objects // 200
    assert len(queries) <= QUERIES_A_POLL + QUERIES_A_BATCH
    done = Transfer.objects.filter(bytes_reported__gte=3 * MIB, bytes_reported__lte=3 * MIB + 7)
    assert {(row.load.tail.name, row.content) for row in done.select_related("load__tail")} == {
        (tail, item) for tail, items in changed.items() for item in items
    }


def test_queries_do_not_grow_with_the_objects_of_a_tail(world: PollingWorld) -> None:
    counts = []
    for items in (5, 30):
        fill(world, tails=2, items=items)
        world.poll()
        world.later()
        for item in range(items):
            world.progress(f"N000/2026-12/item-{item:03}", 5 * MIB)
        with CaptureQueriesContext(connection) as queries:
            assert world.poll().transfers_changed == items
        counts.append(len(queries))
    assert counts[1] <= counts[0] + 3  # both loads need attention the second time: they report more than they had
