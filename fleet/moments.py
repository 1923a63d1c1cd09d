"""An earlier moment that an address asks for. Pure: text and a clock in, a moment out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final, NamedTuple

STEPS: Final[Mapping[str, timedelta]] = MappingProxyType(
    {
        "1 day back": timedelta(days=-1),
        "1 hour back": timedelta(hours=-1),
        "1 hour on": timedelta(hours=1),
        "1 day on": timedelta(days=1),
    }
)
FIRST: Final = datetime(2000, 1, 1, tzinfo=UTC)  # nothing was recorded before
LENGTH_LIMIT: Final = 40


class Step(NamedTuple):
    """A way to a moment a little before or after; `at` is as an address has it."""

    label: str
    at: str


def moment_of(text: str, now: datetime) -> datetime | None:
    """What `?at=` says, `2026-11-20T12:00Z`, in UTC where it names no zone; None if it is no moment or none passed."""
    try:
        found = datetime.fromisoformat(text) if len(text) <= LENGTH_LIMIT else now
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return found if FIRST < found < now else None


def as_asked(moment: datetime) -> str:
    """The moment as an address has it, to the minute."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%MZ}"


def steps(at: datetime, now: datetime) -> list[Step]:
    """Where one can go from a moment: as far as `moment_of` follows."""
    return [Step(label, as_asked(at + by)) for label, by in STEPS.items() if FIRST < at + by < now]
