"""Sources of work for the workers besides jobs. The app that owns one registers it in its `AppConfig.ready`.

Every wake-up message makes a worker do due jobs first, then the work of each source. Touches nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.core.exceptions import ImproperlyConfigured


@dataclass(frozen=True, slots=True)
class WorkSource:
    """Work that wakes workers.

    `count_due(now, limit)` returns how many workers could start work now, at most `limit`; it is called several times a
    second. `seconds_to_next(now)` returns the seconds until more work is due; None if no time is known. `run` does due
    work for some seconds in a worker, and raises nothing.
    """

    name: str
    count_due: Callable[[datetime, int], int]
    seconds_to_next: Callable[[datetime], float | None]
    run: Callable[[], None]


_sources: dict[str, WorkSource] = {}


def register_source(source: WorkSource) -> None:
    """Add a source. Raises ImproperlyConfigured for a name that has another definition."""
    if _sources.setdefault(source.name, source) != source:
        raise ImproperlyConfigured(f"The source of work {source.name!r} is registered twice.")


def registered_sources() -> tuple[WorkSource, ...]:
    return tuple(_sources.values())
