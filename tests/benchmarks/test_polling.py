"""The arithmetic of `benchmarks.polling`, the objects it writes, and a very small run without the peers."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from math import inf
from pathlib import Path

import pytest

from benchmarks.polling import goals, scenarios
from benchmarks.polling.__main__ import JOBS, rows
from benchmarks.polling.cycle import Cycle
from benchmarks.polling.fleet import AIRLINE, CAMPAIGN, Fleet, tails_of
from benchmarks.polling.goals import ONE_CYCLE, Way
from benchmarks.polling.peers import AWS, CURL, NAMES, RCLONE, S5CMD, requests_between
from benchmarks.polling.setup import KINDS, Bench
from benchmarks.polling.writers import Writers, WriterTarget
from benchmarks.shared.goals import MIB, Row, percentile, table
from benchmarks.shared.processes import Cost
from ifeportal.embedded.seaweedfs import SeaweedFS
from loader.contract.item_reports import progress_from_etag
from loader.contract.keys import parse_status_key
from loader.contract.manifest import parse_manifest

ROOT = Path(__file__).resolve().parents[2]


def cycle(*, gets: int = 0, changed: int = 100, writes: int = 0, wall: float = 1.0) -> Cycle:
    return Cycle(wall, 0.5, 150_000_000, 100, gets, 1, 0, 14 + writes, writes, 2, 100_000, changed, changed)


@pytest.fixture
def fleet() -> Fleet:
    return Fleet(tails=20, items=10, seed=1)


def recognised(fleet: Fleet, value: int, key: str) -> bool:
    size = fleet.size([key for key, _ in fleet.objects()].index(key))
    return progress_from_etag(hashlib.md5(b"%d" % value).hexdigest(), size) == value


def test_every_object_has_a_contract_key_and_its_manifest_size(fleet: Fleet) -> None:
    items = parse_manifest(fleet.manifest(), airline=AIRLINE, campaign=CAMPAIGN).content
    sizes = {item.name: item.size for item in items}
    keys = [found for key, _ in fleet.objects() if (found := parse_status_key(key))]
    assert len({(key.tail, key.content) for key in keys}) == len(fleet) == 200
    assert [sizes[key.content] for key in keys] == [fleet.size(number) for number in range(200)]


def test_changes_are_as_many_as_asked_for_all_new_and_what_our_loader_reports(fleet: Fleet) -> None:
    fleet.finish()
    assert len(fleet.load_half()) == 100
    for turn in range(5):
        before = dict(fleet.objects())
        written = fleet.advance(10, turn)
        assert len({key for key, _ in written}) == 10
        assert all(value > before[key] for key, value in written)
        assert all(recognised(fleet, value, key) for key, value in written)
        assert dict(fleet.objects()) == before | dict(written)


def test_others_report_what_no_etag_gives_away(fleet: Fleet) -> None:
    written = fleet.advance(20, turn=1, foreign=0.5)
    assert sum(not recognised(fleet, value, key) for key, value in written) == 10


def test_the_same_seed_draws_the_same_and_each_turn_differs(fleet: Fleet) -> None:
    again = Fleet(fleet.tails, fleet.items, fleet.seed)
    assert fleet.load_half() == again.load_half()
    first = fleet.advance(10, 1)
    assert first == again.advance(10, 1)
    assert first != again.advance(10, 2)


def test_changes_that_arrive_all_the_time_reach_every_object_in_turn_and_only_grow(fleet: Fleet) -> None:
    written = fleet.round_robin(500)
    assert len({key for key, _ in written[:200]}) == 200
    assert [key for key, _ in written[:200]] == [key for key, _ in written[200:400]]
    assert [value for _, value in written] == [MIB] * 200 + [2 * MIB] * 200 + [3 * MIB] * 100
    assert tails_of(written[:1]) == 1
    assert tails_of(written) == 20


def test_a_missing_or_different_row_is_missed(fleet: Fleet) -> None:
    reported = dict(fleet.objects())
    assert fleet.count_missed(reported) == 0
    keys = list(reported)
    assert fleet.count_missed({key: reported[key] for key in keys[1:]} | {keys[1]: 7}) == 2


def test_every_goal_against_a_program_gets_a_row_if_it_ran() -> None:
    walls = {ONE_CYCLE: [1.0, 3.0, 2.0], S5CMD: [10.0], RCLONE: [2.0], AWS: [8.0]}
    assert [(row.goal, row.found, row.met) for row in goals.peer_rows("x", walls)] == [
        (0.4, 0.2, True),
        (1.0, 1.0, True),
        (0.2, 0.25, False),
    ]
    assert goals.peer_rows("x", {ONE_CYCLE: [1.0]}) == []
    assert {S5CMD, RCLONE, AWS} == set(NAMES)


def test_requests_are_compared_with_pages_and_changes() -> None:
    lists, gets = goals.request_rows("x", 99_001, [cycle(), cycle(gets=1), cycle()])
    assert (lists.goal, lists.found, lists.met) == (100, 100, True)
    assert (gets.goal, gets.found, gets.high, gets.met) == (0, 0, 1, True)
    assert not goals.request_rows("x", 99_000, [cycle()])[0].met
    assert goals.foreign_row("x", [cycle(gets=50)]).found == 0.5
    assert not goals.foreign_row("x", [cycle(gets=101)]).met
    assert goals.first_poll_row("x", [cycle(), cycle(gets=1)]).found == 1


def test_a_write_in_most_idle_cycles_misses_the_goal() -> None:
    ratio, writes = goals.unchanged_rows("x", [cycle(wall=1.2)] * 3, [1.0, 1.0, 1.0])
    assert (ratio.goal, ratio.met) == (1.3, True)
    assert writes.met
    assert not goals.unchanged_rows("x", [cycle(writes=1)] * 3, [])[0].met


def test_an_object_may_not_cost_more_in_the_largest_fleet_than_in_the_cheapest_of_the_smaller() -> None:
    [row] = goals.growth_rows({1_000_000: [30.0, 24.0, 13.0], 10_000: [0.5], 100_000: [2.0]})
    assert row.job == "10,000 vs 100,000 vs 1,000,000 objects, nothing changed"
    assert round(row.found, 6) == 1.2
    assert row.met
    assert goals.growth_rows({10_000: [0.5]}) == []


def test_a_change_is_visible_with_the_first_row_that_has_its_value_or_a_newer_one() -> None:
    observed = {"a": [(10.0, 0), (12.0, 2), (15.0, 3)], "b": [(10.0, 0)]}
    written = [("a", 1), ("a", 2), ("c", 1), ("a", 3), ("b", 1), ("a", 0)]
    assert goals.write_delays(written, [10.5, 11.0, 11.0, 12.5, 12.0, 11.0], observed) == [1.5, 1.0, 2.5, inf, 0.0]


def test_the_delay_is_the_95th_percentile() -> None:
    row, pace = goals.arriving_rows("x", [number / 10 for number in range(1, 101)], slowdown=1.01)
    assert (row.found, row.low, row.high, row.met) == (9.5, 5.0, 10.0, False)
    assert pace.met
    assert percentile([1.0], 95) == 1.0


def test_memory_is_that_of_the_largest_in_megabytes() -> None:
    assert goals.memory_row("x", [1, 200_000_000]).met
    assert not goals.memory_row("x", [200_100_000, 1]).met


def test_a_thousand_cycles_of_a_hundred_pages_cost_half_a_dollar() -> None:
    assert round(1_000 * goals.request_price(100, 0), 6) == 0.5
    assert round(1_000 * goals.request_price(0, 1_000), 6) == 0.4


def test_the_tables_say_what_was_found_and_what_it_cost() -> None:
    row = Row("1,000,000 objects", "peak RSS", 200, 150.04, "MB")
    assert table([row]).splitlines()[-1] == "| 1,000,000 objects | peak RSS | ≤ 200 MB | 150.0 MB | met | |"
    count = Row("x", "LIST", 1_000, 1_001, "count", 1_000, 1_001)
    assert table([count]).splitlines()[-1] == "| x | LIST | ≤ 1,000 | 1,001 | **missed** | 1,000-1,001 |"
    way = Way("x", S5CMD)
    for wall in (1.0, 3.0, 2.0):
        way.add(Cost(wall, 0.5, 50_000_000), 100, 2_000, missed=1)
    line = "| x | s5cmd sync | 2.00 s | 0.50 s | 50 MB | 100 | 2,000 | 1.300 | 3 |"
    assert goals.ways_table([way]).splitlines()[2:] == [line]


def test_requests_are_counted_between_two_looks_at_what_the_store_has_served() -> None:
    assert requests_between({"LIST": 3, "GET": 1}, {"LIST": 5, "GET": 2, "HEAD": 4, "PUT": 9}) == (2, 5)


def test_writers_write_everything_at_the_given_rate(seaweed: SeaweedFS) -> None:
    bucket = seaweed.create_bucket("bench-written")
    address = WriterTarget(bucket.name, seaweed.endpoint, seaweed.access_key, seaweed.secret_key)
    with Writers(address) as writers:
        writers.put((f"a/{number}", number) for number in range(1_100))
        acknowledged = writers.put_paced([("b", 1), ("b", 2)], rate=2.0).result()
    assert len(list(bucket.list("a/"))) == 1_100
    assert [found.body for key in ("a/1099", "b") if (found := bucket.get(key, 99))] == [b"1099", b"2"]
    assert len(acknowledged) == 2
    assert all(acknowledged)


@pytest.mark.thorough  # every scenario of the benchmark with its peers takes a minute
def test_a_small_fleet_is_measured_from_the_first_poll_to_the_last(seaweed: SeaweedFS, tmp_path: Path) -> None:
    reported: list[str] = []
    bench = Bench(
        seaweed,
        database="sqlite",
        folder=tmp_path,
        peers=(),
        runs=1,
        scale=0.002,
        seed=1,
        rate=20.0,
        seconds=2.0,
        log=reported.append,
        profiles=tmp_path,
    )
    scenarios.large(bench)
    scenarios.small(bench)
    found = {row.measure: row for row in rows(bench)}
    exact = [row for row in found.values() if row.unit == "count"]
    assert all(row.met for row in exact), [row for row in exact if not row.met]
    assert found["GET ÷ changed objects"].found == 0.5
    assert found["seconds behind, p95 (spread: p50 to the longest)"].found < inf
    assert [way.missed for way in bench.ways] == [0] * len(bench.ways)
    assert sorted(bench.walls) == [100, 200]
    assert any("2 objects on" in line for line in reported)
    assert all("function calls" in (tmp_path / f"{name}.txt").read_text() for name in ("changed", "quiet"))


def test_names_and_kinds_are_complete_and_every_job_is_in_the_help() -> None:
    assert CURL not in NAMES
    assert set(KINDS) == {"changed", "foreign", "first", "quiet", "arriving", "memory"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.polling", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ",".join(JOBS) in "".join(done.stdout.split())
