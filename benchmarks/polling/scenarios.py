"""The jobs of `benchmarks.polling`: each fills a bucket, polls it by real processes, and holds the rows
against it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from benchmarks.polling import goals
from benchmarks.polling.arrivals import arriving
from benchmarks.polling.cycle import Cycle, Resident
from benchmarks.polling.fleet import Written, tails_of
from benchmarks.polling.goals import OURS, Way
from benchmarks.polling.peers import CURL, Listing, Mirror, mirrors, served, spent
from benchmarks.polling.setup import Bench, figures
from benchmarks.polling.world import World
from benchmarks.shared.processes import Cost, run

SHARE: Final = 0.01  # of the objects change between two cycles
RESOLUTION: Final = 1.1  # seconds: a store tells only whole ones, and mirrors compare them


def large(bench: Bench) -> None:
    """1,000 tails of 100 items: read for the first time, then nothing changed, then 1% again and again."""
    fleet = bench.fleet(1_000, 100)
    job = f"{fleet.tails:,} tails x {fleet.items} items"
    with bench.world("large", fleet) as made:
        bench.say(f"{job}, all finished, first poll ever")
        bench.write(made, fleet.finish())
        with made.resident() as poller:
            first = f"{job}, first poll ever, all finished"
            bench.rows["first"].append(goals.first(first, _first(bench, poller, made, first)))
            bench.write(made, fleet.load_half())
            bench.learn(poller, made)
        with made.resident() as poller:
            _quiet(bench, poller, made, f"{job}, nothing changed")
            _changed(bench, poller, made, job)
            _profile(bench, poller, made)
        _once(bench, made, f"{job}, {SHARE:.0%} changed")


def small(bench: Bench) -> None:
    """100 tails of 100 items at the beginning: nothing changed, then changes arrive all the time."""
    fleet = bench.fleet(100, 100)
    with bench.world("small", fleet) as made:
        bench.say(f"{len(fleet):,} objects, nothing changed")
        bench.write(made, list(fleet.written()))
        with made.resident() as poller:
            bench.learn(poller, made)
            _unchanged(bench, poller, made, f"{len(fleet):,} objects, nothing changed")
        arriving(bench, made)


def million(bench: Bench) -> None:
    """5,000 tails of 200 items: what memory they take, and what an object costs when nothing changes."""
    fleet = bench.fleet(5_000, 200)
    job = f"{len(fleet):,} objects"
    with bench.world("million", fleet) as made:
        bench.say(f"{job}: all finished, then half of them on their way, before the first poll")
        fleet.finish()
        fleet.load_half()
        bench.write(made, list(fleet.written()))
        with made.resident() as poller:
            first = _first(bench, poller, made, f"{job}, first poll ever")
        with made.resident() as poller:
            later = _unchanged(bench, poller, made, f"{job}, nothing changed")
            bench.say(f"{job}, {SHARE:.0%} changed")
            _change(bench, made, 1)
            later.append(bench.poll(poller, made, bench.way(f"{job}, {SHARE:.0%} changed", OURS)))
    for when, cycles in (("first poll ever", first), (f"nothing changed, then {SHARE:.0%}", later)):
        bench.rows["memory"].append(goals.memory(f"{job}, {when}", [cycle.rss for cycle in cycles]))


def _first(bench: Bench, poller: Resident, made: World, job: str) -> list[Cycle]:
    """All that is new is read, in as many cycles as that takes."""
    cycles = bench.learn(poller, made)
    gets = sum(cycle.status_gets + cycle.media_gets for cycle in cycles)
    lists = sum(cycle.status_lists + cycle.media_lists for cycle in cycles)
    cost = Cost(sum(cycle.wall for cycle in cycles), sum(cycle.cpu for cycle in cycles), cycles[-1].rss)
    way = bench.way(job, f"{len(cycles)} cycles" if len(cycles) > 1 else OURS)
    way.add(cost, lists, gets, bench.check(made))
    return cycles


def _changed(bench: Bench, poller: Resident, made: World, fleet: str) -> None:
    """1% changed before each round of ours, theirs, theirs; then other values, which only we are shown."""
    job, other = f"{fleet}, {SHARE:.0%} changed", f"{fleet}, {SHARE:.0%} changed, half to any value"
    beside = mirrors(made, made.folder, [name for name in bench.peers if name != CURL])
    ours = bench.way(job, OURS)
    ways = {mirror.name: bench.way(job, mirror.name) for mirror in beside}
    others = bench.way(other, OURS)
    cycles, tails = list[Cycle](), list[int]()
    for turn in range(1 + bench.runs):
        bench.say(f"{job}: {'warm-up' if turn == 0 else f'round {turn}'}")
        written = _change(bench, made, turn)
        tails.append(tails_of(written))
        cycle = bench.poll(poller, made, ours if turn else None)
        cycles += [cycle] if turn else []
        for mirror in beside:
            _sync(bench, mirror, written, ways[mirror.name] if turn else None)
    bench.note(f"{job}: {len(written):,} objects on {min(tails):,} to {max(tails):,} tails")
    foreign = list[Cycle]()
    for turn in range(1, 1 + bench.runs):
        bench.say(f"{other}: round {turn}")
        _change(bench, made, bench.runs + turn, foreign=0.5)
        foreign.append(bench.poll(poller, made, others))
    walls = {name: way.walls for name, way in ways.items()}
    bench.rows["changed"] += goals.against(job, walls | {OURS: ours.walls})
    bench.rows["changed"] += goals.requests(job, len(made.fleet), cycles)
    bench.rows["foreign"] += goals.against(other, walls | {OURS: others.walls})
    bench.rows["foreign"].append(goals.foreign(other, foreign))


def _change(bench: Bench, made: World, turn: int, *, foreign: float = 0.0) -> list[Written]:
    time.sleep(RESOLUTION)
    written = made.fleet.advance(max(round(len(made.fleet) * SHARE), 1), turn, foreign=foreign)
    bench.write(made, written)
    return written


def _sync(bench: Bench, mirror: Mirror, written: Sequence[Written], way: Way | None) -> None:
    before = served(bench.store)
    cost = mirror.sync()
    lists, gets = spent(before, served(bench.store))
    missed = mirror.missed(written)
    bench.say(f"  {mirror.name}: {figures(cost)}, {lists} LIST, {gets} GET, {missed} missed")
    if way:
        way.add(cost, lists, gets, missed)


def _profile(bench: Bench, poller: Resident, made: World) -> None:
    """Where the time goes when 1% changed, and when nothing did."""
    if bench.profiles is not None:
        _change(bench, made, 2 * bench.runs + 1)
        for name in ("changed", "quiet"):
            poller.poll(bench.profiles / f"{name}.txt")


def _once(bench: Bench, made: World, job: str) -> None:
    """The same as a command, started anew each time: not judged, as production polls from a process that lives on."""
    bench.say(f"{job}: the command")
    way = bench.way(job, "`poll_buckets --once`, a process each time")
    for turn in range(bench.runs):
        _change(bench, made, 2 * bench.runs + 2 + turn)
        before = served(bench.store)
        cost = run(made.once(), made.told)
        lists, gets = spent(before, served(bench.store))
        missed = bench.check(made)
        bench.say(f"  poll_buckets --once: {figures(cost)}, {missed} missed")
        way.add(cost, lists, gets, missed)


def _quiet(bench: Bench, poller: Resident, made: World, job: str) -> None:
    """In turns with curl, if it is there."""
    listing = Listing(made, made.folder) if CURL in bench.peers else None
    beside = Way(job, f"{CURL}")
    cycles = _unchanged(bench, poller, made, job, listing, beside)
    if listing:
        bench.ways.append(beside)
    bench.rows["quiet"] += goals.quiet(job, cycles, beside.walls)


def _unchanged(
    bench: Bench, poller: Resident, made: World, job: str, listing: Listing | None = None, beside: Way | None = None
) -> list[Cycle]:
    """Cycles that find nothing; the first does not count."""
    bench.say(job)
    way, cycles = bench.way(job, OURS), list[Cycle]()
    for turn in range(1 + bench.runs):
        cycle = bench.poll(poller, made, way if turn else None)
        cycles += [cycle] if turn else []
        if listing and beside is not None:
            before = served(bench.store)
            cost = listing.run()
            lists, gets = spent(before, served(bench.store))
            bench.say(f"  {CURL}: {figures(cost)}, {lists} LIST")
            if turn:
                beside.add(cost, lists, gets, 0)
    bench.walls[len(made.fleet)] = [cycle.wall for cycle in cycles]
    return cycles
