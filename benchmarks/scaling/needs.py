"""The tables of docs/scaling.md: the needs of operators of several sizes, from the model and the measurements. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from benchmarks.scaling.capacity import (
    DAY,
    Cost,
    DailyNeed,
    Measured,
    Operator,
    TailProfile,
    estimate_day,
    rows_a_year,
    samples_at_most,
    size_of,
)

# Printed by `python -m benchmarks.scaling`; docs/scaling.md says when and where.
MEASURED: Final = Measured(
    poll=Cost(0.0109, 0.0030, 0.0, 0.0),
    thousand=Cost(0.0097, 0.0053, 0.0, 140.0),
    heartbeat=Cost(0.00086, 0.00008, 2.0, 2_000.0),
    change=Cost(0.00087, 0.00047, 7.0, 10_400.0),
    pushed=Cost(0.00167, 0.00044, 7.0, 8_500.0),
    publications=159.0,
    row_bytes={
        "fleet_tail": 267,
        "fleet_load": 421,
        "fleet_transfer": 311,
        "fleet_progresssample": 143,
        "live_change": 1_087,
    },
)
OPERATORS: Final = (Operator(1, 100), Operator(10, 300), Operator(50, 500), Operator(200, 1_000))
PROFILE: Final = TailProfile()
SLOW_PROFILE: Final = TailProfile(report=30.0, interval=10.0)
LIMITS: Final[Mapping[str, tuple[str, float]]] = {
    "worker": ("workers: 4 cores, 70% busy", 4 * 0.7),
    "database": ("PostgreSQL: 8 cores, 70% busy", 8 * 0.7),
    "log": ("PostgreSQL: 100 MB of log a second", 100e6),
    "feed": ("the feed's counter: 70% of the publications measured", 0.7),
    "listing": ("a listing within the poll interval", 1.0),
}
Figure = Callable[[DailyNeed], str]
FIGURES: Final[tuple[tuple[str, Figure], ...]] = (
    ("LIST requests a day", lambda day: _short(day.lists)),
    ("GET requests a day", lambda day: _short(day.gets)),
    ("USD a day", lambda day: f"{day.usd:,.2f}" if day.usd < 10 else f"{day.usd:,.0f}"),
    ("cores of workers", lambda day: f"{day.cost.worker / DAY:.2f}"),
    ("cores of PostgreSQL", lambda day: f"{day.cost.database / DAY:.2f}"),
    ("rows written a second", lambda day: _short(day.cost.rows / DAY)),
    ("MB of PostgreSQL's log a second", lambda day: f"{day.cost.log / DAY / 1e6:.2f}"),
    ("publications a second", lambda day: f"{day.publications / DAY:.1f}"),
)
EVENTS: Final[tuple[str, Figure]] = ("events, of what one worker can take", lambda day: f"{day.events:.0%}")


def demand_table(days: Sequence[DailyNeed]) -> str:
    """Return the table of daily needs, one column per operator."""
    figures = [*FIGURES, EVENTS] if any(day.events for day in days) else FIGURES
    return _table(
        ["", *(operator.name for operator in OPERATORS)], [[name, *map(figure, days)] for name, figure in figures]
    )


def days(*, loading: bool, pushed: bool = False, profile: TailProfile = PROFILE) -> list[DailyNeed]:
    """Return a day of each operator."""
    return [estimate_day(operator, profile, MEASURED, loading=loading, pushed=pushed) for operator in OPERATORS]


def fleet_table() -> str:
    """Return the table of fleet sizes and growth."""
    lines: dict[str, list[float]] = {
        "tails": [operator.airlines * operator.tails for operator in OPERATORS],
        "keys in the status bucket": [
            operator.airlines * operator.tails * (PROFILE.items * PROFILE.campaigns + 1) for operator in OPERATORS
        ],
        "tails that load at a moment of a campaign week": [
            operator.airlines * operator.tails * PROFILE.loading_seconds / 7 / DAY for operator in OPERATORS
        ],
        "reports a second in a campaign week": [day.changes / DAY for day in days(loading=True)],
        "transfers a year": [rows_a_year(operator, PROFILE)["fleet_transfer"] for operator in OPERATORS],
        "samples at the end of a campaign week": [samples_at_most(operator, PROFILE) for operator in OPERATORS],
    }
    sizes = {
        "GB a year": [size_of(rows_a_year(operator, PROFILE), MEASURED) / 1e9 for operator in OPERATORS],
        "GB of samples at the end of a campaign week": [
            size_of({"fleet_progresssample": samples_at_most(operator, PROFILE)}, MEASURED) / 1e9
            for operator in OPERATORS
        ],
    }
    rows = [[name, *(_short(value) for value in values)] for name, values in lines.items()]
    rows += [[name, *(f"{value:.2f}" for value in values)] for name, values in sizes.items()]
    return _table(["", *(operator.name for operator in OPERATORS)], rows)


def tail_table() -> str:
    """Return the table of what a tail adds in a year."""
    rows = {"fleet_tail": 1.0, **rows_a_year(Operator(1, 1), PROFILE)}
    lines = [
        [f"`{name}`", f"{count:.0f}", f"{size_of({name: count}, MEASURED) / 1e3:.1f}"] for name, count in rows.items()
    ]
    return _table(["", "rows a tail and year", "KB a tail and year"], lines)


def limit_shares(day: DailyNeed, profile: TailProfile) -> dict[str, float]:
    """Return the used share of each limit on a day. More than 1 exceeds the limit."""
    per_second = {
        "worker": day.cost.worker / DAY,
        "database": day.cost.database / DAY,
        "log": day.cost.log / DAY,
        "feed": day.publications / DAY / MEASURED.publications,
        "listing": day.listing / profile.interval,
    }
    return {name: value / LIMITS[name][1] for name, value in per_second.items()}


def saturation_table(found: Sequence[DailyNeed], profile: TailProfile = PROFILE) -> str:
    """Return the table of the used share of each limit, the largest in bold."""
    columns = [limit_shares(day, profile) for day in found]
    rows = [
        [
            text,
            *(
                f"**{column[name]:.0%}**" if column[name] == max(column.values()) else f"{column[name]:.0%}"
                for column in columns
            ),
        ]
        for name, (text, _) in LIMITS.items()
    ]
    return _table(["", *(operator.name for operator in OPERATORS)], rows)


def tables() -> dict[str, str]:
    """Return all tables of docs/scaling.md, by heading."""
    campaign = days(loading=True)
    return {
        "What there is": fleet_table(),
        "A quiet day": demand_table(days(loading=False)),
        "A day of a campaign week, polled": demand_table(campaign),
        "A day of a campaign week, slower": demand_table(days(loading=True, profile=SLOW_PROFILE)),
        "A day of a campaign week, pushed": demand_table(days(loading=True, pushed=True)),
        "A day of a campaign week, slower and pushed": demand_table(
            days(loading=True, pushed=True, profile=SLOW_PROFILE)
        ),
        "What saturates first": saturation_table(campaign),
        "What a tail adds in a year": tail_table(),
    }


def document() -> str:
    """Return all tables as Markdown."""
    return "\n\n".join(f"### {title}\n\n{table}" for title, table in tables().items())


def _short(value: float) -> str:
    """Return a number with a unit prefix."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if unit == 'k' else size):,.{0 if unit == 'k' else 1}f} {unit}"
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)
