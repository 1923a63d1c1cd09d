"""Columns of lists in the admin: times (UTC) with their age, booleans as words, sizes, counts, long text."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from django.contrib import admin
from django.db.models import BooleanField, DateTimeField, Field, Model
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ifeportal import formatting

Column = Callable[[Any], str]
NOT_SET = "—"


def instant(value: Any) -> SafeString | str:
    """Return a time as `2026-12-01 14:03` with its age, or the time until then."""
    if value is None:
        return NOT_SET
    now = timezone.now()
    away = (
        formatting.age(value, now) if value <= now else f"in {formatting.duration(int((value - now).total_seconds()))}"
    )
    return format_html(
        '<span><time datetime="{}">{}</time> <span class="muted small nowrap">{}</span></span>',
        formatting.iso(value),
        f"{value:%Y-%m-%d %H:%M}",
        away,
    )


def yes_no(value: Any) -> str:
    # Words, because Django's red cross for False would look like an error.
    return "unknown" if value is None else "Yes" if value else "No"


def size(name: str, description: str) -> Column:
    """Return a column of bytes, as `734 MB`."""
    return _column(name, description, formatting.size)


def number(name: str, description: str) -> Column:
    """Return a column of a count, as `12,345`."""
    return _column(name, description, lambda value: NOT_SET if value is None else formatting.count(value))


def long_text(name: str, description: str) -> Column:
    """Return a column of text that may be long."""
    return _column(name, description, lambda value: format_html('<span class="long">{}</span>', str(value)[:300]))


@cache
def column_of(field: Field[Any, Any]) -> Column | None:
    """Return the column of a field that Django would show as an icon or as a time without age; else None."""
    if isinstance(field, DateTimeField):
        return _column(field.name, f"{field.verbose_name} (UTC)", instant)
    if isinstance(field, BooleanField):
        return _column(field.name, str(field.verbose_name), yes_no)
    return None


def _column(name: str, description: str, show: Callable[[Any], str]) -> Column:
    @admin.display(description=description, ordering=name)
    def column(row: Model) -> str:
        return show(getattr(row, name))

    column.__name__ = name
    return column
