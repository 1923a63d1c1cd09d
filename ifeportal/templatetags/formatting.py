"""Template tags of figures: the text, and the attributes by which the page's script finds and updates it.

A figure is an element with `data-field` (the key in the row's state) and `data-as` (its format), inside a row with
`data-key="<topic>:<id>"`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from django import template
from django.template.context import Context
from django.utils.safestring import SafeString, mark_safe

from ifeportal import formatting
from ifeportal.tables import cells
from loader.errors import ErrorKind, find_error_kind

register = template.Library()

register.filter("size", formatting.size)
register.filter("rate", formatting.rate)
register.filter("percent", formatting.percent)
register.filter("count", formatting.count)
register.filter("duration", formatting.duration)
register.filter("instant", formatting.instant)
register.filter("iso", formatting.iso)


@register.simple_tag
def figure(value: int | None, field: str, how: str) -> SafeString:
    """Return a number of the row's state, formatted by `how`, a key of `formatting.FORMATS`."""
    return _safe(cells.figure(value, field, how))


@register.simple_tag(takes_context=True)
def age(context: Context, value: datetime | None, field: str = "") -> SafeString:
    """Return a time as its age, which the page's script keeps current."""
    return _safe(cells.age(value, context["now"], field))


@register.simple_tag(takes_context=True)
def time_until(context: Context, value: datetime | None, field: str) -> SafeString:
    """Return a future time as the time until then, which the page's script keeps current."""
    return _safe(cells.time_until(value, context["now"], field))


@register.simple_tag
def figure_instant(value: datetime, field: str) -> SafeString:
    return _safe(cells.instant(value, field))


@register.simple_tag
def state(word: str) -> SafeString:
    """Return the row's state word, one of `fleet.choices.State`."""
    return _safe(cells.state(word))


@register.simple_tag
def bar(value: int | None, label: str, field: str = "percent") -> SafeString:
    return _safe(cells.bar(value, label, field))


def _safe(cell: str) -> SafeString:
    return mark_safe(cell)  # noqa: S308  (`ifeportal.tables.cells` escapes all text)


@dataclass(frozen=True)
class Disk:
    """The disk of a content directory, in bytes; None if the loader reported no number."""

    path: str
    total: int | None
    free: int | None

    @property
    def used(self) -> int:
        """Bytes in use; 0 while unknown."""
        return max(self.total - self.free, 0) if self.total and self.free is not None else 0


@register.filter
def disks(stores: object) -> list[Disk]:
    """Return the disks of a heartbeat, which may contain anything."""
    valid = [store for store in stores if isinstance(store, dict)] if isinstance(stores, list) else []
    return [Disk(str(store.get("path", "")), _bytes(store.get("total")), _bytes(store.get("free"))) for store in valid]


def _bytes(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


@register.filter
def known_error(code: str) -> ErrorKind | None:
    """Return the entry of the error table; None for a code of another loader."""
    return find_error_kind(code)


@register.simple_tag
def exhibition(starts: date | None, ends: date | None) -> str:
    """Return the days of an exhibition: `1 to 31 Dec 2026`, `20 Dec 2026 to 3 Jan 2027`, `from 1 Dec 2026`."""
    if starts is None or ends is None:
        return f"from {_day(starts)}" if starts else f"until {_day(ends)}" if ends else formatting.NONE
    if (starts.year, starts.month) == (ends.year, ends.month):
        return f"{starts.day} to {_day(ends)}"
    first = f"{starts.day} {starts:%b}" if starts.year == ends.year else _day(starts)
    return f"{first} to {_day(ends)}"


def _day(value: date) -> str:
    return f"{value.day} {value:%b %Y}"
