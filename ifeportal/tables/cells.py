"""HTML of figures, for columns of tables and for `ifeportal.templatetags.formatting`. Pure; all text is escaped here.

The page's script finds a figure by `data-field` (the key in the row's state) and formats it by `data-as`.
"""

from __future__ import annotations

from datetime import datetime
from html import escape

from ifeportal import formatting


def figure(value: int | None, field: str, how: str) -> str:
    """Return a number of the row's state, formatted by `how`, a key of `formatting.FORMATS`."""
    return f'<span data-field="{field}" data-as="{how}">{formatting.FORMATS[how](value)}</span>'


def figure_text(text: str, field: str, how: str) -> str:
    """Return a figure whose text is already formatted."""
    return f'<span data-field="{field}" data-as="{how}">{text}</span>'


def age(value: datetime | None, now: datetime, field: str = "") -> str:
    """Return a time as its age, with the UTC time as its title; "never" for None."""
    return _time("age", field, value, formatting.age(value, now))


def time_until(value: datetime | None, now: datetime, field: str) -> str:
    """Return a future time as the time until then, with the UTC time as its title."""
    return _time("until", field, value, formatting.until(value, now))


def _time(how: str, field: str, value: datetime | None, text: str) -> str:
    mark = f' data-field="{field}"' if field else ""
    moment = "" if value is None else f' datetime="{formatting.iso(value)}" title="{formatting.instant(value)}"'
    return f'<time data-as="{how}"{mark}{moment}>{text}</time>'


def dated_age(value: datetime | None, now: datetime) -> str:
    """Return a time (UTC) as `2026-12-01 14:03` with its age, or with the time until then; a dash for None."""
    if value is None:
        return formatting.NONE
    left = int((value - now).total_seconds())
    away = formatting.age(value, now) if value <= now else f"in {formatting.duration(left)}"
    moment = f'datetime="{formatting.iso(value)}" title="{formatting.instant(value)}"'
    return f'<span><time {moment}>{value:%Y-%m-%d %H:%M}</time> <span class="muted small nowrap">{away}</span></span>'


def instant(value: datetime, field: str) -> str:
    """Return a time as `2026-12-01 14:03:22 UTC`."""
    return figure_text(formatting.instant(value), field, "instant")


def state(word: str) -> str:
    """Return the row's state word, which the style sheet draws with its shape."""
    return f'<span class="state" data-field="state" data-as="state" data-state="{word}">{word}</span>'


def bar(value: int | None, label: str, field: str = "percent") -> str:
    """Return a bar of whole percent; without a value, hatched, while the total is unknown."""
    known = "" if value is None else f' value="{value}"'
    return f'<progress max="100"{known} data-field="{field}" data-as="bar" aria-label="{escape(label)}"></progress>'


def labelled(label: str, cell: str) -> str:
    """Return the cell with its column's name, which narrow screens show in place of the header."""
    return f'<span class="lead">{label}</span> {cell}'


def held(done: int | None, total: int | None) -> str:
    """Return the bytes of a row's state that are done, and the total."""
    return f'{figure(done, "bytes_done", "size")} <span class="muted">of {figure(total, "bytes_total", "size")}</span>'


def titled(name: str, title: str) -> str:
    """Return a name, already HTML, followed by its title."""
    return f'{name} <span class="muted title-text">{escape(title)}</span>' if title else name
