"""Hours of the day in which transfers are allowed: "22:00-05:00", "09:00-11:30,20:00-06:00 local".

Hours are UTC unless "local" follows. "local" reads the time zone of the machine (TZ); otherwise pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from loader.frozen import frozen

_SPAN: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])\s*-\s*(?:([01][0-9]|2[0-3]):([0-5][0-9])|24:00)", re.ASCII)
_DAY: Final = 24 * 60
_SPANS_LIMIT: Final = 24


@frozen
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
        """Return seconds until the window opens or closes; None if it does not within two days."""
        state = self.is_open(now)
        changes = sorted(time for time in self._possible_changes(now) if time > now)
        return next(((time - now).total_seconds() for time in changes if self.is_open(time) != state), None)

    def _minute(self, now: datetime) -> int:
        local_now = self._local_time(now)
        return local_now.hour * 60 + local_now.minute

    def _local_time(self, now: datetime) -> datetime:
        return now.astimezone(None if self.local else UTC)

    def _possible_changes(self, now: datetime) -> set[datetime]:
        """Return the times of the next two days at which the window may open or close.

        A span begins or ends when the wall clock shows its edge, or when the wall clock skips or repeats an edge.
        """
        midnight = self._local_time(now).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        edges = {edge % _DAY for span in self.spans for edge in span}
        walls = [midnight + timedelta(days=day, minutes=edge) for day in range(3) for edge in edges]
        if not self.local:
            return {wall.replace(tzinfo=UTC) for wall in walls}
        # An hour that occurs twice counts twice.
        times = {wall.replace(fold=fold).astimezone(UTC) for wall in walls for fold in (0, 1)}
        return times | set(_offset_changes(now))


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


def _offset_changes(now: datetime) -> Iterator[datetime]:
    """Yield the times of the next two days at which the clocks of the machine's time zone are changed, to the second.

    The time zone database has no two changes within an hour.
    """
    start = now.astimezone(UTC).replace(microsecond=0)
    for hour in range(49):
        before, after = start + timedelta(hours=hour), start + timedelta(hours=hour + 1)
        if _offset(before) == _offset(after):
            continue
        while after - before > timedelta(seconds=1):
            middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
            before, after = (middle, after) if _offset(middle) == _offset(before) else (before, middle)
        yield after


def _offset(time: datetime) -> timedelta | None:
    return time.astimezone().utcoffset()


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
