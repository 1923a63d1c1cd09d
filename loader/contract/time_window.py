"""Hours of the day in which transfers are allowed: "22:00-05:00", "09:00-11:30,20:00-06:00 local".

Hours are UTC unless "local" follows. "local" reads the time zone of the machine (TZ); otherwise pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

_SPAN: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])\s*-\s*(?:([01][0-9]|2[0-3]):([0-5][0-9])|24:00)", re.ASCII)
_DAY: Final = 24 * 60
_SPANS_LIMIT: Final = 24


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """Spans of minutes of the day, the end excluded; a span may cross midnight. No spans: always open."""

    spans: tuple[tuple[int, int], ...] = ()
    local: bool = False

    def __str__(self) -> str:
        text = ",".join(f"{_clock(begin)}-{_clock(end)}" for begin, end in self.spans)
        return f"{text} local" if self.local else text

    def is_open(self, now: datetime) -> bool:
        """Return whether the window is open at `now`, an aware time."""
        minute = self._minute(now)
        return not self.spans or any(_contains(minute, begin, end) for begin, end in self.spans)

    def seconds_until_change(self, now: datetime) -> float | None:
        """Return seconds until the window opens or closes; None if it never changes."""
        state, minute = self.is_open(now), self._minute(now)
        edges = {edge % _DAY for span in self.spans for edge in span}
        # An edge at this very minute counts as a full day away.
        for away in sorted((edge - minute - 1) % _DAY + 1 for edge in edges):
            edge = (minute + away) % _DAY
            if any(_contains(edge, begin, end) for begin, end in self.spans) != state:
                return self._seconds(now, away)
        return None

    def _minute(self, now: datetime) -> int:
        local_now = self._local_time(now)
        return local_now.hour * 60 + local_now.minute

    def _local_time(self, now: datetime) -> datetime:
        return now.astimezone(None if self.local else UTC)

    def _seconds(self, now: datetime, minutes: int) -> float:
        """Return seconds until the wall clock has advanced by `minutes` full minutes."""
        local_now = self._local_time(now).replace(second=0, microsecond=0)
        target = local_now.replace(tzinfo=None) + timedelta(minutes=minutes)
        if not self.local:
            return (target.replace(tzinfo=UTC) - now).total_seconds()
        # Daylight saving time: a night may be an hour shorter or longer, and an hour that occurs twice counts twice.
        away = [(target.replace(fold=fold).astimezone() - now).total_seconds() for fold in (0, 1)]
        return min((seconds for seconds in away if seconds > 0), default=0.0)


ALWAYS: Final = TimeWindow()


def parse_time_window(text: str) -> TimeWindow:
    """Return the window that `text` describes; an empty text is always open. Raises ValueError."""
    hours, local = text.strip(), False
    for word in ("utc", "local"):
        if hours.lower().endswith(word):
            hours, local = hours[: -len(word)].strip(), word == "local"
            break
    if not hours:
        if text.strip():
            raise ValueError(f"{text[:60]!r} contains no hours; expected, for example, 22:00-05:00")
        return ALWAYS
    spans = [_span(part.strip(), text) for part in hours.split(",")]
    if len(spans) > _SPANS_LIMIT:
        raise ValueError(f"more than {_SPANS_LIMIT} spans of hours are not allowed")
    return TimeWindow(tuple(spans), local)


def _span(part: str, text: str) -> tuple[int, int]:
    match = _SPAN.fullmatch(part)
    if match is None:
        raise ValueError(
            f"{text[:60]!r} is not a list of hours; expected 22:00-05:00 or 22:00-05:00 local, for example"
        )
    begin = int(match[1]) * 60 + int(match[2])
    end = _DAY if match[3] is None else int(match[3]) * 60 + int(match[4])
    if begin == end:
        raise ValueError(f"{part!r} has no length; leave the hours empty to allow the whole day")
    return begin, end


def _contains(minute: int, begin: int, end: int) -> bool:
    return begin <= minute < end if begin < end else minute >= begin or minute < end


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
