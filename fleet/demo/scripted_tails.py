"""Scripted tails of the demo: written reports for states that real loaders take hours to reach.

The demo writes these reports into the status bucket, as a third-party loader would. Two states cannot come from a
bucket and are set in the demo's database: a tail that has been silent for long (`mark_silent`), and a stored tail.
Everything else is pure data and arithmetic. Times in seconds since the demo's first start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from fleet.choices import ServiceStatus
from fleet.demo.scenario import DemoCampaign
from fleet.models import Tail
from ifeportal.models import Airline
from loader.contract.heartbeat import Heartbeat, build_heartbeat
from loader.contract.item_reports import build_progress
from loader.contract.keys import heartbeat_key, progress_key
from loader.contract.units import MIB

BEATS: Final = 15.0  # seconds between two heartbeats
SILENT_FOR: Final = timedelta(hours=30)


@dataclass(frozen=True, slots=True)
class ScriptedTail:
    """One scripted tail: its progress of the largest film as (time, bytes), and the contents of its heartbeats, if any.

    `beats_for`: seconds after which it writes no more heartbeats.
    """

    airline: str
    tail: str
    progress: tuple[tuple[float, int], ...]
    state: str = ""
    reason: str = ""
    beats_for: float = float("inf")


STALLED: Final = ScriptedTail("AUR", "SE-RNS", ((0, 2 * MIB),), "loading")
SILENT: Final = ScriptedTail("AUR", "OY-RNX", ((0, 3 * MIB),), "loading", beats_for=0)
WAITING: Final = ScriptedTail("MER", "G-MRDW", ((0, 1 * MIB),), "waiting", "outside its hours, 22:00-05:00")
RESTARTED: Final = ScriptedTail("KSP", "ZK-KSR", ((0, 3 * MIB), (20, MIB)))
CONTRADICTORY: Final = ScriptedTail("KSP", "ZK-KSX", ((0, 1_000 * MIB),))
SCRIPTED: Final = (STALLED, SILENT, WAITING, RESTARTED, CONTRADICTORY)
STORED: Final = ("AUR", "LN-RNF")
# Extreme thresholds of the demo's airlines, so that their effect shows immediately.
THRESHOLDS: Final[Mapping[str, Mapping[str, int]]] = {
    "AUR": {"stalled_after_minutes": 1},
    "KSP": {"risk_before_hours": 1_000},
}


def reports(
    campaigns: Sequence[DemoCampaign], since: float, until: float, now: datetime
) -> Iterator[tuple[str, bytes]]:
    """Yield the objects (key, body) to write after `since` and up to `until`, in order.

    `campaigns` is the first campaign of each airline; `now` is the time in heartbeats.
    """
    for cycle in campaigns:
        film = max(cycle.films, key=lambda film: film.size)
        for one in SCRIPTED:
            if one.airline != cycle.airline:
                continue
            for at, done in one.progress:
                if since < at <= until:
                    yield progress_key(one.airline, one.tail, cycle.name, film.name), build_progress(done)
            if one.state and _beats(one, since, until):
                beat = Heartbeat(loader="scripted", at=now, state=one.state, reason=one.reason, campaign=cycle.name)
                yield heartbeat_key(one.airline, one.tail), build_heartbeat(beat)


def _beats(one: ScriptedTail, since: float, until: float) -> bool:
    """Whether a heartbeat is due in that span; one is enough, even if several are."""
    end = min(until, one.beats_for)
    return since < 0 <= until or end // BEATS > max(since, 0) // BEATS


def create_stored_tail(airlines: Mapping[str, Airline]) -> None:
    """Create the tail that is out of service, and thus in no total."""
    airline, name = STORED
    if airline in airlines:
        Tail.objects.get_or_create(airline=airlines[airline], name=name, defaults={"duty": ServiceStatus.STORED})


def mark_silent(now: datetime) -> bool:
    """Make one tail look silent for `SILENT_FOR`, once the portal has read its heartbeat. Return whether that is done.

    Does nothing if it was done before.
    """
    rows = Tail.objects.filter(airline__name=SILENT.airline, name=SILENT.tail).exclude(heartbeat_etag="")
    if not rows.filter(silent=False, seen_at__gt=now - SILENT_FOR).update(silent=True, seen_at=now - SILENT_FOR):
        return rows.exists()
    return True
