"""HTML that the cells of many lists have in common, for `render` of a column. Pure; all text is escaped here.

The same marks as in `ifeportal.templatetags.formatting`: the page's script finds a figure by `data-field` (the key of
the row's state) and writes it as `data-as` says.
"""

from __future__ import annotations

from datetime import datetime
from html import escape

from ifeportal import formatting


def figure(value: int | None, field: str, how: str) -> str:
    """A number of the row's state, written as `how` says (a key of `formatting.FORMATS`)."""
    return f'<span data-field="{field}" data-as="{how}">{formatting.FORMATS[how](value)}</span>'


def figure_text(text: str, field: str, how: str) -> str:
    """The same of a number that is already written."""
    return f'<span data-field="{field}" data-as="{how}">{text}</span>'


def age(value: datetime | None, now: datetime, field: str = "") -> str:
    """A time as its age, with the UTC instant as its title."""
    mark = f' data-field="{field}"' if field else ""
    if value is None:
        return f'<time data-as="age"{mark}>never</time>'
    return (
        f'<time data-as="age"{mark} datetime="{formatting.iso(value)}" title="{formatting.instant(value)}">'
        f"{formatting.age(value, now)}</time>"
    )


def instant(value: datetime, field: str) -> str:
    """A time as `2026-12-01 14:03:22 UTC`."""
    return figure_text(formatting.instant(value), field, "instant")


def state(word: str) -> str:
    """The row's state, with its shape."""
    return f'<span class="state" data-field="state" data-as="state" data-state="{word}">{word}</span>'


def bar(value: int | None, label: str, field: str = "percent") -> str:
    """A bar of whole percent; without a value while the total is unknown."""
    known = "" if value is None else f' value="{value}"'
    return f'<progress max="100"{known} data-field="{field}" data-as="bar" aria-label="{escape(label)}"></progress>'


def labelled(label: str, cell: str) -> str:
    """The cell with its column's name, which narrow screens show in place of the header."""
    return f'<span class="lead">{label}</span> {cell}'


def held(done: int | None, total: int | None) -> str:
    """Bytes of a row's state that are there, of how many."""
    return f'{figure(done, "bytes_done", "size")} <span class="muted">of {figure(total, "bytes_total", "size")}</span>'


def titled(name: str, title: str) -> str:
    """A name, already HTML, with the title that people know the thing by."""
    return f'{name} <span class="muted title-text">{escape(title)}</span>' if title else name
