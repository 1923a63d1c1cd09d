"""The list of airlines: orderings of its cards, and its file."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final, NamedTuple

from django.utils.text import Truncator

from fleet.choices import State
from fleet.models import LoadFigures
from fleet.pages.columns import TOTALS, changed
from fleet.pages.coverage import coverage
from fleet.pages.freshness import Freshness
from fleet.serialization import serialize_airline
from fleet.state.precedence import AT_RISK
from fleet.stats.rollup import Rollup
from ifeportal.models import Airline
from ifeportal.tables.columns import Column, Table, fields

Rank = tuple[int, ...]


class _UrgentColumns(NamedTuple):
    airline_id: int
    tail: str
    campaign: str
    status: str
    silent: bool
    stalled: bool
    contradiction: str
    waiting: bool
    restarted: bool
    error_code: str
    error: str
    error_content: str


class UrgentLoad(LoadFigures, _UrgentColumns):
    """The columns of an urgent load that a card shows."""

    __slots__ = ()

    @property
    def reason(self) -> str:
        """The state of the load, or `at_risk` if its state needs no attention."""
        return AT_RISK if self.state in (State.LOADING, State.PENDING) else self.state

    @property
    def detail(self) -> str:
        """The campaign, and the error with its item."""
        error = self.error_code or Truncator(self.error).chars(60)
        return " · ".join(text for text in (self.campaign, error, self.error_content) if text)


URGENT_COLUMNS: Final = ("tail__airline_id", "tail__name", "campaign__name", *_UrgentColumns._fields[3:])


@dataclass(frozen=True)
class AirlineCard:
    """An airline: totals, bytes received today (UTC), tails that completed all their loads, most urgent loads."""

    airline: Airline
    sums: Rollup
    freshness: Freshness
    received: int
    ready: int
    worst: list[UrgentLoad] = field(default_factory=list)

    @property
    def coverage(self) -> str:
        """How many of its tails have completed all their loads, and how many are not counted."""
        return coverage(self.ready, self.sums.tails, self.sums.tails_out)


def _attention(card: AirlineCard) -> Rank:
    sums = card.sums
    troubles = (sums.failed, sums.items_failed, sums.stalled, sums.silent, sums.at_risk, sums.contradiction)
    is_behind = card.freshness.read_at is not None and card.freshness.stale
    return (*(-count for count in troubles), -int(is_behind))


def _name(card: AirlineCard) -> Rank:
    return ()  # cards of equal rank are ordered by name


def _percent(card: AirlineCard) -> Rank:
    return (-1 if card.sums.percent is None else card.sums.percent,)


def _tails(card: AirlineCard) -> Rank:
    return (-card.sums.tails,)


AIRLINES: Final = Table(
    "airlines",
    (
        Column("attention", "Needs attention", label="needs attention", sort=_attention),
        Column("airline", "Airline", itemgetter("airline"), word="name", label="name", sort=_name),
        *fields("title"),
        *changed(
            (*fields("tails", "tails_out", "state"), *TOTALS),
            Column("percent", "Percent", itemgetter("percent"), label="progress", sort=_percent),
            Column("tails", "Tails", itemgetter("tails"), label="tails", sort=_tails),
        ),
    ),
    order="attention",
    serialize=lambda card: serialize_airline(card.airline),
)
ORDERS: Final = ("attention", "name", "percent", "tails")  # in the order of the page
