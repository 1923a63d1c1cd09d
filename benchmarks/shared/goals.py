"""Goals of the loader and the table that compares them with the results. Pure."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal

MIB: Final = 1 << 20
HEADINGS: Final = ("job", "measure", "goal", "found", "", "spread")
JOBS: Final = {
    "a": "a: 4 x 512 MiB",
    "b": "b: 200 x 2 MiB",
    "c": "c: 1 x 2 GiB",
    "link": "80 ms, 0.5% loss, 20 Mbit/s: 1 x 200 MiB",
    "progress": "a: 4 x 512 MiB",
    "rss": "1 x 20 GiB",
    "resume": "SIGKILL at 70% of 2 GiB, then to the end",
    "idle": "offline, nothing to do",
    "once": "`run_loader --once`, nothing to do",
}
BARE: Final = "wall ÷ `s5cmd cp` (neither verified nor durable)"
EQUAL: Final = "wall ÷ (`s5cmd cp`, `openssl sha256` two at a time, `sync -d`)"
AWS: Final = "wall ÷ `aws s3 cp` classic (not verified)"
RCLONE: Final = "wall ÷ `rclone copy --multi-thread-streams 0` (hashes)"
Unit = Literal["", "s", "MiB", "MB", "%", "count"]


def parse_jobs(known: Collection[str], text: str) -> list[str]:
    """Return the names in a comma-separated list. Raises ArgumentTypeError."""
    names = text.split(",")
    if unknown := set(names).difference(known):
        raise ArgumentTypeError(f"{', '.join(sorted(unknown))}: not one of {', '.join(known)}")
    return names


@dataclass(frozen=True, slots=True)
class Row:
    """One goal and its result, both in `unit` (empty: a ratio). `low` and `high` are the extremes of single runs. `job`
    is one of JOBS, or a description.
    """

    job: str
    measure: str
    goal: float
    found: float
    unit: Unit = ""
    low: float | None = None
    high: float | None = None

    @property
    def met(self) -> bool:
        """Return whether the goal is met. Compares the rounded value that the table shows."""
        return round(self.found, 2) <= self.goal

    def cells(self) -> list[str]:
        """Return the cells of the table row."""
        spread = "" if self.low is None or self.high is None else f"{self._show(self.low)}-{self._show(self.high)}"
        verdict = "met" if self.met else "**missed**"
        goal = f"≤ {self._figure(self.goal)}{self._unit}"
        return [JOBS.get(self.job, self.job), self.measure, goal, self._show(self.found) + self._unit, verdict, spread]

    def as_json(self) -> dict[str, object]:
        return asdict(self) | {"met": self.met}

    @property
    def _unit(self) -> str:
        return {"": "", "%": "%", "count": ""}.get(self.unit, f" {self.unit}")

    def _figure(self, goal: float) -> str:
        return f"{goal:,.0f}" if self.unit == "count" else f"{goal:g}"

    def _show(self, value: float) -> str:
        digits = {"MiB": 1, "MB": 1, "count": 0}.get(self.unit, 2)
        return f"{value:,.{digits}f}"


def ratio_row(job: str, measure: str, goal: float, values: Sequence[float], baseline: Sequence[float]) -> Row:
    """Return the ratio of the medians. The spread is that of `values` to the median of `baseline`."""
    base = median(baseline)
    return Row(job, measure, goal, median(values) / base, "", min(values) / base, max(values) / base)


def median_row(job: str, measure: str, goal: float, found: Sequence[float], unit: Unit) -> Row:
    """Return the median with its spread."""
    return Row(job, measure, goal, median(found), unit, min(found), max(found))


def median(values: Sequence[float]) -> float:
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2


def percentile(values: Sequence[float], share: int) -> float:
    """Return the smallest value that `share` percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[-(-len(ordered) * share // 100) - 1]


def table(rows: Sequence[Row]) -> str:
    """Return the Markdown table of docs/performance.md."""
    lines = [list(HEADINGS), ["---", "---", "---:", "---:", "---", "---:"], *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)
