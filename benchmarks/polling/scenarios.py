"""The jobs of `benchmarks.polling`: each fills a bucket, polls it with real processes, and checks the rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from benchmarks.polling import goals
from benchmarks.polling.arrivals import arriving_changes
from benchmarks.polling.cycle import Cycle, PollingProcess
from benchmarks.polling.deployment import Deployment
from benchmarks.polling.fleet import ObjectValue, tails_of
from benchmarks.polling.goals import ONE_CYCLE, Way
from benchmarks.polling.peers import CURL, Listing, Mirror, mirrors, request_counts, requests_between
from benchmarks.polling.setup import Bench, format_cost
from benchmarks.shared.processes import Cost, run

CHANGED_SHARE: Final = 0.01  # of the objects, between two cycles
RESOLUTION: Final = 1.1  # seconds: a store reports whole ones, and mirrors compare them


def large(bench: Bench) -> None:
    """Measure 1,000 tails of 100 items: the first poll, then no changes, then 1% changed in each round."""
    fleet = bench.fleet(1_000, 100)
    job = f"{fleet.tails:,} tails x {fleet.items} items"
    with bench.deployment("large", fleet) as deployed:
        bench.log(f"{job}, all finished, first poll ever")
        bench.write(deployed, fleet.finish())
        with deployed.polling_process() as poller:
            first = f"{job}, first poll ever, all finished"
            bench.rows["first"].append(goals.first_poll_row(first, _first_poll(bench, poller, deployed, first)))
            bench.write(deployed, fleet.load_half())
            bench.poll_until_known(poller, deployed)
        with deployed.polling_process() as poller:
            _measure_unchanged(bench, poller, deployed, f"{job}, nothing changed")
            _measure_changed(bench, poller, deployed, job)
            _profile(bench, poller, deployed)
        _measure_command(bench, deployed, f"{job}, {CHANGED_SHARE:.0%} changed")


def small(bench: Bench) -> None:
    """Measure 100 tails of 100 items: no changes, then continuous changes."""
    fleet = bench.fleet(100, 100)
    with bench.deployment("small", fleet) as deployed:
        bench.log(f"{len(fleet):,} objects, nothing changed")
        bench.write(deployed, list(fleet.objects()))
        with deployed.polling_process() as poller:
            bench.poll_until_known(poller, deployed)
            _poll_unchanged(bench, poller, deployed, f"{len(fleet):,} objects, nothing changed")
        arriving_changes(bench, deployed)


def million(bench: Bench) -> None:
    """Measure 5,000 tails of 200 items: the memory, and the time per object when nothing changes."""
    fleet = bench.fleet(5_000, 200)
    job = f"{len(fleet):,} objects"
    with bench.deployment("million", fleet) as deployed:
        bench.log(f"{job}: all finished, then half of them in progress, before the first poll")
        fleet.finish()
        fleet.load_half()
        bench.write(deployed, list(fleet.objects()))
        with deployed.polling_process() as poller:
            first = _first_poll(bench, poller, deployed, f"{job}, first poll ever")
        with deployed.polling_process() as poller:
            later = _poll_unchanged(bench, poller, deployed, f"{job}, nothing changed")
            bench.log(f"{job}, {CHANGED_SHARE:.0%} changed")
            _change_objects(bench, deployed, 1)
            later.append(bench.poll(poller, deployed, bench.way(f"{job}, {CHANGED_SHARE:.0%} changed", ONE_CYCLE)))
    for when, cycles in (("first poll ever", first), (f"nothing changed, then {CHANGED_SHARE:.0%}", later)):
        bench.rows["memory"].append(goals.memory_row(f"{job}, {when}", [cycle.rss for cycle in cycles]))


def _first_poll(bench: Bench, poller: PollingProcess, deployed: Deployment, job: str) -> list[Cycle]:
    """Poll until all objects are known, in one or more cycles."""
    cycles = bench.poll_until_known(poller, deployed)
    gets = sum(cycle.status_gets + cycle.media_gets for cycle in cycles)
    lists = sum(cycle.status_lists + cycle.media_lists for cycle in cycles)
    cost = Cost(sum(cycle.wall for cycle in cycles), sum(cycle.cpu for cycle in cycles), cycles[-1].rss)
    way = bench.way(job, f"{len(cycles)} cycles" if len(cycles) > 1 else ONE_CYCLE)
    way.add(cost, lists, gets, bench.check_rows(deployed))
    return cycles


def _measure_changed(bench: Bench, poller: PollingProcess, deployed: Deployment, fleet: str) -> None:
    """Change 1% before each round of our cycle and the peers. Then change to other values, for our cycle only."""
    job, other = f"{fleet}, {CHANGED_SHARE:.0%} changed", f"{fleet}, {CHANGED_SHARE:.0%} changed, half to any value"
    peer_mirrors = mirrors(deployed, deployed.folder, [name for name in bench.peers if name != CURL])
    cycle_way = bench.way(job, ONE_CYCLE)
    ways = {mirror.name: bench.way(job, mirror.name) for mirror in peer_mirrors}
    foreign_way = bench.way(other, ONE_CYCLE)
    cycles, tails = list[Cycle](), list[int]()
    for turn in range(1 + bench.runs):
        bench.log(f"{job}: {'warm-up' if turn == 0 else f'round {turn}'}")
        written = _change_objects(bench, deployed, turn)
        tails.append(tails_of(written))
        cycle = bench.poll(poller, deployed, cycle_way if turn else None)
        cycles += [cycle] if turn else []
        for mirror in peer_mirrors:
            _sync(bench, mirror, written, ways[mirror.name] if turn else None)
    bench.add_note(f"{job}: {len(written):,} objects on {min(tails):,} to {max(tails):,} tails")
    foreign = list[Cycle]()
    for turn in range(1, 1 + bench.runs):
        bench.log(f"{other}: round {turn}")
        _change_objects(bench, deployed, bench.runs + turn, foreign=0.5)
        foreign.append(bench.poll(poller, deployed, foreign_way))
    walls = {name: way.walls for name, way in ways.items()}
    bench.rows["changed"] += goals.peer_rows(job, walls | {ONE_CYCLE: cycle_way.walls})
    bench.rows["changed"] += goals.request_rows(job, len(deployed.fleet), cycles)
    bench.rows["foreign"] += goals.peer_rows(other, walls | {ONE_CYCLE: foreign_way.walls})
    bench.rows["foreign"].append(goals.foreign_row(other, foreign))


def _change_objects(bench: Bench, deployed: Deployment, turn: int, *, foreign: float = 0.0) -> list[ObjectValue]:
    time.sleep(RESOLUTION)
    written = deployed.fleet.advance(max(round(len(deployed.fleet) * CHANGED_SHARE), 1), turn, foreign=foreign)
    bench.write(deployed, written)
    return written


def _sync(bench: Bench, mirror: Mirror, written: Sequence[ObjectValue], way: Way | None) -> None:
    before = request_counts(bench.store)
    cost = mirror.sync()
    lists, gets = requests_between(before, request_counts(bench.store))
    missed = mirror.count_missed(written)
    bench.log(f"  {mirror.name}: {format_cost(cost)}, {lists} LIST, {gets} GET, {missed} missed")
    if way:
        way.add(cost, lists, gets, missed)


def _profile(bench: Bench, poller: PollingProcess, deployed: Deployment) -> None:
    """Write a profile of a cycle with 1% changed and of one without changes."""
    if bench.profiles is not None:
        _change_objects(bench, deployed, 2 * bench.runs + 1)
        for name in ("changed", "quiet"):
            poller.poll(bench.profiles / f"{name}.txt")


def _measure_command(bench: Bench, deployed: Deployment, job: str) -> None:
    """Measure the command with its start. Not a goal: in production a running process polls."""
    bench.log(f"{job}: the command")
    way = bench.way(job, "`poll_buckets --once`, a process each time")
    for turn in range(bench.runs):
        _change_objects(bench, deployed, 2 * bench.runs + 2 + turn)
        before = request_counts(bench.store)
        cost = run(deployed.once_command(), deployed.environment)
        lists, gets = requests_between(before, request_counts(bench.store))
        missed = bench.check_rows(deployed)
        bench.log(f"  poll_buckets --once: {format_cost(cost)}, {missed} missed")
        way.add(cost, lists, gets, missed)


def _measure_unchanged(bench: Bench, poller: PollingProcess, deployed: Deployment, job: str) -> None:
    """Alternate cycles with curl, if it is available."""
    listing = Listing(deployed, deployed.folder) if CURL in bench.peers else None
    peer_way = Way(job, f"{CURL}")
    cycles = _poll_unchanged(bench, poller, deployed, job, listing, peer_way)
    if listing:
        bench.ways.append(peer_way)
    bench.rows["quiet"] += goals.unchanged_rows(job, cycles, peer_way.walls)


def _poll_unchanged(
    bench: Bench,
    poller: PollingProcess,
    deployed: Deployment,
    job: str,
    listing: Listing | None = None,
    peer_way: Way | None = None,
) -> list[Cycle]:
    """Run cycles that find no changes; the first is not counted."""
    bench.log(job)
    way, cycles = bench.way(job, ONE_CYCLE), list[Cycle]()
    for turn in range(1 + bench.runs):
        cycle = bench.poll(poller, deployed, way if turn else None)
        cycles += [cycle] if turn else []
        if listing and peer_way is not None:
            before = request_counts(bench.store)
            cost = listing.run()
            lists, gets = requests_between(before, request_counts(bench.store))
            bench.log(f"  {CURL}: {format_cost(cost)}, {lists} LIST")
            if turn:
                peer_way.add(cost, lists, gets, 0)
    bench.walls[len(deployed.fleet)] = [cycle.wall for cycle in cycles]
    return cycles
