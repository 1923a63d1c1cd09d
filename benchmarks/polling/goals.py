"""The goals of polling and the arithmetic that compares them with the results. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import ceil, inf
from typing import Final

from benchmarks.polling.cycle import Cycle
from benchmarks.polling.fleet import ObjectValue
from benchmarks.polling.peers import AWS, CURL, KEYS_A_PAGE, RCLONE, S5CMD
from benchmarks.polling.rows import Observation
from benchmarks.shared.goals import Row, median, median_row, percentile, ratio_row
from benchmarks.shared.processes import Cost

ONE_CYCLE: Final = "one cycle"
PEER_GOALS: Final = ((S5CMD, 0.4), (RCLONE, 1.0), (AWS, 0.2))
LIST_PRICE: Final = 0.005 / 1_000  # USD per request, S3 Standard in us-east-1; below: GET and HEAD
GET_PRICE: Final = 0.0004 / 1_000
MAX_GROWTH: Final = 1.2
MAX_DELAY: Final = 3.0  # seconds
MAX_SLOWDOWN: Final = 1.05  # above it, the store could not write fast enough
MAX_MEMORY: Final = 200.0  # MB
MB: Final = 1_000_000
HEADINGS: Final = ("job", "way", "wall", "CPU", "peak RSS", "LIST", "GET", "USD for 1,000", "missed")


@dataclass
class Way:
    """One way of doing a job and the cost of each run. `missed` counts values that the run did not notice."""

    job: str
    name: str
    costs: list[Cost] = field(default_factory=list)
    requests: list[tuple[int, int]] = field(default_factory=list)
    missed: int = 0

    def add(self, cost: Cost, lists: int, gets: int, missed: int) -> None:
        """Add one run."""
        self.costs.append(cost)
        self.requests.append((lists, gets))
        self.missed += missed

    @property
    def walls(self) -> list[float]:
        """Return the seconds of each run."""
        return [cost.wall for cost in self.costs]

    def cells(self) -> list[str]:
        """Return the cells of the table row: medians, the price of a thousand runs, the largest memory."""
        lists, gets = (median([float(pair[each]) for pair in self.requests]) for each in (0, 1))
        figures = [
            f"{median(self.walls):.2f} s",
            f"{median([cost.cpu for cost in self.costs]):.2f} s",
            f"{max(cost.rss for cost in self.costs) / MB:.0f} MB",
        ]
        return [self.job, self.name, *figures, f"{lists:,.0f}", f"{gets:,.0f}", _usd(lists, gets), str(self.missed)]


def cycle_cost(cycle: Cycle) -> Cost:
    return Cost(cycle.wall, cycle.cpu, cycle.rss)


def request_price(lists: float, gets: float) -> float:
    """Return the price in USD at S3's list price."""
    return lists * LIST_PRICE + gets * GET_PRICE


def peer_rows(job: str, walls: Mapping[str, Sequence[float]]) -> list[Row]:
    """Return the ratios to the peers that ran. `walls` contains ONE_CYCLE."""
    return [
        ratio_row(job, f"wall, database included ÷ `{peer}`", goal, walls[ONE_CYCLE], walls[peer])
        for peer, goal in PEER_GOALS
        if peer in walls
    ]


def request_rows(job: str, objects: int, cycles: Sequence[Cycle]) -> list[Row]:
    """Return LIST and GET requests of the status bucket, with values that only our loader reports."""
    lists = [float(cycle.status_lists) for cycle in cycles]
    gets = [float(cycle.status_gets) for cycle in cycles]
    return [
        median_row(
            job,
            f"LIST of the status bucket: {objects:,} ÷ {KEYS_A_PAGE:,}",
            ceil(objects / KEYS_A_PAGE),
            lists,
            "count",
        ),
        median_row(job, "GET, values of our loader", 0, gets, "count"),
    ]


def foreign_row(job: str, cycles: Sequence[Cycle]) -> Row:
    """Return the GET requests for each changed object, whatever its value."""
    return median_row(job, "GET ÷ changed objects", 1, [cycle.status_gets / cycle.changed for cycle in cycles], "")


def first_poll_row(job: str, cycles: Sequence[Cycle]) -> Row:
    """Return the GET requests until all objects are known."""
    return Row(job, "GET of status objects", 0, sum(cycle.status_gets for cycle in cycles), "count")


def unchanged_rows(job: str, cycles: Sequence[Cycle], listings: Sequence[float]) -> list[Row]:
    """Return the results of cycles without changes. `listings`: seconds of curl, if it ran."""
    walls = [cycle.wall for cycle in cycles]
    rows = [ratio_row(job, f"wall ÷ `{CURL}`", 1.3, walls, listings)] if listings else []
    return [*rows, median_row(job, "statements that write", 0, [float(cycle.writes) for cycle in cycles], "count")]


def growth_rows(walls: Mapping[int, Sequence[float]]) -> list[Row]:
    """Return the growth of the time per object with the size of the fleet; `walls` by number of objects. Compares the
    largest fleet with the cheapest of the smaller ones.
    """
    if len(walls) < 2:
        return []
    largest = max(walls)
    base = min(median(seconds) / objects for objects, seconds in walls.items() if objects != largest)
    job = " vs ".join(f"{objects:,}" for objects in sorted(walls)) + " objects, nothing changed"
    return [ratio_row(job, "wall per object grows by", MAX_GROWTH, [wall / largest for wall in walls[largest]], [base])]


def write_delays(
    written: Sequence[ObjectValue], acknowledged: Sequence[float], observations: Mapping[str, Sequence[Observation]]
) -> list[float]:
    """Return the seconds from each write to a watched object until a row had its value or a newer one.

    Values of an object only grow. Infinite if no row ever had it.
    """
    return [
        _delay(observations[key], value, at)
        for (key, value), at in zip(written, acknowledged, strict=True)
        if key in observations
    ]


def arriving_rows(job: str, delays: Sequence[float], slowdown: float) -> list[Row]:
    """Return the delays; the goal is for the 95th percentile. `slowdown`: requested ÷ actual rate of changes."""
    found = [percentile(delays, share) for share in (50, 95)]
    return [
        Row(job, "seconds behind, p95 (spread: p50 to the longest)", MAX_DELAY, found[1], "s", found[0], max(delays)),
        Row(job, "changes a second: asked for ÷ written", MAX_SLOWDOWN, slowdown),
    ]


def memory_row(job: str, peaks: Sequence[int]) -> Row:
    """Return the largest memory."""
    return Row(job, "peak RSS of the process that polls", MAX_MEMORY, max(peaks) / MB, "MB")


def ways_table(ways: Sequence[Way]) -> str:
    """Return the second Markdown table of docs/performance.md."""
    lines = [list(HEADINGS), ["---", "---", *["---:"] * (len(HEADINGS) - 2)], *(way.cells() for way in ways)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _delay(observations: Sequence[Observation], value: int, at: float) -> float:
    highest = list(accumulate((observations for _, observations in observations), max))
    found = bisect_left(highest, value)
    return max(observations[found][0] - at, 0.0) if found < len(observations) else inf


def _usd(lists: float, gets: float) -> str:
    return f"{1_000 * request_price(lists, gets):.3f}"
