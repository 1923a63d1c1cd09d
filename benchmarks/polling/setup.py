"""The configuration and the results that the jobs of `benchmarks.polling` share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from benchmarks.polling.cycle import Cycle, PollingProcess
from benchmarks.polling.deployment import Deployment, deployment
from benchmarks.polling.fleet import Fleet, ObjectValue, tails_of
from benchmarks.polling.goals import MB, ONE_CYCLE, Way, cycle_cost
from benchmarks.shared.goals import Row
from benchmarks.shared.processes import Cost, MeasurementError
from ifeportal.embedded.seaweedfs import SeaweedFS

MAX_CYCLES: Final = 60  # until all objects of a new fleet are known
Kind = Literal["changed", "foreign", "first", "quiet", "arriving", "memory"]
KINDS: Final[tuple[Kind, ...]] = ("changed", "foreign", "first", "quiet", "arriving", "memory")


@dataclass
class Bench:
    """Configuration and results of all jobs. `log` receives a line for every run; `peers` are names of programs.

    `rate` is in changes per second, for `seconds`. `profiles` is a folder for profiles, if wanted. `walls`: seconds of
    cycles without changes, by number of objects.
    """

    store: SeaweedFS
    database: str
    folder: Path
    peers: Sequence[str]
    runs: int
    scale: float
    seed: int
    rate: float
    seconds: float
    log: Callable[[str], None]
    profiles: Path | None = None
    rows: dict[Kind, list[Row]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    ways: list[Way] = field(default_factory=list)
    walls: dict[int, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    missed: int = 0

    def fleet(self, tails: int, items: int) -> Fleet:
        """Return a new fleet, reduced by the scale."""
        return Fleet(max(round(tails * self.scale), 1), items, self.seed)

    @contextmanager
    def deployment(self, name: str, fleet: Fleet) -> Iterator[Deployment]:
        """Deploy a fleet; its processes and its database are removed at the end."""
        with deployment(f"bench-{name}", fleet, self.store, self.database, self.folder) as deployed:
            yield deployed

    def add_note(self, sentence: str) -> None:
        """Add a sentence to print below the tables."""
        self.notes.append(sentence)
        self.log(f"  {sentence}")

    def write(self, deployed: Deployment, objects: Sequence[ObjectValue]) -> None:
        """Put objects and log the time."""
        seconds = deployed.writers.put(objects)
        self.log(f"  {len(objects):,} objects on {tails_of(objects):,} tails written in {seconds:.1f} s")

    def way(self, job: str, name: str) -> Way:
        """Add a row to the second table."""
        self.ways.append(Way(job, name))
        return self.ways[-1]

    def poll(self, poller: PollingProcess, deployed: Deployment, way: Way | None = None) -> Cycle:
        """Run one cycle, then compare the rows with the objects."""
        cycle, missed = poller.poll(), self.check_rows(deployed)
        requests = f"{cycle.status_lists} LIST, {cycle.status_gets} GET"
        database = f"{cycle.statements} statements, {cycle.writes} writing"
        self.log(f"  {ONE_CYCLE}: {format_cost(cycle_cost(cycle))}, {requests}, {database}, {missed} missed")
        if way:
            way.add(
                cycle_cost(cycle), cycle.status_lists + cycle.media_lists, cycle.status_gets + cycle.media_gets, missed
            )
        return cycle

    def check_rows(self, deployed: Deployment) -> int:
        """Return how many objects have no row with their value."""
        missed = deployed.count_missed()
        self.missed += missed
        return missed

    def poll_until_known(self, poller: PollingProcess, deployed: Deployment) -> list[Cycle]:
        """Poll until a cycle finds no changes; return the cycles before it. Raises MeasurementError."""
        cycles = list[Cycle]()
        while len(cycles) < MAX_CYCLES:
            cycle = poller.poll()
            self.log(
                f"  {ONE_CYCLE}: {format_cost(cycle_cost(cycle))},"
                f" {cycle.changed:,} of {cycle.listed:,} objects changed"
            )
            if not cycle.changed and cycle.listed >= len(deployed.fleet):
                deployed.vacuum()
                return cycles
            cycles.append(cycle)
        raise MeasurementError(f"{MAX_CYCLES} cycles did not read all changes")


def format_cost(cost: Cost) -> str:
    return f"{cost.wall:.2f} s, CPU {cost.cpu:.2f} s, {cost.rss / MB:.0f} MB"
