"""What a fleet of any size needs: arithmetic over costs that `python -m benchmarks.scaling` measured. Pure.

`benchmarks.scaling.needs` makes the tables of docs/scaling.md of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from fleet.reconcile.partitions import PARTITION_KEYS, UNPARTITIONED_LIMIT

DAY: Final = 86_400
PAGE: Final = 1_000  # keys
# USD a request: list prices of S3 Standard (as in `fleet.usage`, which needs Django) and of SQS.
LIST_PRICE: Final = 5e-6
GET_PRICE: Final = 4e-7
SQS_PRICE: Final = 4e-7  # https://aws.amazon.com/sqs/pricing/, a standard queue, first tier
EVENTS_A_REQUEST: Final = 10
MESSAGES_A_BATCH: Final = 500  # as in `fleet.polling.event_consumer`
FETCHERS: Final = 8  # as in `fleet.polling.fetcher`
Answer = Mapping[str, Any]
Sizes = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of CPU of a worker and of PostgreSQL, rows and bytes of its log written."""

    worker: float = 0.0
    database: float = 0.0
    rows: float = 0.0
    log: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))

    def __mul__(self, times: float) -> Cost:
        return Cost(*(getattr(self, name) * times for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Measured:
    """What a poll costs whatever it finds, each 1,000 keys listed, a heartbeat (fetched), a changed transfer
    (recognised), and one that events told of (fetched); publications a second; bytes a row takes with its indexes."""

    poll: Cost
    thousand: Cost
    heartbeat: Cost
    change: Cost
    pushed: Cost
    publications: float
    row_bytes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Operator:
    """`tails` of each airline."""

    airlines: int
    tails: int

    @property
    def name(self) -> str:
        """As it heads a column."""
        return f"{self.airlines:,} x {self.tails:,}"


@dataclass(frozen=True, slots=True)
class TailProfile:
    """What every tail does. `campaigns` lie in the status bucket until they are archived; `size` in bytes.

    In a campaign week each tail loads all `items` once, `link` bytes a second, and reports every `report` seconds; in a
    quiet one nothing loads. Half the time (`online`) it has a link, and says so every `heartbeat` seconds. `interval`
    and `ceiling` are POLL_INTERVAL and POLL_CEILING, `page` and `fetch` the seconds S3 takes for a page of a listing
    and for a GET.
    """

    items: int = 20
    campaigns: int = 2
    campaigns_a_year: int = 12
    size: float = 700e6
    link: float = 625e3
    report: float = 2.0
    online: float = 0.5
    heartbeat: float = 300.0
    interval: float = 2.0
    ceiling: float = 60.0
    page: float = 0.05
    fetch: float = 0.03

    @property
    def loading_seconds(self) -> float:
        """How long a tail loads a campaign."""
        return self.items * self.size / self.link


@dataclass(frozen=True, slots=True)
class DailyNeed:
    """What a day takes: requests, the USD S3 (and SQS) ask for them, seconds of CPU, rows and bytes of log, changes,
    publications into the feed; the seconds in which one listing can be read; and how much of the events that one worker
    can take there are (0: none)."""

    lists: float
    gets: float
    usd: float
    cost: Cost
    changes: float
    publications: float
    listing: float
    events: float


def estimate_day(
    operator: Operator, profile: TailProfile, measured: Measured, *, loading: bool, pushed: bool = False
) -> DailyNeed:
    """A day of that operator. `pushed`: events tell what changed, and listing is but the safety net."""
    keys = operator.tails * (profile.items * profile.campaigns + 1)
    parts = ceil(keys / PARTITION_KEYS) if keys > UNPARTITIONED_LIMIT else 1
    listing = ceil(keys / parts / PAGE) * profile.page  # parts are listed at the same time
    often = loading and not pushed
    pause = max(profile.interval if often else profile.ceiling, listing)
    polls = operator.airlines * DAY / pause
    changes = operator.airlines * operator.tails * profile.loading_seconds / profile.report / 7 if loading else 0.0
    beats = operator.airlines * operator.tails * profile.online * DAY / profile.heartbeat
    lists = polls * (ceil(keys / PAGE) + 1 + (ceil(operator.tails / PAGE) if parts > 1 else 0))
    cost = measured.poll * (polls * parts) + measured.thousand * (polls * keys / PAGE) + measured.heartbeat * beats
    if not pushed:
        # One publication for the tails that changed, one for the sums.
        found = 2 * min(polls * parts, changes + beats)
        cost += measured.change * changes
        return DailyNeed(lists, beats, lists * LIST_PRICE + beats * GET_PRICE, cost, changes, found, listing, 0.0)
    rate, batch = changes + beats, batch_seconds(operator, profile, measured)
    batches = min(rate, DAY / batch * min(operator.airlines, MESSAGES_A_BATCH))  # of one airline each
    cost += measured.pushed * changes + measured.poll * batches
    usd = lists * LIST_PRICE + rate * GET_PRICE + rate / EVENTS_A_REQUEST * 2 * SQS_PRICE  # received, then deleted
    share = rate / DAY * batch / MESSAGES_A_BATCH
    return DailyNeed(lists, rate, usd, cost, changes, 2 * batches, listing, share)


def batch_seconds(operator: Operator, profile: TailProfile, measured: Measured) -> float:
    """How long the worker that takes events is busy with a full batch, spread over all airlines."""
    each = measured.pushed.worker + measured.pushed.database + profile.fetch / FETCHERS
    airlines = min(operator.airlines, MESSAGES_A_BATCH)
    return airlines * (measured.poll.worker + measured.poll.database) + MESSAGES_A_BATCH * each


def rows_a_year(operator: Operator, profile: TailProfile) -> dict[str, float]:
    """Rows that a year adds, by table, once samples are thinned to one an hour of loading."""
    loads = operator.airlines * operator.tails * profile.campaigns_a_year
    return {
        "fleet_load": loads,
        "fleet_transfer": loads * profile.items,
        "fleet_progresssample": loads * (profile.loading_seconds / 3600 + 1),
        "live_change": loads * (profile.items + 1),  # what each transfer and load last said
    }


def samples_at_most(operator: Operator, profile: TailProfile) -> float:
    """Samples at the end of a campaign week: every report of the last hour, then each minute of two days."""
    tails, seconds = operator.airlines * operator.tails, profile.loading_seconds
    loading = tails * seconds / (7 * DAY)  # at a moment
    return loading * 3600 / max(profile.report, profile.interval) + tails * 2 / 7 * seconds / 60


def size_of(rows: Mapping[str, float], measured: Measured) -> float:
    """Bytes of so many rows, with their indexes."""
    return sum(count * measured.row_bytes[table] for table, count in rows.items())


def measured_costs(found: Mapping[str, Sequence[Answer]], bare: Answer, sizes: Sizes, publications: float) -> Measured:
    """The measured costs, from what a run answered by step; `bare` polled airlines of a single tail."""
    poll = _cost(bare) * (1 / bare["airlines"])
    quiet = _mean([_cost(answer) for answer in found["nothing new"]])
    first = found["nothing new"][0]
    thousand = (quiet + poll * -first["airlines"]) * (PAGE / first["objects_seen"])
    return Measured(
        poll=poll,
        thousand=thousand,
        heartbeat=_each(found["heartbeats"], quiet, "get_requests"),
        change=_each(found["loading"], quiet, "transfers_changed"),
        pushed=_each(found["pushed"], poll * first["airlines"], "transfers_changed"),
        publications=publications,
        row_bytes={table: round(size["bytes"] / max(size["rows"], 1)) for table, size in sizes.items()},
    )


def _each(answers: Sequence[Answer], without: Cost, what: str) -> Cost:
    """What one of `what` cost, on top of a poll without any."""
    return _mean([(_cost(answer) + without * -1) * (1 / answer[what]) for answer in answers])


def _cost(answer: Answer) -> Cost:
    return Cost(answer["cpu"], answer["database"], answer["rows"], answer["log"])


def _mean(costs: Sequence[Cost]) -> Cost:
    return sum(costs, Cost()) * (1 / len(costs))
