"""Calculate what a fleet of any size needs from the costs that `python -m benchmarks.scaling` measured. Pure.

`benchmarks.scaling.needs` formats the tables of docs/scaling.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from fleet.reconcile.partitions import PARTITION_KEYS, UNPARTITIONED_LIMIT

DAY: Final = 86_400
PAGE: Final = 1_000  # keys
# USD per request: list prices of S3 Standard (as in `fleet.usage`, which needs Django) and of SQS.
LIST_PRICE: Final = 5e-6
GET_PRICE: Final = 4e-7
SQS_PRICE: Final = 4e-7  # https://aws.amazon.com/sqs/pricing/, a standard queue, first tier
EVENTS_A_REQUEST: Final = 10
MESSAGES_A_BATCH: Final = 500  # the same as in `fleet.polling.event_consumer`
FETCHERS: Final = 8  # the same as in `fleet.polling.fetcher`
Answer = Mapping[str, Any]
Sizes = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of a worker and of PostgreSQL, and rows and bytes of write-ahead log written."""

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
    """Measured costs.

    A poll without changes, each 1,000 listed keys, a fetched heartbeat, a changed transfer recognised by its ETag, and
    one announced by an event and fetched; publications per second; bytes of a row with its indexes.
    """

    poll: Cost
    thousand: Cost
    heartbeat: Cost
    change: Cost
    pushed: Cost
    publications: float
    row_bytes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator of several airlines with `tails` tails each."""

    airlines: int
    tails: int

    @property
    def name(self) -> str:
        """Return the heading of its column."""
        return f"{self.airlines:,} x {self.tails:,}"


@dataclass(frozen=True, slots=True)
class TailProfile:
    """The activity of every tail. `campaigns` are in the status bucket until archived; `size` is in bytes.

    In a campaign week each tail loads all `items` once at `link` bytes per second, and reports every `report` seconds.
    In a quiet week nothing loads. A tail is online for the share `online` of the time and writes a heartbeat every
    `heartbeat` seconds. `interval` and `ceiling` are POLL_INTERVAL and POLL_CEILING. `page` and `fetch` are the seconds
    of S3 for a page of a listing and for a GET.
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
        """Return how long a tail loads a campaign."""
        return self.items * self.size / self.link


@dataclass(frozen=True, slots=True)
class DailyNeed:
    """Use per day: requests, their price in USD with S3 and SQS, CPU seconds, rows, log bytes, changes,
    publications.

    `listing` is the seconds for one listing. `events` is the share of one worker's capacity for events (0: no events).
    """

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
    """Return the needs of a day. `pushed`: events announce changes, and listing is only the fallback."""
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
        # One publication for the changed tails, one for the totals.
        published = 2 * min(polls * parts, changes + beats)
        cost += measured.change * changes
        return DailyNeed(lists, beats, lists * LIST_PRICE + beats * GET_PRICE, cost, changes, published, listing, 0.0)
    rate, batch = changes + beats, batch_seconds(operator, profile, measured)
    batches = min(rate, DAY / batch * min(operator.airlines, MESSAGES_A_BATCH))  # of one airline each
    cost += measured.pushed * changes + measured.poll * batches
    usd = lists * LIST_PRICE + rate * GET_PRICE + rate / EVENTS_A_REQUEST * 2 * SQS_PRICE  # received, then deleted
    share = rate / DAY * batch / MESSAGES_A_BATCH
    return DailyNeed(lists, rate, usd, cost, changes, 2 * batches, listing, share)


def batch_seconds(operator: Operator, profile: TailProfile, measured: Measured) -> float:
    """Return how long a worker needs for a full batch of events, spread over all airlines."""
    each = measured.pushed.worker + measured.pushed.database + profile.fetch / FETCHERS
    airlines = min(operator.airlines, MESSAGES_A_BATCH)
    return airlines * (measured.poll.worker + measured.poll.database) + MESSAGES_A_BATCH * each


def rows_a_year(operator: Operator, profile: TailProfile) -> dict[str, float]:
    """Return the rows that a year adds, by table, with samples thinned to one per hour of loading."""
    loads = operator.airlines * operator.tails * profile.campaigns_a_year
    return {
        "fleet_load": loads,
        "fleet_transfer": loads * profile.items,
        "fleet_progresssample": loads * (profile.loading_seconds / 3600 + 1),
        "live_change": loads * (profile.items + 1),  # the last state of each transfer and load
    }


def samples_at_most(operator: Operator, profile: TailProfile) -> float:
    """Return the samples at the end of a campaign week.

    Every report of the last hour is stored, then one per minute for two days.
    """
    tails, seconds = operator.airlines * operator.tails, profile.loading_seconds
    loading = tails * seconds / (7 * DAY)  # at any time
    return loading * 3600 / max(profile.report, profile.interval) + tails * 2 / 7 * seconds / 60


def size_of(rows: Mapping[str, float], measured: Measured) -> float:
    """Return the bytes of these rows with their indexes."""
    return sum(count * measured.row_bytes[table] for table, count in rows.items())


def measured_costs(steps: Mapping[str, Sequence[Answer]], bare: Answer, sizes: Sizes, publications: float) -> Measured:
    """Return the costs from the responses of each step; `bare` polled airlines of a single tail."""
    poll = _cost(bare) * (1 / bare["airlines"])
    quiet = _mean([_cost(answer) for answer in steps["nothing new"]])
    first = steps["nothing new"][0]
    thousand = (quiet + poll * -first["airlines"]) * (PAGE / first["objects_seen"])
    return Measured(
        poll=poll,
        thousand=thousand,
        heartbeat=_each(steps["heartbeats"], quiet, "get_requests"),
        change=_each(steps["loading"], quiet, "transfers_changed"),
        pushed=_each(steps["pushed"], poll * first["airlines"], "transfers_changed"),
        publications=publications,
        row_bytes={table: round(size["bytes"] / max(size["rows"], 1)) for table, size in sizes.items()},
    )


def _each(answers: Sequence[Answer], without: Cost, what: str) -> Cost:
    """Return the cost of one `what`, in addition to a poll without any."""
    return _mean([(_cost(answer) + without * -1) * (1 / answer[what]) for answer in answers])


def _cost(answer: Answer) -> Cost:
    return Cost(answer["cpu"], answer["database"], answer["rows"], answer["log"])


def _mean(costs: Sequence[Cost]) -> Cost:
    return sum(costs, Cost()) * (1 / len(costs))
