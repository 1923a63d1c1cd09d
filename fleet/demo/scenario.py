"""Scenario of the demo: fictional airlines, aircraft and films, and the timeline of events.

Pure data and arithmetic; touches nothing. Sizes in bytes, rates in bytes per second, times in seconds that the demo has
run since its first start, without the time it was stopped.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class DemoAircraft:
    """One tail and the bandwidth and latency of its link."""

    airline: str
    tail: str
    bandwidth: int
    latency: float


@dataclass(frozen=True, slots=True)
class DemoAirline:
    """An airline: its name in keys, and its title."""

    name: str
    title: str


@dataclass(frozen=True, slots=True)
class Film:
    """One content item."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class DemoCampaign:
    """A campaign of one airline, with its exhibition dates."""

    airline: str
    name: str
    title: str
    starts: date
    ends: date
    films: tuple[Film, ...]


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """An event at a time. `subject` is a tail, or an airline for "publish"."""

    at: float
    kind: Literal["start", "offline", "online", "publish", "repair"]
    subject: str


AIRLINES: Final = (
    DemoAirline("AUR", "Aurora Nordic"),
    DemoAirline("MER", "Meridian Airways"),
    DemoAirline("KSP", "Kestrel Pacific"),
)
FLEET: Final = (
    DemoAircraft("AUR", "SE-RNA", 220_000, 0.3),
    DemoAircraft("MER", "G-MRDB", 180_000, 0.4),
    DemoAircraft("AUR", "SE-RNB", 150_000, 0.5),
    DemoAircraft("KSP", "ZK-KSB", 160_000, 0.6),
    DemoAircraft("KSP", "ZK-KSA", 340_000, 0.25),
    DemoAircraft("MER", "G-MRDA", 260_000, 0.3),
    DemoAircraft("AUR", "LN-RNC", 300_000, 0.25),
    DemoAircraft("MER", "EI-MRC", 105_000, 0.7),
    DemoAircraft("AUR", "OY-RND", 125_000, 0.6),
)
CORRUPTED: Final = "G-MRDB"
FLAKY: Final = "SE-RNB"
LATE: Final = "ZK-KSB"
CORRUPTED_FILM: Final = "A Quiet Orbit"  # sorts first, so that it fails soon
CORRUPTED_BYTE: Final = 700_000
INTEGRATOR: Final = "integrator"  # the user whose program uploads films
UPLINK: Final = 1_600_000  # of the integrator, in bytes per second: a film takes a minute and a half

_FEATURES: Final = (
    "The Long Way Up",
    "Harbour of Glass",
    "Nine Winters in Tromsø",
    "The Cartographer's Daughter",
    "Salt and Thunder",
    "Les heures bleues",
    "Über den Dächern",
    "Paper Lanterns",
    "The Last Lamplighter",
    "Midnight at Platform 4",
    "Sundown Express",
    "The Orchard Thief",
    "Letters from Valparaíso",
    "The Weather Makers",
)
_SHORTS: Final = (
    "Kite Season",
    "Monsoon Radio",
    "Two Left Shoes",
    "Foxglove Lane",
    "Ocean Atlas, Series 2",
    "Small Wonders, Episode 5",
    "Classical Hour 7",
    "City Walks - Lisbon",
)


def films_to_upload() -> tuple[Film, ...]:
    """Return the files that the integrator uploads, one at each start of the demo. Each has 8 or 9 parts."""
    names = ("Polar Night Express.mp4", "The Lighthouse Keeper.mp4", "Aurora Safety Briefing.mp4")
    return tuple(Film(name, 128_000_000 + 5_000_000 * number) for number, name in enumerate(names))


def draft_campaign(today: date) -> DemoCampaign:
    """Return the campaign of the first airline that is still a draft: of the month after the published ones."""
    month = _next_month(_next_month(_next_month(today)))
    airline = AIRLINES[0]
    title, ends = f"{airline.title}, {month:%B %Y}", _next_month(month) - timedelta(days=1)
    return DemoCampaign(airline.name, f"{month:%Y-%m}", title, month, ends, ())


def demo_campaigns(today: date) -> list[DemoCampaign]:
    """Return two campaigns of each airline: for the next month and the month after."""
    first = _next_month(today)
    second = _next_month(first)
    return [
        DemoCampaign(
            operator.name,
            f"{month:%Y-%m}",
            f"{operator.title}, {month:%B %Y}",
            month,
            _next_month(month) - timedelta(days=1),
            _films(operator.name, number),
        )
        for number, month in enumerate((first, second))
        for operator in AIRLINES
    ]


def library() -> list[Film]:
    """Return all films; a film has the same size in all campaigns."""
    sizes = random.Random(7)  # noqa: S311  the same library every time
    long = [Film(name, sizes.randrange(5_000_000, 10_000_000)) for name in _FEATURES]
    short = [Film(name, sizes.randrange(1_200_000, 3_500_000)) for name in _SHORTS]
    return [*long, *short, Film(CORRUPTED_FILM, 1_400_000)]


def _films(airline: str, number: int) -> tuple[Film, ...]:
    films = {film.name: film for film in library()}
    choice = random.Random(f"{airline} {number}")  # noqa: S311  the same choice every time
    names = choice.sample(_FEATURES, 6) + choice.sample(_SHORTS, 4) + [CORRUPTED_FILM] * (number == 0)
    return tuple(films[name] for name in sorted(names))


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)


def timeline(fleet: Sequence[DemoAircraft]) -> list[TimelineEvent]:
    """Return the events of the first half hour, in order. All aircraft but one start immediately."""
    tails = {aircraft.tail for aircraft in fleet}
    airlines = list(dict.fromkeys(aircraft.airline for aircraft in fleet))
    events = [TimelineEvent(75 if tail == LATE else 0, "start", tail) for tail in (a.tail for a in fleet)]
    events += [TimelineEvent(200 + 120 * number, "publish", airline) for number, airline in enumerate(airlines)]
    if FLAKY in tails:
        for begin in range(40, 1800, 300):
            events += [TimelineEvent(begin, "offline", FLAKY), TimelineEvent(begin + 70, "online", FLAKY)]
    if CORRUPTED in tails:
        events.append(TimelineEvent(600, "repair", CORRUPTED))
    return sorted(events, key=lambda event: event.at)
